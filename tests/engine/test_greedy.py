"""Greedy tokens against openvino_genai, and against ourselves under every way of scheduling.

In the exact mode nothing may change a token. At serving precision another batch, chunk or reused
block may, but only where the two best logits nearly tie; the test prints what it saw.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import openvino as ov
import openvino_genai
import pytest

from renga.engine.messages import Submit
from tests.engine.harness import NAMES, Answer, Workbench, alone, model_folder, run

PROMPTS = 56
TOKENS = 32
# The lead of the best logit under which another order of the same sums may pick the second.
NEAR_TIE = 0.1

EXACT = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", params=NAMES)
def folder(request, tmp_path_factory) -> Path:
    return model_folder(request.param, tmp_path_factory.mktemp("greedy"))


@pytest.fixture(scope="module")
def exact(folder) -> Workbench:
    return Workbench(folder, precision="exact", draft_tokens=0, kv_bytes=200_000_000)


@pytest.fixture(scope="module")
def serving(folder) -> Workbench:
    return Workbench(folder, draft_tokens=0, kv_bytes=200_000_000)


def _submits(bench: Workbench, salt: str | None) -> list[Submit]:
    """The prompts; each in a workspace of its own where no salt is given, so that all are cold."""
    return [
        Submit(
            id=str(number),
            salt=salt or f"cold{number}",
            prompt=prompt,
            max_tokens=TOKENS,
            temperature=0.0,
        )
        for number, prompt in enumerate(bench.prompts(PROMPTS))
    ]


def _alone(bench: Workbench) -> dict[str, Answer]:
    engine = bench.engine()
    return {submit.id: alone(bench, engine, submit) for submit in _submits(bench, None)}


@pytest.fixture(scope="module")
def exact_alone(exact) -> dict[str, Answer]:
    return _alone(exact)


@pytest.fixture(scope="module")
def serving_alone(serving) -> dict[str, Answer]:
    return _alone(serving)


def _genai(folder: Path, bench: Workbench, properties: dict[str, Any]) -> dict[str, list[int]]:
    """The same prompts, one at a time, through openvino_genai's own scheduler."""
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 1
    scheduler.enable_prefix_caching = False
    pipeline = openvino_genai.ContinuousBatchingPipeline(str(folder), scheduler, "CPU", properties)
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = TOKENS
    config.do_sample = False
    config.ignore_eos = True
    found: dict[str, list[int]] = {}
    for submit in _submits(bench, None):
        [result] = pipeline.generate([ov.Tensor([submit.prompt])], [config])
        found[submit.id] = list(result.m_generation_ids[0])
    return found


def _differing(one: dict[str, Answer], other: dict[str, list[int]]) -> list[tuple[str, int, float]]:
    """Where answers part: the id, the place of the first differing token, the lead there."""
    parted = []
    for id, answer in one.items():
        assert len(answer.tokens) == len(other[id]) == TOKENS
        places = [p for p in range(TOKENS) if answer.tokens[p] != other[id][p]]
        if places:
            parted.append((id, places[0], answer.gaps[places[0]]))
    return parted


def _tokens(answers: dict[str, Answer]) -> dict[str, list[int]]:
    return {id: answer.tokens for id, answer in answers.items()}


def test_alone_and_cold_every_token_is_the_one_that_openvino_genai_picks(
    folder, serving, serving_alone
):
    assert _differing(serving_alone, _genai(folder, serving, {})) == []


def test_the_exact_mode_picks_what_openvino_genai_picks_in_float32(folder, exact, exact_alone):
    assert _differing(exact_alone, _genai(folder, exact, EXACT)) == []


def test_with_guesses_and_the_precision_that_they_need_openvino_genai_picks_the_same(folder):
    bench = Workbench(folder, kv_bytes=200_000_000)
    plain = bench.engine(draft_tokens=0)
    submits = _submits(bench, None)[::4]
    answers = {submit.id: alone(bench, plain, submit) for submit in submits}
    engine = bench.engine()
    guessing = {submit.id: run(engine, [submit])[submit.id].tokens for submit in submits}
    found = _genai(folder, bench, {"KV_CACHE_PRECISION": "bf16"})
    for other in (guessing, found):
        assert all(lead < NEAR_TIE for _, _, lead in _differing(answers, other))


@pytest.mark.parametrize("step_tokens", [32, 96, 256, 1_024])
def test_the_exact_mode_is_equal_for_sixteen_at_once_in_any_chunking(
    exact, exact_alone, step_tokens
):
    engine = exact.engine(max_running=16, step_tokens=step_tokens)
    together = run(engine, _submits(exact, None))
    assert _differing(exact_alone, _tokens(together)) == []
    assert all(answer.reused == 0 for answer in together.values())


def test_the_exact_mode_is_equal_on_a_warm_prefix(exact, exact_alone):
    engine = exact.engine(max_running=16)
    run(engine, _submits(exact, "team"))
    warm = run(engine, _submits(exact, "team"))
    assert _differing(exact_alone, _tokens(warm)) == []
    reused = {id: answer.reused for id, answer in warm.items()}
    lengths = {submit.id: len(submit.prompt) for submit in _submits(exact, "team")}
    assert reused == {id: (length - 1) // 32 * 32 for id, length in lengths.items()}


def test_the_exact_mode_is_equal_for_sequences_that_were_put_out_and_came_back(exact):
    submits = [
        Submit(id=str(n), salt="team", prompt=prompt, max_tokens=200, temperature=0.0)
        for n, prompt in enumerate(exact.prompts(8, longest=150))
    ]
    engine = exact.engine()
    expected = {submit.id: alone(exact, engine, submit).tokens for submit in submits}
    short = exact.engine(blocks=24)
    together = run(short, submits)
    assert short.stats().preemptions > 2
    assert _tokens(together) == expected


@pytest.mark.parametrize("way", ["sixteen", "chunks", "warm"])
def test_at_serving_precision_answers_part_only_at_near_ties(serving, serving_alone, way, capsys):
    engine = serving.engine(max_running=16, step_tokens=32 if way == "chunks" else 256)
    if way == "warm":
        run(engine, _submits(serving, "team"))
    found = run(engine, _submits(serving, "team" if way == "warm" else None))
    parted = _differing(serving_alone, _tokens(found))
    with capsys.disabled():
        equal = PROMPTS - len(parted)
        leads = ", ".join(f"{lead:.3f}" for _, _, lead in sorted(parted, key=lambda p: p[2]))
        sys.stdout.write(f"\n{way}: {equal}/{PROMPTS} answers equal; they part at {leads or '-'}\n")
    assert all(lead < NEAR_TIE for _, _, lead in parted)
