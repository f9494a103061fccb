"""A pull ends with the very bytes of the hub and a record of them, or says why, and can go on."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import resource
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from renga.errors import SetupError
from renga.models.hub import Hub, RemoteFile
from renga.models.locking import locked
from renga.models.manifest import FILE, STAGING, Manifest, read_manifest, verify
from renga.models.names import ModelName
from renga.models.pulling import PATIENCE, Plan, plan_pull, pull, staged_name
from tests.models.fake_hub import COMMIT, FakeHub, Fault

BIG = random.Random(5).randbytes(300_000)
OTHER = random.Random(6).randbytes(200_000)
IR = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}" * 2_000,
    "chat_template.jinja": b"{{ messages }}",
    "openvino_model.xml": b"<net/>" * 500,
    "openvino_model.bin": BIG,
}
UNWANTED = {
    "modeling.py": b"import os",
    "pytorch_model.bin": BIG,
    "model.pt": BIG,
    "training_args.bin": b"pickle",
    "model.h5": BIG,
    "README.md": b"# words",
    "onnx/model.onnx": BIG,
    "original/model.safetensors": BIG,
    "sub/config.json": b"{}",
    ".gitattributes": b"*.bin filter=lfs",
}
WEIGHTS = "/cdn/openvino_model.bin"


class Told:
    """A `Progress` that keeps what it is told."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self.begun: int | None = None
        self.remarks: list[str] = []

    def begin(self, total: int, there: int) -> None:
        self.total, self.done, self.begun = total, there, there

    def advance(self, size: int) -> None:
        self.done += size
        assert 0 <= self.done <= self.total

    def remark(self, words: str) -> None:
        self.remarks.append(words)


class Pulled:
    """One pull: its plan, what it told and for how long it would have waited."""

    def __init__(self) -> None:
        self.told, self.waits = Told(), list[float]()
        self.plan: Plan | None = None
        self.manifest: Manifest | None = None


async def run(hub: FakeHub, home: Path, name: str = "org/name", token: str = "") -> Pulled:
    done = Pulled()

    async def sleep(seconds: float) -> None:
        done.waits.append(seconds)
        await asyncio.sleep(0)

    async with Hub(hub.url, token) as client:
        done.plan = await plan_pull(ModelName.parse(name), home, client, sleep=sleep)
        done.manifest = await pull(done.plan, client, done.told, sleep=sleep)
    return done


async def refusal(hub: FakeHub, home: Path, name: str = "org/name", token: str = "") -> SetupError:
    """Why it is refused: in one line, with a hint, and without a model left behind."""
    with pytest.raises(SetupError) as caught:
        await run(hub, home, name, token)
    error = caught.value
    assert "\n" not in error.message + error.hint
    assert error.hint
    assert read_manifest(home / "models" / "org" / "name") is None
    return error


def assert_whole(home: Path, files: dict[str, bytes], name: str = "org/name") -> None:
    folder = home / "models" / name
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert found == {*files, FILE}
    assert {path: (folder / path).read_bytes() for path in files} == files
    assert not (folder / STAGING).exists()
    manifest = read_manifest(folder)
    assert manifest is not None
    assert {file.path for file in manifest.files} == set(files)
    assert verify(folder, manifest, lambda size: None) == []


async def test_what_is_taken_is_the_model_and_nothing_that_could_run(hub: FakeHub, tmp_path: Path):
    hub.add("org/name", {**IR, **UNWANTED})
    done = await run(hub, tmp_path)
    assert_whole(tmp_path, IR)
    assert {path for path, _ in hub.sent} == set(IR)
    assert done.told.done == done.told.total == sum(map(len, IR.values()))


async def test_the_record_has_source_commit_licence_sizes_and_digests(hub: FakeHub, tmp_path: Path):
    hub.add("org/name", IR, revisions=("v1",), license="mit")
    done = await run(hub, tmp_path, "org/name@v1")
    manifest = read_manifest(tmp_path / "models/org/name")
    assert manifest == done.manifest
    assert manifest is not None
    assert (manifest.name, manifest.source, manifest.revision) == ("org/name", hub.url, "v1")
    assert (manifest.commit, manifest.license) == (COMMIT, "mit")
    files = {file.path: file for file in manifest.files}
    weights = files["openvino_model.bin"]
    assert weights.digest == hashlib.sha256(BIG).hexdigest()
    assert (weights.algorithm, weights.size, weights.commit) == ("sha256", len(BIG), COMMIT)
    assert files["config.json"].algorithm == "git-sha1"


async def test_a_second_pull_fetches_nothing(hub: FakeHub, tmp_path: Path):
    hub.add("org/name", IR)
    await run(hub, tmp_path)
    hub.sent.clear()
    done = await run(hub, tmp_path)
    assert (hub.sent, done.plan.missing if done.plan else None) == ([], ())
    assert_whole(tmp_path, IR)


async def test_a_new_commit_brings_what_changed_and_takes_away_what_went(
    hub: FakeHub, tmp_path: Path
):
    hub.add("org/name", {**IR, "generation_config.json": b"{}"})
    await run(hub, tmp_path)
    hub.sent.clear()
    hub.add("org/name", {**IR, "openvino_model.bin": OTHER}, commit="f" * 40)
    await run(hub, tmp_path)
    assert hub.sent == [("openvino_model.bin", 0)]
    assert_whole(tmp_path, {**IR, "openvino_model.bin": OTHER})


async def test_a_cut_goes_on_where_it_was(hub: FakeHub, tmp_path: Path):
    hub.add("org/name", IR)
    hub.faults[WEIGHTS] = [Fault(cut_after=100_000), Fault(cut_after=50_000), Fault(503)]
    done = await run(hub, tmp_path)
    assert_whole(tmp_path, IR)
    starts = [start for path, start in hub.sent if path == "openvino_model.bin"]
    assert starts == sorted(starts)  # what was on its way at a cut may be lost, and no more
    assert starts[0] == 0 < starts[-1] <= 150_000
    assert done.told.done == done.told.total


async def test_a_server_without_ranges_is_read_from_the_beginning(hub: FakeHub, tmp_path: Path):
    hub.add("org/name", IR)
    hub.faults[WEIGHTS] = [Fault(cut_after=100_000), Fault(whole=True)]
    done = await run(hub, tmp_path)
    assert_whole(tmp_path, IR)
    assert done.told.done == done.told.total


async def test_waits_grow_while_nothing_comes_and_are_those_that_the_hub_asks_for(
    hub: FakeHub, tmp_path: Path
):
    hub.add("org/name", IR)
    hub.faults[WEIGHTS] = [
        Fault(503), Fault(429, {"retry-after": "17"}), Fault(503), Fault(cut_after=9_000),
        Fault(503),
    ]  # fmt: skip
    done = await run(hub, tmp_path)
    assert done.waits == [1, 17, 7, 0, 1]
    assert_whole(tmp_path, IR)


async def test_patience_ends_and_what_came_is_kept(hub: FakeHub, tmp_path: Path):
    hub.add("org/name", IR)
    hub.faults[WEIGHTS] = [Fault(cut_after=100_000)] + [Fault(503)] * (PATIENCE + 1)
    error = await refusal(hub, tmp_path)
    assert "in trouble (503)" in error.message
    hub.faults.clear()
    hub.sent.clear()
    done = await run(hub, tmp_path)
    assert_whole(tmp_path, IR)
    assert done.told.begun
    assert all(start > 0 for path, start in hub.sent if path == "openvino_model.bin")


async def test_a_hub_that_asks_for_an_hour_is_not_waited_for(hub: FakeHub, tmp_path: Path):
    hub.add("org/name", IR)
    hub.faults["/api/models/org/name/revision/main"] = [Fault(429, {"retry-after": "3600"})]
    error = await refusal(hub, tmp_path)
    assert "3600 s" in error.hint


WRONG = [
    Fault(content=b"short"),
    Fault(content=BIG + b"!"),
    Fault(content=OTHER + BIG[len(OTHER) :]),
    Fault(content=b"<html>Please log in</html>"),
]


@pytest.mark.parametrize("fault", WRONG)
async def test_wrong_bytes_are_thrown_away_and_fetched_once_more(
    hub: FakeHub, tmp_path: Path, fault: Fault
):
    hub.add("org/name", IR)
    hub.faults[WEIGHTS] = [fault]
    done = await run(hub, tmp_path)
    assert_whole(tmp_path, IR)
    assert "openvino_model.bin" in done.told.remarks[0]
    assert done.told.done == done.told.total


@pytest.mark.parametrize("fault", WRONG)
async def test_what_comes_wrong_twice_is_refused_and_nothing_of_it_is_kept(
    hub: FakeHub, tmp_path: Path, fault: Fault
):
    hub.add("org/name", IR)
    hub.faults[WEIGHTS] = [fault, fault]
    error = await refusal(hub, tmp_path)
    assert "openvino_model.bin of 'org/name' came wrong twice" in error.message
    weights = RemoteFile("openvino_model.bin", len(BIG), "sha256", hashlib.sha256(BIG).hexdigest())
    staging = tmp_path / "models/org/name" / STAGING
    assert not list(staging.glob(f"{staged_name(weights)}*"))


async def test_a_part_that_was_damaged_on_the_disk_is_noticed(hub: FakeHub, tmp_path: Path):
    hub.add("org/name", IR)
    hub.faults[WEIGHTS] = [Fault(cut_after=100_000)] + [Fault(503)] * (PATIENCE + 1)
    await refusal(hub, tmp_path)
    parts = (tmp_path / "models/org/name" / STAGING).glob("*.part")
    part = max(parts, key=lambda path: path.stat().st_size)
    part.write_bytes(b"x" + part.read_bytes()[1:])
    hub.faults.clear()
    await run(hub, tmp_path)
    assert_whole(tmp_path, IR)


async def test_two_pulls_of_one_model_do_not_meet(hub: FakeHub, tmp_path: Path):
    hub.add("org/name", IR)
    folder = tmp_path / "models/org/name"
    folder.mkdir(parents=True)
    with locked(folder, "org/name"):
        error = await refusal(hub, tmp_path)
    assert "another command" in error.message
    await run(hub, tmp_path)
    assert_whole(tmp_path, IR)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "it is empty"),
        ({"modeling.py": b"x", "README.md": b"x"}, "only *.md and *.py"),
        ({"pytorch_model.bin": BIG, "config.json": b"{}"}, "forms that are not read (*.bin)"),
        ({"model.pt": BIG, "model.pkl": BIG}, "*.pkl and *.pt"),
        ({"mmproj-f16.gguf": BIG}, "only a projector"),
        ({"a-Q8_0-00001-of-00002.gguf": BIG}, "part 2 of 2"),
    ],
)
async def test_a_repository_without_a_model_says_what_it_has(
    hub: FakeHub, tmp_path: Path, files: dict[str, bytes], words: str
):
    hub.add("org/name", files)
    assert words in (await refusal(hub, tmp_path)).message
    assert hub.sent == []
    assert not (tmp_path / "models").exists()


async def test_names_that_do_not_exist_and_gated_ones_say_what_to_do(hub: FakeHub, tmp_path: Path):
    hub.add("org/gated", IR, gated="manual")
    hub.tokens = {"hf_member", "hf_stranger"}
    error = await refusal(hub, tmp_path)
    assert "there is no model 'org/name'" in error.message
    assert "HF_TOKEN" in error.hint
    error = await refusal(hub, tmp_path, "org/gated")
    assert "is gated" in error.message
    assert f"{hub.url}/org/gated" in error.hint
    assert "HF_TOKEN" in (await refusal(hub, tmp_path, token="hf_wrong")).message
    await run(hub, tmp_path, "org/gated", "hf_member")
    assert_whole(tmp_path, IR, "org/gated")


async def test_a_token_that_may_not_read_a_gated_model_is_told(hub: FakeHub, tmp_path: Path):
    hub.add("org/name", IR, gated="auto")
    hub.faults[f"/org/name/resolve/{COMMIT}/config.json"] = [
        Fault(403, {"x-error-code": "GatedRepo"})
    ]
    hub.tokens = {"hf_stranger"}
    assert (
        "the token that is set may not" in (await refusal(hub, tmp_path, token="hf_stranger")).hint
    )


async def test_an_unsupported_architecture_is_named_before_its_weights_come(
    hub: FakeHub, tmp_path: Path
):
    config = b'{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}'
    hub.add("org/name", {"config.json": config, "model.safetensors": BIG, "tokenizer.json": b"{}"})
    error = await refusal(hub, tmp_path)
    assert "GPT2LMHeadModel" in error.message
    assert "model.safetensors" not in dict(hub.sent)


# --- disks ----------------------------------------------------------------------------------------


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that takes no more: what is written beyond is refused by the kernel."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_disk_that_fills_stops_the_pull_and_room_lets_it_go_on(
    hub: FakeHub, tmp_path: Path
):
    hub.add("org/name", IR)
    with files_of_at_most(150_000):
        error = await refusal(hub, tmp_path)
    assert "the disk is full" in error.message
    assert "make room" in error.hint
    hub.sent.clear()
    await run(hub, tmp_path)
    assert_whole(tmp_path, IR)
    assert dict(hub.sent)["openvino_model.bin"] > 0


async def test_a_model_that_has_no_room_is_refused_before_a_byte_comes(
    hub: FakeHub, tmp_path: Path
):
    too_much = shutil.disk_usage(tmp_path).free
    row = {"type": "file", "size": too_much, "oid": "0" * 40, "path": "a.gguf"}
    hub.add("org/name", {}, rows=[row])
    error = await refusal(hub, tmp_path)
    assert "are free" in error.message
    assert hub.sent == []


async def test_a_folder_that_cannot_be_made_is_one_line(hub: FakeHub, tmp_path: Path):
    hub.add("org/name", IR)
    (tmp_path / "models").write_text("a file")
    with pytest.raises(SetupError, match="cannot make the folder"):
        await run(hub, tmp_path)


# --- GGUF -----------------------------------------------------------------------------------------

SEVERAL = {
    "m-Q4_K_M.gguf": BIG,
    "m-Q8_0.gguf": OTHER,
    "m-BF16-00001-of-00002.gguf": b"1" * 2_000,
    "m-BF16-00002-of-00002.gguf": b"2" * 2_000,
    "imatrix_unsloth.gguf": b"i" * 2_000,
    "config.json": b"{}",
}


async def test_the_usual_one_of_several_is_taken_and_said(hub: FakeHub, tmp_path: Path):
    hub.add("org/name", SEVERAL)
    done = await run(hub, tmp_path)
    assert_whole(tmp_path, {"m-Q4_K_M.gguf": BIG})
    assert done.plan is not None
    assert "Q4_K_M, the usual one; also there: BF16 (4.0 kB), Q8_0" in done.plan.selection.reason


@pytest.mark.parametrize("file", ["Q8_0", "q8_0", "m-Q8_0.gguf", "m-Q8_0", "M-q8_0.GGUF"])
async def test_another_one_stands_beside_it(hub: FakeHub, tmp_path: Path, file: str):
    hub.add("org/name", SEVERAL)
    await run(hub, tmp_path)
    await run(hub, tmp_path, f"org/name:{file}")
    assert_whole(tmp_path, {"m-Q4_K_M.gguf": BIG, "m-Q8_0.gguf": OTHER})


async def test_a_split_one_comes_with_all_its_parts_and_its_projector(hub: FakeHub, tmp_path: Path):
    projectors = {"mmproj-m-F16.gguf": b"p" * 2_000, "mmproj-m-F32.gguf": b"q" * 4_000}
    hub.add("org/name", {**SEVERAL, **projectors})
    await run(hub, tmp_path, "org/name:BF16")
    parts = {path: content for path, content in SEVERAL.items() if "BF16" in path}
    assert_whole(tmp_path, {**parts, "mmproj-m-F16.gguf": b"p" * 2_000})


async def test_several_without_a_usual_one_are_listed_with_their_sizes(
    hub: FakeHub, tmp_path: Path
):
    hub.add("org/name", {k: v for k, v in SEVERAL.items() if "Q4_K_M" not in k})
    error = await refusal(hub, tmp_path)
    assert "holds 2 models" in error.message
    assert "org/name:BF16; there: BF16 (4.0 kB), Q8_0 (200 kB)" in error.hint
    error = await refusal(hub, tmp_path, "org/name:Q5_K_M")
    assert "'Q5_K_M' is not there" in error.message
    assert "Q8_0 (200 kB)" in error.hint


# --- everything at once ---------------------------------------------------------------------------

faults = st.sampled_from(
    [
        Fault(503),
        Fault(cut_after=0),
        Fault(cut_after=70_000),
        Fault(cut_after=5_000, reset=True),
        Fault(cut_after=150_000, reset=True),
        Fault(whole=True),
        Fault(429, {"retry-after": "3"}),
    ]
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(faults, max_size=12), st.lists(faults, max_size=4), st.booleans())
async def test_whatever_goes_wrong_on_the_way_the_bytes_are_right(
    hub: FakeHub, tmp_path_factory: pytest.TempPathFactory, large, small, wrong: bool
):
    home = tmp_path_factory.mktemp("home")
    hub.add("org/name", IR)
    hub.faults.clear()
    hub.faults[WEIGHTS] = [*large, *([WRONG[2]] if wrong else [])]
    hub.faults[f"/org/name/resolve/{COMMIT}/config.json"] = list(small)
    for _ in range(6):
        try:
            await run(hub, home)
            break
        except SetupError:
            assert read_manifest(home / "models/org/name") is None
    assert_whole(home, IR)
    assert Counter(os.listdir(home / "models")) == Counter({"org": 1})
