"""The loop of the engine's process, with lists for pipes: what is written, when, how it ends."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from queue import SimpleQueue
from typing import Any

import pytest

from renga.engine.engine import Engine
from renga.engine.grammar import Grammars
from renga.engine.messages import (
    LENGTH_BYTES,
    Cancel,
    Drain,
    EngineSettings,
    Failed,
    Finished,
    FromEngine,
    Output,
    Refused,
    Started,
    Stats,
    Submit,
    ToEngine,
    frame,
    read_from_engine,
)
from renga.engine.process import Outbox, read_all, serve
from renga.engine.request import Language
from renga.engine.text import Vocabulary
from tests.engine.fakes import CountingModel
from tests.tiny_model import write_words


@pytest.fixture
def engine(tmp_path) -> Engine:
    write_words(tmp_path)
    path = tmp_path / "tokenizer.json"
    language = Language(Vocabulary.load(path), Grammars(path, 600, [2]), frozenset([2]))
    settings = EngineSettings(model="counting", max_running=4, max_waiting=4)
    clock = itertools.count().__next__
    return Engine(CountingModel(), language, settings, clock=clock, entropy=lambda: 0)


def _submit(id: str, **changes) -> Submit:
    return Submit(
        id=id, salt="team", prompt=[10, 11], temperature=0.0, **{"max_tokens": 4, **changes}
    )


def _serve(engine: Engine, sent: list[list[ToEngine] | None], tick: float) -> list[FromEngine]:
    inbox: SimpleQueue[list[ToEngine] | None] = SimpleQueue()
    for messages in sent:
        inbox.put(messages)
    frames: list[list[FromEngine]] = []
    serve(engine, inbox, frames.append, itertools.count(0.0, tick).__next__)
    return [event for events in frames for event in events]


def _about(events: list[FromEngine], id: str) -> list[FromEngine]:
    return [event for event in events if getattr(event, "id", None) == id]


def test_slow_steps_are_written_one_by_one(engine):
    events = _serve(engine, [[_submit("a")], [Drain()]], tick=1.0)
    tokens = [event.tokens for event in _about(events, "a") if isinstance(event, Output)]
    assert tokens == [[12], [13], [14], [15]]


def test_the_texts_of_quick_steps_are_joined_and_nothing_is_lost(engine):
    events = _about(_serve(engine, [[_submit("a")], [Drain()]], tick=0.0001), "a")
    assert [type(event) for event in events] == [Started, Output, Output, Finished]
    tokens = [event.tokens for event in events if isinstance(event, Output)]
    assert tokens == [[12], [13, 14, 15]]


def test_draining_finishes_what_is_there_and_refuses_what_comes(engine):
    sent: list[list[ToEngine] | None] = [[_submit("a"), Drain(), _submit("b")]]
    events = _serve(engine, sent, tick=1.0)
    assert isinstance(_about(events, "a")[-1], Finished)
    assert _about(events, "b") == [Refused("b", "draining", 1.0)]


def test_the_end_of_the_inbox_ends_the_loop_in_the_middle_of_an_answer(engine):
    events = _serve(engine, [[_submit("a", max_tokens=1_000)], None], tick=1.0)
    assert not any(isinstance(event, Finished) for event in events)


def test_a_cancel_is_answered_and_the_figures_follow(engine):
    sent: list[list[ToEngine] | None] = [[_submit("a"), Cancel("a"), Cancel("unknown")], [Drain()]]
    events = _serve(engine, sent, tick=1.0)
    [finished] = _about(events, "a")
    assert isinstance(finished, Finished)
    assert finished.reason == "cancelled"
    last = [event for event in events if isinstance(event, Stats)][-1]
    assert (last.running, last.waiting, last.free_blocks) == (0, 0, last.blocks)


def test_a_request_is_prepared_before_the_steps_hear_of_it(engine):
    class Inbox(SimpleQueue[list[ToEngine] | None]):
        def put(self, item: list[ToEngine] | None, *args: Any) -> None:
            seen.append([m.id for m in item or [] if isinstance(m, Submit)])

    seen: list[Any] = []
    sent: list[list[ToEngine]] = [
        [_submit("a"), Cancel("b")],
        [_submit("c", grammar="start: missing")],
    ]
    source = io.BytesIO(b"".join(frame(messages) for messages in sent))
    read_all(source, Inbox(), lambda submit: seen.append(submit.id))
    assert seen == ["a", ["a"], "c", ["c"], []]


def test_an_outbox_keeps_the_order_of_each_request():
    outbox = Outbox()
    written: list[list[FromEngine]] = []
    outbox.add([Started("a", 1, 0), Output("a", [1], "x"), Output("b", [7], "")])
    outbox.add([Output("b", [8], "z"), Output("a", [2], "y")])
    outbox.write(written.append)
    outbox.write(written.append)
    assert written == [[Started("a", 1, 0), Output("a", [1, 2], "xy"), Output("b", [7, 8], "z")]]
    assert not outbox.urgent


def test_the_process_leaves_when_its_pipe_closes_and_says_why_it_cannot_start(tmp_path):
    command = [sys.executable, "-m", "renga.engine.process"]
    silent = subprocess.run(command, input=b"", capture_output=True, timeout=60, check=False)
    assert (silent.returncode, silent.stdout) == (0, b"")
    first = frame(EngineSettings(model=str(tmp_path)))
    failed = subprocess.run(command, input=first, capture_output=True, timeout=60, check=False)
    [message] = read_from_engine(failed.stdout[LENGTH_BYTES:])
    assert isinstance(message, Failed)
    assert "openvino_model.xml" in message.message
    assert failed.returncode == 1
