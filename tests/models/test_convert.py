"""A checkpoint's conversion: once, whole or not at all, and refused in words."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from renga.engine.checkpoint import write_weights
from renga.engine.graph import random_weights
from renga.errors import SetupError
from renga.models.convert import check_checkpoint, ensure_ir
from renga.models.find import find_model
from tests.tiny_model import CONFIG, write_words

pytestmark = pytest.mark.timeout(240)

MAKE = """
import sys
from pathlib import Path
from renga.models.convert import ensure_ir
print("begun", flush=True)
print(ensure_ir(Path(sys.argv[1]), Path(sys.argv[2])), flush=True)
"""


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_words(folder)
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    write_weights(folder / "model.safetensors", random_weights(CONFIG))
    return folder


@pytest.fixture
def checkpoint(made_once: Path, tmp_path: Path) -> Path:
    shutil.copytree(made_once, tmp_path / "tiny")
    return tmp_path / "tiny"


def _change(checkpoint: Path, **fields: object) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}), encoding="utf-8")


def test_it_is_made_once_and_again_when_a_file_changes(checkpoint: Path, tmp_path: Path) -> None:
    cache, heard = tmp_path / "cache", []

    def progress(done: int, all_: int) -> None:
        heard.append((done, all_))

    first = ensure_ir(checkpoint, cache, progress=progress)
    assert find_model(str(first), tmp_path).precision == "int8"
    assert heard == sorted(heard)
    assert heard[-1][0] == heard[-1][1] == sum(v.size for v in random_weights(CONFIG).values())
    count = len(heard)
    assert ensure_ir(checkpoint, cache, progress=progress) == first
    assert len(heard) == count
    _change(checkpoint, rope_theta=500_000.0)
    second = ensure_ir(checkpoint, cache)
    assert second != first
    assert [path.name for path in cache.iterdir()] == [second.name]


def test_a_conversion_that_was_killed_is_made_again(checkpoint: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for seconds in (0.0, 0.1, 0.5, 1.0):
        with subprocess.Popen(
            [sys.executable, "-c", MAKE, str(checkpoint), str(cache)], stdout=subprocess.PIPE
        ) as maker:
            assert maker.stdout is not None
            assert maker.stdout.readline() == b"begun\n"
            time.sleep(seconds)
            maker.send_signal(signal.SIGKILL)
        for path in cache.iterdir() if cache.exists() else ():
            if not path.name.startswith("."):
                find_model(str(path), tmp_path)  # what has the name of a whole one is whole
    made = ensure_ir(checkpoint, cache)
    assert find_model(str(made), tmp_path).parameters > 0
    assert [path.name for path in cache.iterdir()] == [made.name]


def test_two_at_once_make_one(checkpoint: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", MAKE, str(checkpoint), str(cache)]
    makers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {maker.communicate()[0] for maker in makers}
    assert [maker.returncode for maker in makers] == [0, 0]
    assert len(said) == 1
    assert len(list(cache.iterdir())) == 1


def test_the_converting_process_leaves_with_the_one_that_started_it(
    checkpoint: Path, tmp_path: Path
) -> None:
    # A pipe in place of a file: it would wait there for ever.
    (checkpoint / "config.json").unlink()
    os.mkfifo(checkpoint / "config.json")
    command = [sys.executable, "-m", "renga.engine.conversion", str(checkpoint)]
    with subprocess.Popen(
        [*command, str(tmp_path / "out"), "int8"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(timeout=120) == 1


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"architectures": ["GPT2LMHeadModel"]},
            "architecture GPT2LMHeadModel of tiny is not one that renga builds; supported: Llama",
        ),
        ({"quantization_config": {"quant_method": "gptq"}}, "tiny is stored quantized by 'gptq'"),
        ({"num_hidden_layers": 0}, "config.json: num_hidden_layers = 0; accepted: a whole number"),
        ({"num_hidden_layers": "two"}, "num_hidden_layers = 'two'"),
        ({"num_key_value_heads": 3}, "num_key_value_heads = 3; accepted: a divisor of 2 heads"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope type 'dynamic'; accepted: "),
        ({"rope_scaling": {"type": "linear"}}, "factor = None; accepted: a number above 0"),
        (
            {"architectures": ["Gemma2ForCausalLM"]},
            "tiny: attn_logit_softcapping = 50.0: Gemma 2 caps its attention",
        ),
    ],
)
def test_what_is_not_built_is_refused_before_anything_is_made(
    checkpoint: Path, tmp_path: Path, fields: dict[str, object], sentence: str
) -> None:
    _change(checkpoint, **fields)
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(SetupError) as caught:
        check_checkpoint(checkpoint)
    assert sentence in caught.value.message
    assert "\n" not in caught.value.message + caught.value.hint
    assert caught.value.hint
    with pytest.raises(SetupError):
        ensure_ir(checkpoint, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_words_that_only_another_library_reads_are_refused_by_name(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").rename(checkpoint / "tokenizer.model")
    with pytest.raises(SetupError, match=r"tiny has no tokenizer\.json, only tokenizer\.model"):
        check_checkpoint(checkpoint)


@pytest.mark.parametrize("broken", ["cut", "missing", "nan"])
def test_a_broken_checkpoint_leaves_nothing(checkpoint: Path, tmp_path: Path, broken: str) -> None:
    weights = checkpoint / "model.safetensors"
    sentence = "the download is incomplete"
    if broken == "cut":
        weights.write_bytes(weights.read_bytes()[:-4])
    elif broken == "missing":
        _change(checkpoint, num_hidden_layers=3)
        sentence = "the checkpoint has no tensor 'model.layers.2"
    else:
        weights.write_bytes(weights.read_bytes()[:-4] + b"\xff\xff\xff\x7f")
        sentence = "not a finite number"
    with pytest.raises(SetupError, match=sentence):
        ensure_ir(checkpoint, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_disk_that_is_full_is_named(checkpoint: Path, tmp_path: Path) -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)"
    )
    code = f"""
{program}
import sys
from pathlib import Path
from renga.errors import SetupError
from renga.models.convert import ensure_ir
try:
    ensure_ir(Path(sys.argv[1]), Path(sys.argv[2]))
except SetupError as error:
    print(error.message, "|", error.hint)
"""
    cache = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-c", code, str(checkpoint), str(cache)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "could not be written" in done.stdout or "File too large" in done.stdout
    assert "room on that disk" in done.stdout
    assert list(cache.iterdir()) == []
