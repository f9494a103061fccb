"""By one name, from an empty state folder: pulled from a hub, served, and an answer comes.

One row for each form that a repository can have, and for each family of checkpoints.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from renga import cli
from renga.app import App
from renga.config import load_config
from tests.checkpoints import FAMILIES, make_checkpoint
from tests.conftest import write_config
from tests.http.served import open_served
from tests.models.fake_hub import FakeHub
from tests.seeing_model import write_seeing_model
from tests.tiny_model import write_gguf, write_model


def _openvino(folder: Path) -> None:
    write_model(folder)
    (folder / "model.safetensors").unlink()


def _gguf(folder: Path) -> None:
    write_model(folder)
    file = write_gguf(folder)
    for other in folder.iterdir():
        if other.is_file():
            other.unlink()
    file.rename(folder / "tiny-F32.gguf")


def _family(name: str) -> Callable[[Path], object]:
    return lambda folder: make_checkpoint(name, folder, dtype="bfloat16", shard_size="100KB")


REPOSITORIES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "openvino": ("local", _openvino),
    "gguf": ("llamacpp", _gguf),
    "openvino-vision": ("openvino_vlm", write_seeing_model),
    **{name: ("local", _family(name)) for name in FAMILIES},
}


# What the others differ in from these is their graphs, which `tests/engine` holds to transformers.
QUICK = {"openvino", "gguf", "openvino-vision", "qwen3", "phi4-mini", "gemma3"}
FORMS = [
    form if form in QUICK else pytest.param(form, marks=pytest.mark.slow) for form in REPOSITORIES
]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("form", FORMS)
def test_a_name_is_all_it_takes(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
):
    kind, write = REPOSITORIES[form]
    write(tmp_path / "repository")
    hub.add("acme/tiny", tmp_path / "repository")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    pulled = CliRunner().invoke(cli.build(), ["models", "pull", "acme/tiny"])
    assert pulled.exit_code == 0, pulled.output
    listed = CliRunner().invoke(cli.build(), ["models", "list"]).stdout.splitlines()
    assert [line.split()[-1] for line in listed if line.startswith("acme/tiny")] == ["ready"]
    checked = CliRunner().invoke(cli.build(), ["models", "verify", "acme/tiny"])
    assert checked.exit_code == 0, checked.output
    config = '[backends.x]\nmodel = "acme/tiny"\n[tiers.haiku]\nbackends = ["x"]\n'
    named = ("--config", str(write_config(tmp_path, config)))
    tiers = CliRunner().invoke(cli.build(), ["models", *named]).stdout.splitlines()
    assert [line.split()[2:4] for line in tiers if line.startswith("renga-haiku")] == [
        ["x:", "acme/tiny,"]
    ]
    checked = CliRunner().invoke(cli.build(), ["doctor", "--port", "0", *named])
    assert "ok    backend x: acme/tiny, " in checked.stdout, checked.output
    answer_of("acme/tiny", kind)


def answer_of(name: str, kind: str) -> None:
    """One answer of the server that `renga serve --model NAME` would start."""

    async def ask() -> None:
        async with AsyncExitStack() as stack:
            app = await App.start(load_config(model=name))
            stack.push_async_callback(app.aclose)
            assert [backend.kind for backend in app.backends.values()] == [kind]
            served = await open_served(stack, app)
            body = {"model": name, "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]}
            done = await served.post(body)
            assert done.status_code == 200, done.text
            assert done.json()["usage"]["output_tokens"] >= 1
            assert done.json()["stop_reason"] in ("max_tokens", "end_turn")

    asyncio.run(ask())
