"""llama.cpp's process under the real backend: slots, ends of all kinds, and starts that fail."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import pytest_asyncio

from renga.backends.llamacpp import LlamacppBackend
from renga.config import BackendConfig
from renga.errors import BackendFailed, Overloaded, SetupError
from renga.events import BlockDelta, fold
from renga.llamacpp.memory import RUNTIME_BYTES
from renga.machine import Machine
from tests.backends.test_conformance import ask, attempt, free, run, text_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


def config_of(file: Path, **settings: Any) -> BackendConfig:
    given = {"threads": 1, "window": 1_024, "slots": 2, "max_waiting": 2, "cache_mb": 16}
    return BackendConfig("b", "llamacpp", model=str(file), **{**given, **settings})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(
    tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LlamacppBackend]:
    made = LlamacppBackend(config_of(tiny_gguf), home=tmp_path_factory.mktemp("home"))
    await made.start()
    yield made
    await made.aclose()


async def until(condition: Any, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def is_idle(backend: LlamacppBackend) -> bool:
    assert backend.server is not None
    return await backend.server.busy() == 0


# --- slots ----------------------------------------------------------------------------------------


async def test_two_slots_answer_two_at_once_and_keep_them_apart(backend):
    both = [free(backend, letters, 60) for letters in ("abc", "xyz")]
    first, second = await asyncio.gather(*(run(backend, request) for request in both))
    assert set(text_of(fold(first))) <= set("abc")
    assert set(text_of(fold(second))) <= set("xyz")


async def test_whoever_leaves_frees_the_slot(backend):
    request = free(backend, "leavs", 900)
    for _ in range(3):
        async with aclosing(backend.stream(request, attempt())) as events:
            async for event in events:
                if isinstance(event, BlockDelta):
                    break
        await until(lambda: is_idle(backend), 5)


async def test_beyond_slots_and_queue_the_answer_is_overloaded(backend):
    streams = [backend.stream(free(backend, "busy", 700), attempt()) for _ in range(4)]
    firsts = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await until(lambda: _waits(backend, 2))
    with pytest.raises(Overloaded) as raised:
        await run(backend, ask("one more"))
    assert raised.value.retry_after
    for first in firsts:
        first.cancel()
    await asyncio.gather(*firsts, return_exceptions=True)
    for stream in streams:
        await stream.aclose()
    await until(lambda: is_idle(backend))
    assert (await run(backend, ask("now")))[-1].type == "message_stop"


async def _waits(backend: LlamacppBackend, count: int) -> bool:
    return backend.server is not None and backend.server.waiting == count


async def test_what_a_mark_found_is_what_llamacpp_read(backend):
    block = {"type": "text", "text": "poem " * 90, "cache_control": {"type": "ephemeral"}}
    asked = [ask(word, system=[block], max_tokens=1) for word in ("one", "two")]
    first, second = [fold(await run(backend, request)).usage for request in asked]
    assert first.cache_creation_input_tokens == second.cache_read_input_tokens > 60
    assert second.cache_creation_input_tokens == 0
    # Another's entries are not found, though llama.cpp has the prompt.
    meter = attempt("other")
    other = fold(await run(backend, asked[0], meter)).usage
    assert other.cache_read_input_tokens == 0
    assert other.cache_creation_input_tokens == first.cache_creation_input_tokens


# --- a process that dies --------------------------------------------------------------------------


async def test_a_process_that_dies_fails_its_answers_and_comes_back(backend):
    server = backend.server
    assert server is not None
    was = server.process_id
    assert was is not None
    with pytest.raises(BackendFailed, match="being started again"):
        async with aclosing(backend.stream(free(backend, "leavs", 900), attempt())) as events:
            async for event in events:
                if isinstance(event, BlockDelta) and server.process_id == was:
                    os.kill(was, signal.SIGKILL)
    assert backend.health().state in ("restarting", "ready")
    message = fold(await run(backend, free(backend, "again", 5)))
    assert len(text_of(message)) == 5
    assert server.process_id != was
    assert backend.health().ready


PARENT = """
import asyncio, sys
from pathlib import Path
from renga.backends.llamacpp import LlamacppBackend
from renga.config import BackendConfig
async def main():
    config = BackendConfig("b", "llamacpp", model=sys.argv[1], threads=1, window=512, slots=1)
    backend = LlamacppBackend(config, home=Path(sys.argv[2]))
    await backend.start()
    print(backend.server.process_id, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_it_dies_with_a_parent_that_is_killed_and_leaves_no_socket(tiny_gguf, tmp_path):
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tiny_gguf), str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    assert runs(child)
    assert [*tmp_path.glob("renga-*/*.sock")]
    parent.kill()
    await parent.wait()

    async def gone() -> bool:
        return not runs(child)

    await until(gone)
    assert not [*tmp_path.glob("renga-*")]


def runs(process: int) -> bool:
    """Whether a process is there and no mere entry in its dead parent's name."""
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


# --- starts that fail -----------------------------------------------------------------------------


def other_architecture(path: Path, **_: Any) -> Path:
    writer = gguf.GGUFWriter(path, "foonet")
    writer.add_context_length(4_096)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b"])
    writer.add_chat_template("{{ messages }}")
    writer.add_tensor("x", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def without_tensors(path: Path, whole: Path) -> Path:
    """A header that is whole and leads to no network."""
    reader = gguf.GGUFReader(whole)
    writer = gguf.GGUFWriter(path, "llama")
    for key in ("context_length", "embedding_length", "block_count"):
        writer.add_uint32(f"llama.{key}", int(reader.get_field(f"llama.{key}").contents()))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(reader.get_field("tokenizer.ggml.tokens").contents())
    writer.add_chat_template("{{ messages }}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path, whole: None, "there is no such folder"),
        (lambda path, whole: path.write_bytes(whole.read_bytes()[:-9_999]), "its header says"),
        (lambda path, whole: path.write_bytes(b"GGUF" + b"\xff" * 99), "is GGUF version"),
        (lambda path, whole: other_architecture(path), "unknown model architecture: 'foonet'"),
        (lambda path, whole: without_tensors(path, whole), "cannot be loaded"),
    ],
)
async def test_a_file_that_cannot_be_served_is_one_sentence(tiny_gguf, tmp_path, make, words):
    path = tmp_path / "bad.gguf"
    make(path, tiny_gguf)
    backend = LlamacppBackend(config_of(path), home=tmp_path)
    with pytest.raises(SetupError, match=words) as raised:
        await backend.start()
    assert "\n" not in raised.value.message
    assert raised.value.hint
    assert backend.health().state == "unloaded"


WITHOUT = """
import asyncio, sys
sys.modules["xllamacpp"] = None  # as if it had not been installed
from pathlib import Path
from renga.backends.llamacpp import LlamacppBackend
from renga.config import BackendConfig
from renga.errors import SetupError
backend = LlamacppBackend(BackendConfig("b", "llamacpp", sys.argv[1]), home=Path(sys.argv[2]))
try:
    asyncio.run(backend.start())
except SetupError as error:
    print(error.message, "|", error.hint)
"""


async def test_without_the_extra_it_says_how_to_get_it(tiny_gguf, tmp_path):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WITHOUT, str(tiny_gguf), str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
    )
    said = (await process.communicate())[0].decode()
    assert "the package xllamacpp is missing" in said
    assert said.rpartition("| ")[2].strip() == "pip install 'renga[gguf]'"


async def test_a_model_without_a_template_is_refused(tmp_path):
    path = tmp_path / "bare.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(SetupError, match="has no chat template"):
        await LlamacppBackend(config_of(path), home=tmp_path).start()


async def test_what_does_not_fit_is_refused_or_made_smaller(tiny_gguf, tmp_path):
    def make(free: int, **settings: Any) -> LlamacppBackend:
        config = config_of(tiny_gguf, **settings)
        return LlamacppBackend(config, home=tmp_path, machine=Machine(available=lambda: free))

    with pytest.raises(SetupError, match=r"needs [\d,]+ MB with 2 slots of 1,024 tokens; 100 MB"):
        await make(100_000_000).start()
    with pytest.raises(SetupError, match=r"window = 9,999; the model's own is 2,048"):
        await make(10**9, window=9_999).start()
    room = RUNTIME_BYTES + tiny_gguf.stat().st_size + 1_200 * 1_024
    small = make(room, window=0, slots=0)
    await small.start()
    words = small.health().words
    await small.aclose()
    assert "1 slot of llama.cpp" in words
    assert "window 1,024" in words


async def test_settings_reach_llamacpp(tiny_gguf, tmp_path):
    config = config_of(
        tiny_gguf, slots=3, window=512, kv_type="q8_0", flash_attention="on", gpu_layers=0
    )
    backend = LlamacppBackend(config, home=tmp_path)
    await backend.start()
    try:
        assert backend.server is not None
        assert backend.server.facts == replace(backend.server.facts, window=512, slots=3)
        assert len(text_of(fold(await run(backend, free(backend, "kv", 20))))) == 20
    finally:
        await backend.aclose()
