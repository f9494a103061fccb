"""What goes over the pipe comes out as it went in."""

from __future__ import annotations

from renga.engine.messages import (
    LENGTH_BYTES,
    Cancel,
    Drain,
    EngineSettings,
    Failed,
    Finished,
    FromEngine,
    Output,
    Ready,
    Refused,
    Started,
    Stats,
    Submit,
    Thinking,
    ToEngine,
    frame,
    read_from_engine,
    read_settings,
    read_to_engine,
)


def _body(framed: bytes) -> bytes:
    assert int.from_bytes(framed[:LENGTH_BYTES], "big") == len(framed) - LENGTH_BYTES
    return framed[LENGTH_BYTES:]


def test_every_message_to_the_engine_survives_the_pipe():
    sent: list[ToEngine] = [
        Submit(id="a", salt="w", prompt=[1, 2], max_tokens=3, seed=-5, stop=["x"], grammar="{}"),
        Submit(
            id="b",
            salt="w",
            prompt=[1],
            max_tokens=3,
            grammar="{}",
            trigger=7,
            thinking=Thinking(end=[4, 5], marker=5, budget=9),
        ),
        Cancel("a"),
        Drain(),
    ]
    assert read_to_engine(_body(frame(sent))) == sent


def test_every_message_from_the_engine_survives_the_pipe():
    stats = {name: number for number, name in enumerate(Stats.__struct_fields__)}
    sent: list[FromEngine] = [
        Ready(
            window=1,
            vocab=2,
            block_size=3,
            blocks=4,
            kv_bytes=5,
            load_seconds=0.5,
            threads=2,
            precision="exact",
        ),
        Failed("no model"),
        Started("a", 3, 0),
        Output("a", [4], "?", thinking=True),
        Output("a", [1, 2], "Zürich 🦊"),
        Finished(
            id="a",
            reason="error",
            prompt_tokens=1,
            reused_tokens=0,
            output_tokens=3,
            thinking_tokens=1,
        ),
        Refused("b", "overloaded", 1.5),
        Stats(**stats),
    ]
    assert read_from_engine(_body(frame(sent))) == sent


def test_settings_survive_the_pipe():
    settings = EngineSettings(model="folder", threads=2, precision="exact", kv_bytes=1 << 40)
    assert read_settings(_body(frame(settings))) == settings
