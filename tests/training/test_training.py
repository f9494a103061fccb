"""The loop and the way to a model folder, on the miniature."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from renga.chat.tokenizer import Tokenizer
from training import export, recipe, score
from training.batch import Rows, masked
from training.chat import Turn
from training.loop import Plan, Progress, Run, rate_scale
from training.model import Decoder, Shape
from training.optimizer import Kinship, Optimizer, Rates, orthogonal
from training.recipe import SIZES, Recipe
from training.seeding import seed_copying

SHAPE = Shape(vocab=300, width=32, layers=2, heads=2, kv_heads=1, inner=48, head_dim=16)
PLAN = Plan(steps=12, rows=2, micro=2, workers=0, warmup=2, compiled=False, seeded=False)


def quiet(_: str) -> None: ...


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    rng = np.random.default_rng(3)
    folder = tmp_path / "rows"
    folder.mkdir()
    np.save(folder / "tokens.npy", rng.integers(0, 300, (9, 33), dtype=np.uint16))
    np.save(folder / "weights.npy", rng.integers(0, 2, (9, 33), dtype=np.uint8) * 10)
    np.save(
        folder / "documents.npy", np.repeat(np.arange(3, dtype=np.uint8), 11)[None].repeat(9, 0)
    )
    return Rows(folder)


def weights(run: Run) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


def test_a_run_stopped_and_resumed_ends_with_the_same_weights(rows: Rows, tmp_path: Path) -> None:
    whole = Run(SHAPE, PLAN, tmp_path / "whole")
    assert whole.train([(0.0, rows)], lambda: 0.0, quiet)
    calls = count()
    first = Run(SHAPE, PLAN, tmp_path / "parts")
    assert not first.train([(0.0, rows)], lambda: 0.0, quiet, lambda: next(calls) >= 5)
    second = Run(SHAPE, PLAN, tmp_path / "parts")
    assert second.progress.step == 5
    assert second.train([(0.0, rows)], lambda: 0.0, quiet)
    torch.testing.assert_close(weights(second), weights(whole), rtol=0, atol=1e-6)


def test_workers_side_by_side_learn_what_one_process_learns(rows: Rows, tmp_path: Path) -> None:
    alone = Run(SHAPE, PLAN, tmp_path / "alone")
    alone.train([(0.0, rows)], lambda: 0.0, quiet)
    crew = Run(SHAPE, dataclasses.replace(PLAN, workers=2), tmp_path / "crew")
    try:
        crew.train([(0.0, rows)], lambda: 0.0, quiet)
    finally:
        crew.close()
    assert crew.progress.tokens == alone.progress.tokens
    torch.testing.assert_close(weights(crew), weights(alone), rtol=0, atol=2e-2)


def kin_of(size: int) -> tuple[list[int], list[int]]:
    """Tokens 20 to 23 are the forms of one word, 30 to 33 of another, all others alone."""
    bases, forms = list(range(size)), [4] * size
    for first in (20, 30):
        bases[first : first + 4], forms[first : first + 4] = [first] * 4, [0, 1, 2, 3]
    return bases, forms


def test_what_is_learned_of_one_form_of_a_word_holds_for_the_others() -> None:
    model = Decoder(SHAPE, seed=1)
    table = model.model.embed_tokens.weight
    before = table.detach().clone()
    kin = Kinship(*(torch.tensor(numbers) for numbers in kin_of(300)))
    optimizer = Optimizer(model, Rates(), kin)
    assert optimizer.table is not None
    optimizer.table.write(0.0)
    torch.testing.assert_close(table.detach(), before)
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    assert table.grad is not None
    table.grad[21] = 1.0
    own = optimizer.table.own.detach().clone()
    optimizer.step(1.0)
    moved = (table.detach() - before - (optimizer.table.own.detach() - own)).mean(1)
    assert all(moved[n] < -0.009 for n in range(20, 24))
    assert moved[21] < -0.018, "the form learns too"
    assert moved[100].abs() < 1e-6
    kept = optimizer.table.own.detach()[22] / own[22]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 - Rates().own_decay))


def test_a_shared_table_resumes_as_it_was(rows: Rows, tmp_path: Path) -> None:
    kin, plan = kin_of(300), dataclasses.replace(PLAN, steps=6)
    whole = Run(SHAPE, plan, tmp_path / "whole", kin=kin)
    whole.train([(0.0, rows)], lambda: 0.0, quiet)
    calls = count()
    first = Run(SHAPE, plan, tmp_path / "parts", kin=kin)
    first.train([(0.0, rows)], lambda: 0.0, quiet, lambda: next(calls) >= 3)
    second = Run(SHAPE, plan, tmp_path / "parts", kin=kin)
    second.train([(0.0, rows)], lambda: 0.0, quiet)
    torch.testing.assert_close(weights(second), weights(whole), rtol=0, atol=1e-6)


def test_the_loss_falls(rows: Rows, tmp_path: Path) -> None:
    run = Run(SHAPE, dataclasses.replace(PLAN, steps=40), tmp_path / "run")
    before = run.step(rows, 1.0)
    run.train([(0.0, rows)], lambda: 0.0, quiet)
    assert run.step(rows, 0.0) < 0.7 * before


def test_a_checkpoint_of_another_shape_is_refused_by_name(rows: Rows, tmp_path: Path) -> None:
    Run(SHAPE, dataclasses.replace(PLAN, steps=1), tmp_path).train([(0.0, rows)], lambda: 0, quiet)
    with pytest.raises(ValueError, match="holds shape"):
        Run(dataclasses.replace(SHAPE, width=16), PLAN, tmp_path)


def test_the_rate_rises_stays_and_falls_to_zero_by_steps_and_by_the_clock() -> None:
    plan = Plan(minutes=10, warmup=4, decay=0.5)
    at = [rate_scale(plan, Progress(step=9, seconds=s)) for s in (0, 299, 300, 450, 600, 700)]
    assert at == [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    assert rate_scale(plan, Progress(step=0)) == 0.25
    assert rate_scale(Plan(steps=10, warmup=1, decay=0.5), Progress(step=9)) == pytest.approx(0.2)


def test_later_rows_are_read_from_their_share_of_the_run_on(rows: Rows, tmp_path: Path) -> None:
    seen: list[Rows] = []

    class Watched(Run):
        def step(self, rows: Rows, scale: float) -> float:
            seen.append(rows)
            return 0.0

    later = Rows(tmp_path / "rows")
    Watched(SHAPE, PLAN, tmp_path / "run").train([(0.0, rows), (0.75, later)], lambda: 0, quiet)
    assert seen == [rows] * 9 + [later] * 3


def test_a_step_that_was_paused_counts_for_a_minute_at_most(rows: Rows, tmp_path: Path) -> None:
    seconds = count(step=1000)
    run = Run(SHAPE, dataclasses.replace(PLAN, steps=0, minutes=5), tmp_path)
    assert run.train([(0.0, rows)], lambda: float(next(seconds)), quiet)
    assert run.progress.step == 5


@pytest.mark.parametrize("size", [(3, 8, 20), (2, 20, 8), (4, 12, 12)])
def test_muons_update_has_singular_values_near_one(size: tuple[int, int, int]) -> None:
    matrices = torch.randn(size, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonal(matrices))
    assert values.min() > 0.3
    assert values.max() < 1.6


def test_the_decoder_computes_what_transformers_computes(tmp_path: Path, small_data: Path) -> None:
    size = dataclasses.replace(SIZES["miniature"], shape=SHAPE, sample_characters=20_000)
    made = Recipe(size, small_data, tmp_path / "work", tmp_path / "model", quiet)
    made.work.mkdir()
    shape = dataclasses.replace(SHAPE, vocab=400)
    recipe.learn_vocabulary(dataclasses.replace(made, size=dataclasses.replace(size, shape=shape)))
    run = Run(shape, PLAN, tmp_path / "run")
    run.folder.mkdir()
    run.save()
    export.checkpoint_folder(run.saved, made.vocabulary, tmp_path / "checkpoint")
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint", dtype=torch.float32)
    ids = torch.randint(0, 400, (2, 24), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        hidden = run.model.model(ids, torch.arange(24).expand(2, 24), None)
        torch.testing.assert_close(
            run.model.logits(hidden), reference(ids).logits, rtol=1e-4, atol=1e-4
        )


def test_documents_packed_together_are_computed_as_if_alone() -> None:
    model = Decoder(SHAPE, seed=4)
    ids = torch.randint(0, 300, (1, 20), generator=torch.Generator().manual_seed(5))
    mask, positions = masked(torch.tensor([[0] * 12 + [1] * 8]))
    together = model.model(ids, positions, mask)[0, 12:]
    alone = model.model(ids[:, 12:], torch.arange(8)[None], None)[0]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def copied(model: Decoder) -> float:
    """Share of tokens of a random text that are right when it stands there for the second time."""
    generator = torch.Generator().manual_seed(6)
    once = torch.randint(0, model.shape.vocab, (4, 60), generator=generator)
    ids = torch.cat((once, once), dim=1)
    with torch.no_grad():
        hidden = model.model(ids, torch.arange(120).expand(4, 120), None)
        scores = model.logits(hidden).scatter(2, ids[..., None], -1e9)
    hits: torch.Tensor = (scores[:, :-1].argmax(-1) == ids[:, 1:])[:, 60:]
    return float(hits.float().mean())


def test_a_seeded_model_copies_before_it_is_trained() -> None:
    model = Decoder(SIZES["haiku"].shape, seed=1)
    assert copied(model) < 0.05
    seed_copying(model, seed=1)
    assert copied(model) > 0.5


def test_seeding_refuses_a_shape_without_room() -> None:
    with pytest.raises(ValueError, match="width above twice"):
        seed_copying(Decoder(SHAPE, seed=1), seed=1)


def test_the_shipped_size_is_between_ten_and_twenty_million_parameters() -> None:
    shape = SIZES["haiku"].shape
    assert 10_000_000 <= shape.parameters <= 20_000_000
    assert shape.parameters == sum(p.numel() for p in Decoder(shape, 0).parameters())


def command(data: Path, work: Path, *more: str) -> list[str]:
    where = ["--size", "miniature", "--data", str(data), "--work", str(work)]
    return [sys.executable, "-m", "training", *where, *more]


def children(parent: int) -> list[int]:
    """Processes that `parent` started and that still run."""
    tasks = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(pid) for pid in tasks.read_text("utf-8").split()]


@pytest.mark.timeout(240)
def test_one_command_goes_from_data_to_a_model_that_answers_also_after_a_kill(
    small_data: Path, tmp_path: Path
) -> None:
    root = Path(__file__).parents[2]
    work, out = tmp_path / "work", tmp_path / "model"
    saved = work / "run/checkpoint.pt"
    call = command(small_data, work, "--out", str(out))
    first = subprocess.Popen(call, cwd=root, stdout=subprocess.DEVNULL)
    while not saved.exists():
        assert first.poll() is None, "it ended before its first checkpoint"
        time.sleep(0.02)
    workers = children(first.pid)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert len(workers) >= SIZES["miniature"].plan.workers
    step = torch.load(saved, weights_only=True)["progress"]["step"]
    done = subprocess.run(call, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    final = json.loads((work / "progress.json").read_text("utf-8"))
    assert 0 < step < final["step"] == SIZES["miniature"].plan.steps
    assert "SNIPS" in (out / "MODEL_CARD.md").read_text("utf-8")
    assert len(json.loads((work / "scores.json").read_text("utf-8"))) == 7
    Tokenizer.load(out / "tokenizer.json")
    assert len(score.answers(out, [score.Job((Turn("user", "hi"),), 4)])) == 1
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]


def test_figures_are_what_their_names_say() -> None:
    right = ["spam", "ham", "spam", "ham"]
    assert score.accuracy(["spam", " ham\n", "ham", "Ham"], right) == 50.0
    assert score.f1(["spam", "spam", "x", "ham"], right, "spam") == pytest.approx(50.0)
    assert score.same_values('{"a":1.50,"b":"x"}', '{"b":"x","a":1.5}')
    assert not score.same_values('{"a":1}', '{"a":"1"}')
    assert not score.same_values('{"a":', '{"a":1}')


def test_an_unknown_step_is_refused_by_name(small_data: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    call = command(small_data, tmp_path, "trian")
    done = subprocess.run(call, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'trian' is none of tokenizer, data, train" in done.stderr
