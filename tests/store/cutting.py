"""A way to PostgreSQL that breaks where it hurts: at the end of a transaction.

Owns what happens to a COMMIT that passes: it is let through, it is lost with its connection, its
answer is lost, it arrives after its connection was given up, or nobody can connect any more.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Literal

Fate = Literal["pass", "lost", "unanswered", "late", "gone"]
LATE_SECONDS = 0.15


class Cutter:
    """A relay on a port of its own; `fates` are those of the next commits, then all pass."""

    def __init__(self, port: int, fates: Iterable[Fate] = ()) -> None:
        self._port = port
        self._fates = list(fates)
        self._lock = threading.Lock()
        self.cut = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def next(self, *fates: Fate) -> None:
        """Say what happens to the next commits."""
        with self._lock:
            self._fates = list(fates)

    def close(self) -> None:
        """Cut everything."""
        self._refuse()
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _refuse(self) -> None:
        # A shutdown wakes the thread that waits in accept, which a close alone does not.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                with self._lock:
                    self._open |= {client, server}
                threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._down, args=(client, server), daemon=True).start()

    def _fate(self, data: bytes) -> Fate:
        if b"COMMIT\0" not in data:  # as it is sent; a BEGIN has READ COMMITTED in it
            return "pass"
        with self._lock:
            return self._fates.pop(0) if self._fates else "pass"

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                fate = self._fate(data)
                if fate != "pass":
                    self.cut += 1
                    if fate == "gone":
                        self.close()
                    # What the server says from now on is not heard.
                    client.shutdown(socket.SHUT_RDWR)
                    if fate == "late":
                        time.sleep(LATE_SECONDS)
                    if fate in ("unanswered", "late"):
                        server.sendall(data)
                        time.sleep(0.05)
                    break
                server.sendall(data)
        self._end(client, server)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _end(self, *sockets: socket.socket) -> None:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        with self._lock:
            self._open -= set(sockets)


@contextmanager
def cutting(port: int, fates: Iterable[Fate] = ()) -> Iterator[Cutter]:
    """A relay to the server at `port`, until the end of the block."""
    with closing(Cutter(port, fates)) as cutter:
        yield cutter
