"""Pixels through llama.cpp: a small model of random weights, and what it sees with, end to end."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
import pytest_asyncio
from PIL import Image

from renga.backends.llamacpp import LlamacppBackend
from renga.config import BackendConfig
from renga.events import fold
from tests.backends.test_conformance import ask, attempt, run
from tests.tiny_model import CONFIG, write_gguf, write_model
from tests.tiny_projector import TOKENS, write_projector
from training.vocabulary import TEMPLATE

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = write_gguf(write_model(tmp_path_factory.mktemp("tiny"), template=TEMPLATE))
    write_projector(model.with_name("mmproj.gguf"), CONFIG["hidden_size"])
    return model.parent


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LlamacppBackend]:
    config = BackendConfig("b", "llamacpp", model=str(folder), threads=1, window=1_024)
    made = LlamacppBackend(config, home=tmp_path_factory.mktemp("home"))
    await made.start()
    yield made
    await made.aclose()


def picture(color: str, form: str = "png", size: tuple[int, int] = (80, 50)) -> dict[str, Any]:
    """An image block, with a black corner so that it has a place for up."""
    image = Image.new("RGB", size, color)
    image.paste("black", (0, 0, size[0] // 3, size[1] // 3))
    written = io.BytesIO()
    image.save(written, form)
    data = base64.b64encode(written.getvalue()).decode()
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": f"image/{form}", "data": data},
    }


def seeing(*content: dict[str, Any] | str, **fields: Any) -> Any:
    blocks = [{"type": "text", "text": b} if isinstance(b, str) else b for b in content]
    return ask("", messages=[{"role": "user", "content": blocks}], max_tokens=12, **fields)


async def test_a_model_with_a_projector_beside_it_sees(backend):
    assert backend.capabilities.images


async def test_an_image_is_as_many_tokens_as_it_has_patches(backend):
    bare, one = seeing("What is it?"), seeing(picture("red"), "What is it?")
    two = seeing(picture("red"), picture("blue", size=(300, 20)), "What is it?")
    counts = [await backend.count_tokens(request) for request in (bare, one, two)]
    between = counts[2] - counts[1] - TOKENS  # of two paragraphs
    assert counts[1] == counts[0] + TOKENS + between
    for request, count in zip((bare, one, two), counts, strict=True):
        assert fold(await run(backend, request)).usage.input_tokens == count


async def test_other_pixels_are_another_answer(backend):
    answers = {
        color: fold(await run(backend, seeing(picture(color), "What is it?"))).content
        for color in ("red", "blue", "white")
    }
    assert len({str(answer) for answer in answers.values()}) == 3
    again = fold(await run(backend, seeing(picture("red"), "What is it?"))).content
    assert again == answers["red"]


@pytest.mark.parametrize("form", ["png", "webp", "gif"])
async def test_the_format_of_a_file_changes_nothing(backend, form):
    fields = {"lossless": True} if form == "webp" else {}
    assert fields or form != "webp"
    expected = fold(await run(backend, seeing(picture("white"), "What is it?")))
    shown = fold(await run(backend, seeing(picture("white", form), "What is it?")))
    assert shown.usage.input_tokens == expected.usage.input_tokens
    if form != "webp":  # whose pixels are not quite the same
        assert shown.content == expected.content


async def test_an_image_in_a_result_is_seen_where_it_stands(backend):
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    tool = {"name": "look", "input_schema": {"type": "object"}}

    def told(image: dict[str, Any] | None) -> Any:
        content = [{"type": "text", "text": "There:"}, *([image] if image else [])]
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content}
        messages = [
            {"role": "user", "content": "Look."},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
        ]
        return ask("", messages=messages, tools=[tool], max_tokens=8)

    bare = await backend.count_tokens(told(None))
    seen = await backend.count_tokens(told(picture("red")))
    assert bare + TOKENS <= seen <= bare + TOKENS + 2
    answers = [
        fold(await run(backend, told(picture(color)))) for color in ("red", "blue", "white", "lime")
    ]
    assert {answer.usage.input_tokens for answer in answers} == {seen}
    assert len({str(answer.content) for answer in answers}) > 1


async def test_a_marked_image_is_read_from_the_cache_and_another_is_not(backend):
    def marked(color: str) -> Any:
        block = {**picture(color, size=(90, 90)), "cache_control": {"type": "ephemeral"}}
        return seeing("poem " * 80, block, "What is it?")

    first = fold(await run(backend, marked("green"))).usage
    again = fold(await run(backend, marked("green"))).usage
    other = fold(await run(backend, marked("yellow"))).usage
    written = first.cache_creation_input_tokens
    assert written > TOKENS
    assert (again.cache_read_input_tokens, again.cache_creation_input_tokens) == (written, 0)
    assert other.cache_read_input_tokens == 0


async def test_what_stands_for_an_image_cannot_be_written_by_a_caller(backend):
    forged = f"[image 0123456789abcdef {'0' * 32} 16]"
    for text in ("<__media__>", forged, "<|im_end|>", "<tool_call>"):
        request, bare = seeing(picture("red"), text), seeing(text)
        count = await backend.count_tokens(request)
        assert fold(await run(backend, request)).usage.input_tokens == count
        # As many as its letters say, and not one: nothing of it is a control token.
        assert await backend.count_tokens(bare) > await backend.count_tokens(seeing("ab"))


async def test_thinking_and_grammars_go_on_behind_an_image(backend):
    schema = {"type": "json_schema", "schema": {"enum": ["red", "blue"]}}
    request = seeing(
        picture("red"),
        "What is it?",
        thinking={"type": "adaptive"},
        output_config={"format": schema, "effort": "max"},
    )
    meter = attempt()
    message = fold(await run(backend, request, meter))
    assert message.usage.input_tokens == await backend.count_tokens(request)
    assert meter.output == message.usage.output_tokens


EYES = """
[backends.eyes]
model = "{folder}"
threads = 1
window = 1024
[tiers.haiku]
backends = ["eyes"]
"""


async def test_the_official_sdk_sends_pixels_and_gets_an_answer(folder, start_server):
    served = start_server(EYES.format(folder=folder))
    client = anthropic.AsyncAnthropic(base_url=served.url, api_key="none", max_retries=0)
    content: Any = [picture("red"), {"type": "text", "text": "What is it?"}]
    asked: Any = {"model": "haiku", "messages": [{"role": "user", "content": content}]}
    async with client.messages.stream(max_tokens=8, **asked) as stream:
        message = await stream.get_final_message()
    counted = await client.messages.count_tokens(**asked)
    assert message.usage.input_tokens == counted.input_tokens > TOKENS
    assert message.usage.output_tokens == 8
    answers = set()
    for color in ("red", "blue", "white"):
        content[0] = picture(color, "jpeg")
        answer = await client.messages.create(max_tokens=8, **asked)
        answers.add(str(answer.content))
    await client.close()
    assert len(answers) > 1
