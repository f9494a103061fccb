"""What an engine will take, told before: figures that fit, or one sentence that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.config import BackendConfig
from renga.engine.memory import LEAST_WINDOW, PROCESS_BYTES, megabytes, plan_memory, token_bytes
from renga.errors import SetupError
from renga.models.find import DEFAULT_WINDOW, ModelFolder

SHAPE = {
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
TOKEN = token_bytes(SHAPE, "u8") or 0
WEIGHTS = 600_000_000


def model(longest: int = 262_144, config: dict[str, Any] | None = None) -> ModelFolder:
    return ModelFolder(
        name="big",
        path=Path("big"),
        window=min(longest, DEFAULT_WINDOW),
        longest=longest,
        vocab=1000,
        eos=(2,),
        parameters=WEIGHTS,
        precision="int8",
        weight_bytes=WEIGHTS,
        config=SHAPE if config is None else config,
    )


def backend(**fields: Any) -> BackendConfig:
    return BackendConfig("b", kv_precision="u8", **fields)


def test_a_token_of_the_prototypes_shape_takes_what_was_measured() -> None:
    assert TOKEN == 66_304  # 28 layers x 8 heads x (40/32 x 128 + 128 + 8) bytes


def test_a_window_that_was_asked_for_and_does_not_fit_is_refused_with_figures() -> None:
    with pytest.raises(SetupError) as caught:
        plan_memory(backend(window=200_000), model(), 4_000_000_000)
    said = caught.value.message
    for figure in ("600 MB", "13.3 GB", "200,000 tokens of 66,304 bytes", "4.0 GB are free"):
        assert figure in said
    assert "window" in caught.value.hint
    assert "\n" not in said + caught.value.hint


def test_a_window_that_nobody_asked_for_shrinks_to_what_is_free() -> None:
    _, plenty = plan_memory(backend(), model(), None)
    assert plenty.window == DEFAULT_WINDOW
    _, little = plan_memory(backend(), model(), WEIGHTS + PROCESS_BYTES + 1_000_000_000)
    assert little.kv is not None
    assert LEAST_WINDOW < little.window < DEFAULT_WINDOW
    assert 900_000_000 < little.kv <= 1_000_000_000


def test_weights_alone_can_be_too_large() -> None:
    for config in (SHAPE, {}):
        with pytest.raises(SetupError, match=r"does not fit into memory: its weights take 600 MB"):
            plan_memory(backend(), model(config=config), 500_000_000)


def test_blocks_that_were_asked_for_and_do_not_fit_are_refused() -> None:
    with pytest.raises(SetupError, match=r"its keys and values 9[.]0 GB .*5[.]0 GB are free"):
        plan_memory(backend(kv_cache_mb=9_000), model(), 5_000_000_000)


def test_a_window_beyond_its_blocks_is_refused_and_without_one_the_blocks_rule() -> None:
    with pytest.raises(SetupError, match=r"b.window = 30000 needs 2.0 GB .*1000 holds 15,072 tok"):
        plan_memory(backend(window=30_000, kv_cache_mb=1_000), model(), None)
    _, plan = plan_memory(backend(kv_cache_mb=1_000), model(), None)
    assert plan.window == 15_072


@pytest.mark.parametrize("size", [1, 4])
def test_memory_that_holds_less_than_two_blocks_is_refused(size: int) -> None:
    with pytest.raises(SetupError, match=rf"b.kv_cache_mb = {size}; accepted: 0, or 5 and more"):
        plan_memory(backend(kv_cache_mb=size), model(), None)
    _, plan = plan_memory(backend(kv_cache_mb=5), model(), None)
    assert plan.window == 64


def test_a_window_beyond_the_models_is_refused() -> None:
    with pytest.raises(SetupError, match=r"b.window = 300000; accepted: 0 to 262144"):
        plan_memory(backend(window=300_000), model(), None)


@given(
    st.integers(0, 40_000).map(lambda n: n * 10**6),
    st.integers(0, 262_144),
    st.integers(0, 20_000),
    st.sampled_from(["u8", "bf16", "f32", "auto"]),
)
def test_a_plan_always_fits_or_is_refused(free: int, window: int, kv: int, stored: str) -> None:
    config = BackendConfig("b", window=window, kv_cache_mb=kv, kv_precision=stored)  # type: ignore[arg-type]
    try:
        settings, plan = plan_memory(config, model(), free)
    except SetupError:
        return
    assert plan.total <= free
    assert plan.kv is not None
    assert plan.token is not None
    assert settings.kv_bytes == plan.kv
    assert settings.window == plan.window <= plan.kv // plan.token
    assert plan.window == window or not window


def test_sizes_are_told_in_the_unit_that_fits() -> None:
    assert [megabytes(n) for n in (0, 66_304_000, 13_260_800_000)] == ["0 MB", "66 MB", "13.3 GB"]
