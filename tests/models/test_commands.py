"""`renga models pull`, `list`, `show`, `verify`, `remove` and `add`, as a person types them."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from renga import cli
from renga.errors import SetupError
from renga.models import library
from renga.models.manifest import FILE, STAGING
from tests.cli.test_refusals import assert_refused
from tests.cli.test_serve import client
from tests.conftest import StartServer, write_config
from tests.models.fake_hub import FakeHub, Fault

Renga = Callable[..., "subprocess.CompletedProcess[str]"]
PULL = [sys.executable, "-m", "renga.cli", "models", "pull"]


@pytest.fixture
def files(whole: Path) -> dict[str, bytes]:
    """An OpenVINO repository, with what else stands in such ones."""
    names = [path.name for path in whole.iterdir() if path.suffix != ".safetensors"]
    others = {"README.md": b"# tiny", "modeling.py": b"import os", "pytorch_model.bin": b"pickle"}
    return {**{name: (whole / name).read_bytes() for name in names}, **others}


@pytest.fixture
def at(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Renga:
    """The command with this hub as the hub, in this process: a start of its own takes longer."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.chdir(tmp_path)
    application = cli.build()

    def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        done = CliRunner().invoke(application, args, env=env)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return subprocess.CompletedProcess(args, done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_from_an_empty_folder_to_a_server_by_one_name(
    at: Renga, hub: FakeHub, files: dict[str, bytes], start_server: StartServer, home: Path
):
    hub.add("acme/tiny", files, license="mit")
    assert_refused(at("ask", "hi", "--model", "acme/tiny"), "renga models pull acme/tiny")
    done = at("models", "pull", "acme/tiny")
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    assert shown[0].startswith("acme/tiny at 1234567890ab (main)")
    assert "licence: mit" in shown[1]
    assert "format:  OpenVINO" in shown[2]
    assert shown[-1].strip() == "renga serve --model acme/tiny"
    assert not {"README.md", "modeling.py", "pytorch_model.bin"} & set(
        os.listdir(home / "models/acme/tiny")
    )
    served = start_server("[server]\n", "--model", "acme/tiny")
    assert any("haiku" in line and "model: " in line for line in served.banner)
    with client(served.url) as sdk:
        for model in ("acme/tiny", "claude-haiku-4-5"):
            message = sdk.messages.create(
                model=model, max_tokens=4, messages=[{"role": "user", "content": "hi"}]
            )
            assert message.usage.output_tokens >= 1


def test_a_pulled_name_is_a_backends_model(
    at: Renga, hub: FakeHub, files: dict[str, bytes], tmp_path: Path
):
    hub.add("acme/tiny", files)
    config = '[backends.x]\nmodel = "acme/tiny"\n[tiers.opus]\nbackends = ["x"]\n'
    named = ("--config", str(write_config(tmp_path, config)))
    assert "renga models pull acme/tiny" in at("doctor", "--port", "0", *named).stdout
    assert at("models", "pull", "acme/tiny").returncode == 0
    assert "x: acme/tiny, " in at("models", *named).stdout
    assert at("doctor", "--port", "0", *named).returncode == 0


def test_a_dry_run_fetches_nothing(at: Renga, hub: FakeHub, files: dict[str, bytes], home: Path):
    hub.add("acme/tiny", files, license="")
    done = at("models", "pull", "acme/tiny", "--dry-run")
    assert done.returncode == 0
    assert "licence: none is stated" in done.stdout
    assert "openvino_model.bin" in done.stdout
    assert (hub.sent, home.exists()) == ([], False)


def test_pulled_models_are_listed_shown_verified_and_removed(
    at: Renga, hub: FakeHub, files: dict[str, bytes], home: Path
):
    hub.add("acme/tiny", files)
    at("models", "pull", "acme/tiny")
    [line] = [x for x in at("models", "list").stdout.splitlines() if x.startswith("acme/tiny")]
    assert line.split()[1] == "OpenVINO"
    assert line.split()[-2:] == ["apache-2.0", "ready"]
    shown = at("models", "show", "acme/tiny").stdout
    assert "no tools: its chat template shows calls in no form" in shown
    assert f"from:    {hub.url} at 1234567890abcdef" in shown
    assert "sha256:" in shown
    assert at("models", "verify", "acme/tiny").returncode == 0
    weights = home / "models/acme/tiny/openvino_model.bin"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = at("models", "verify", "acme/tiny")
    assert (done.returncode, done.stdout.strip()) == (
        1,
        "openvino_model.bin has other content than was recorded",
    )
    assert "mend: renga models remove acme/tiny, then renga models pull acme/tiny" in done.stderr
    weights.write_bytes(content[:-1])
    assert "bytes; " in at("models", "verify", "acme/tiny").stdout
    assert at("models", "pull", "acme/tiny").returncode == 0  # what has another size comes again
    assert at("models", "verify", "acme/tiny").returncode == 0
    assert at("models", "remove", "acme/tiny").returncode == 0
    assert os.listdir(home / "models") == []
    assert_refused(at("models", "show", "acme/tiny"), "there is no model 'acme/tiny'")


def test_one_file_of_several_is_removed_and_the_others_stay(at: Renga, hub: FakeHub, home: Path):
    hub.add("acme/quants", {"m-Q4_K_M.gguf": b"4" * 2_000, "m-Q8_0.gguf": b"8" * 3_000})
    at("models", "pull", "acme/quants")
    at("models", "pull", "acme/quants:Q8_0")
    names = [line.split()[0] for line in at("models", "list").stdout.splitlines()]
    assert names[-2:] == ["acme/quants:Q4_K_M", "acme/quants:Q8_0"]
    assert at("models", "remove", "acme/quants:Q4_K_M").returncode == 0
    assert set(os.listdir(home / "models/acme/quants")) == {"m-Q8_0.gguf", FILE}
    assert at("models", "verify", "acme/quants").returncode == 0
    assert_refused(at("models", "remove", "acme/quants:Q2_K"), "Q8_0")


def test_what_cannot_be_pulled_is_one_line_and_a_hint(at: Renga, hub: FakeHub, home: Path):
    hub.add("acme/code", {"modeling.py": b"x", "model.pkl": b"x"})
    hub.add("acme/gated", {"a.gguf": b"x"}, gated="manual")
    hub.add("acme/evil", {}, rows=[{"type": "file", "path": "../x", "size": 1, "oid": "0" * 40}])
    assert_refused(at("models", "pull", "acme/nothing"), "there is no model 'acme/nothing'")
    assert_refused(at("models", "pull", "acme/code"), "not read (*.pkl)")
    assert_refused(at("models", "pull", "acme/gated"), "is gated")
    assert_refused(at("models", "pull", "acme/gated", HF_TOKEN="hf_x"), "HF_TOKEN")
    assert_refused(at("models", "pull", "acme/evil"), "outside of its folder")
    assert_refused(at("models", "pull", "tiny"), "ORG/NAME")
    assert_refused(at("models", "pull", "acme/code@../x"), "no revision")
    assert_refused(at("models", "pull", "acme/code", HF_ENDPOINT="nowhere"), "HF_ENDPOINT")
    assert not (home / "models").exists()


def test_what_came_whole_and_is_no_model_is_refused_at_the_end_of_its_pull(
    at: Renga, hub: FakeHub, files: dict[str, bytes], home: Path
):
    hub.add("acme/broken", {"m-Q4_K_M.gguf": b"GGUF" + b"0" * 2_000})
    hub.add("acme/base", {k: v for k, v in files.items() if k != "chat_template.jinja"})
    for name in ("acme/broken", "acme/base"):
        done = at("models", "pull", name)
        assert done.returncode == 2
        assert f"'{name}' came as the hub has it, but cannot be served: model f" in done.stderr
        assert f"hint: choose another; renga models remove {name}" in done.stderr
        assert "renga serve" not in done.stdout
        assert at("models", "remove", name).returncode == 0


def test_a_damaged_record_is_written_anew_by_a_pull_and_stops_no_removal(
    at: Renga, hub: FakeHub, files: dict[str, bytes], home: Path
):
    hub.add("acme/tiny", files)
    record = home / "models/acme/tiny" / FILE
    assert at("models", "pull", "acme/tiny").returncode == 0
    record.write_text("{", encoding="utf-8")
    assert_refused(at("models", "verify", "acme/tiny"), "is no record of a pull")
    assert at("models", "pull", "acme/tiny").returncode == 0
    assert at("models", "verify", "acme/tiny").returncode == 0
    record.write_text("[]", encoding="utf-8")
    assert at("models", "remove", "acme/tiny").returncode == 0
    assert os.listdir(home / "models") == []


def test_a_folder_that_is_a_link_is_removed_as_a_link(at: Renga, home: Path, whole: Path):
    (home / "models").mkdir(parents=True)
    (home / "models/mine").symlink_to(whole)
    before = sorted(os.listdir(whole))
    assert at("models", "remove", "mine").returncode == 0
    assert (os.listdir(home / "models"), sorted(os.listdir(whole))) == ([], before)


class FullDisk:
    """Progress of a copy, until the disk is full."""

    def begin(self, total: int, there: int) -> None:
        assert there < total

    def advance(self, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_the_disk_refuses_is_one_line_and_leaves_nothing(home: Path, whole: Path):
    with pytest.raises(SetupError, match=r"cannot be changed: No space left on device$"):
        library.add(whole, "mine", home, copied=True, progress=FullDisk())
    assert os.listdir(home / "models") == []


def test_a_shipped_model_is_shown_and_stays(at: Renga):
    shown = at("models", "show", "shipped:haiku")
    assert shown.returncode == 0, shown.stderr
    assert "ready" in shown.stdout
    assert "from:    this package" in shown.stdout
    assert_refused(at("models", "verify", "shipped:haiku"), "pip install")
    assert_refused(at("models", "remove", "shipped:haiku"), "comes with renga")
    assert_refused(at("models", "show", "shipped:none"), "there: shipped:haiku")
    assert at("models", "show", "shipped:haiku").returncode == 0


def test_an_unfinished_pull_says_how_to_go_on(
    at: Renga, hub: FakeHub, files: dict[str, bytes], home: Path
):
    hub.add("acme/tiny", files)
    hub.faults["/cdn/openvino_model.bin"] = [Fault(content=b"x"), Fault(content=b"x")]
    done = at("models", "pull", "acme/tiny")
    assert (done.returncode, done.stderr.count("came wrong twice")) == (2, 1)
    listed = at("models", "list").stdout
    assert "not finished: `renga models pull acme/tiny` goes on" in listed
    assert_refused(at("ask", "hi", "--model", "acme/tiny"), "is not finished")
    assert at("models", "pull", "acme/tiny").returncode == 0
    assert "ready" in at("models", "list").stdout.splitlines()[-1]


def test_a_model_of_ones_own_is_added_by_links_and_removed_without_harm(
    at: Renga, whole: Path, home: Path, tmp_path: Path
):
    source = Path(shutil.copytree(whole, tmp_path / "mine"))
    assert at("models", "add", str(source)).returncode == 0
    weights = home / "models/mine/openvino_model.bin"
    assert weights.is_symlink()
    assert weights.resolve() == source / "openvino_model.bin"
    assert at("models", "verify", "mine").returncode == 0
    assert_refused(at("models", "add", str(source)), "there is a model 'mine' already")
    assert at("ask", "hi", "--model", "mine", "-n", "4").returncode == 0
    assert at("models", "remove", "mine").returncode == 0
    assert (source / "openvino_model.bin").exists()
    assert at("models", "add", str(source), "--as", "acme/own", "--copy").returncode == 0
    shutil.rmtree(source)
    assert at("models", "verify", "acme/own").returncode == 0


def test_what_could_not_be_served_is_not_added(at: Renga, whole: Path, home: Path, tmp_path: Path):
    source = Path(shutil.copytree(whole, tmp_path / "mine"))
    (source / "openvino_model.bin").write_bytes(b"cut")
    assert_refused(at("models", "add", str(source)), "its graph needs")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\xff" * 100)
    assert_refused(at("models", "add", str(tmp_path / "broken.gguf")), "broken.gguf")
    assert_refused(at("ask", "hi", "--model", str(tmp_path / "broken.gguf")), "broken.gguf")
    (tmp_path / "empty").mkdir()
    assert_refused(at("models", "add", str(tmp_path / "empty")), "holds no model")
    assert_refused(at("models", "add", str(tmp_path / "nowhere")), "nowhere")
    assert_refused(at("models", "add", str(source), "--as", "../x"), "no model's name")
    assert not (home / "models").exists() or os.listdir(home / "models") == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_pull_killed_at_twenty_moments_ends_with_the_very_bytes(
    hub: FakeHub, files: dict[str, bytes], home: Path, monkeypatch: pytest.MonkeyPatch
):
    """A moment is a number of bytes that the hub has sent, drawn over all that a pull takes."""
    rng = random.Random(20)
    for other in ("README.md", "modeling.py", "pytorch_model.bin"):
        del files[other]
    names = [f"openvino_{i}_model" for i in range(4)]
    files |= {f"{name}.bin": rng.randbytes(200_000 + rng.randrange(99_000)) for name in names}
    files |= {f"{name}.xml": b"<net/>" * 300 for name in names}
    total = sum(map(len, files.values()))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    folder = home / "models/acme/tiny"
    hub.rate = 2_000_000
    kills = resumed = 0
    while kills < 20:
        hub.add("acme/tiny", files)
        before = staged(folder / STAGING)
        hub.sent.clear()
        if killed_after(hub, rng.randrange(total), [*PULL, "acme/tiny"]):
            kills += 1
            resumed += any(start > 0 for _, start in hub.sent)
            assert staged(folder / STAGING) >= before
            assert not (folder / FILE).exists()
        else:
            assert_finished(folder, files)
            shutil.rmtree(folder)
    assert resumed > 0
    hub.rate = None
    assert subprocess.run([*PULL, "acme/tiny"], check=False, capture_output=True).returncode == 0
    assert_finished(folder, files)
    verified = [*PULL[:-1], "verify", "acme/tiny"]
    assert subprocess.run(verified, check=False, capture_output=True).returncode == 0


def killed_after(hub: FakeHub, size: int, command: list[str]) -> bool:
    """Whether the command was killed once so many bytes were sent; else it came to its end."""
    hub.bytes_sent = 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if hub.bytes_sent >= size:
            process.send_signal(signal.SIGKILL)
            return process.wait() == -signal.SIGKILL
        time.sleep(0.002)
    assert process.returncode == 0
    return False


def staged(folder: Path) -> int:
    """Bytes that a killed pull left."""
    return sum(path.stat().st_size for path in folder.iterdir()) if folder.exists() else 0


def assert_finished(folder: Path, files: dict[str, bytes]) -> None:
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != FILE}
    assert found == files
    assert {file["path"] for file in json.loads((folder / FILE).read_text())["files"]} == set(files)
