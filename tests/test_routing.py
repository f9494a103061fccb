"""Model names, tiers that stand in for others, and what /v1/models says."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, get_args

import pytest
from anthropic.types import Model
from anthropic.types import ModelInfo as SdkModelInfo
from anthropic.types.beta import BetaModelInfo
from hypothesis import given
from hypothesis import strategies as st

from renga.backends.base import Backend, Capabilities, Health, State
from renga.backends.scripted import ScriptedBackend
from renga.config import BackendConfig
from renga.errors import InvalidRequest, NotFound, Unavailable
from renga.loading import Loadable
from renga.routing import CANONICAL, TIERS, Router, Tier, serving_tier, tier_of
from renga.types import MessagesRequest

NAMES = {
    "haiku": "haiku",
    "sonnet": "sonnet",
    "opus": "opus",
    "renga-haiku-1": "haiku",
    "renga-opus-1": "opus",
    "claude-haiku-4-5": "haiku",
    "claude-haiku-4.5": "haiku",
    "claude-haiku-4-5-20251001": "haiku",
    "claude-haiku-5-5": "haiku",
    "claude-3-5-haiku-latest": "haiku",
    "claude-3-haiku-20240307": "haiku",
    "claude-3.5-sonnet": "sonnet",
    "claude-3-7-sonnet-latest": "sonnet",
    "claude-sonnet-4-0": "sonnet",
    "claude-sonnet-5": "sonnet",
    "claude-sonnet-4-5[1m]": "sonnet",
    "anthropic/claude-sonnet-4.6": "sonnet",
    "anthropic.claude-3-5-sonnet-20241022-v2:0": "sonnet",
    "claude-opus-4-1@20250805": "opus",
    "claude-opus-4-8": "opus",
    "claude-3-opus-latest": "opus",
    "claude-fable-5-2": "opus",
    "claude-mythos-5": "opus",
    "Claude-Opus-5": "opus",
}


@pytest.mark.parametrize(("name", "tier"), NAMES.items())
def test_every_name_of_a_family_resolves_to_its_tier(name: str, tier: str) -> None:
    assert tier_of(name) == tier


def test_every_name_that_the_official_sdk_knows_resolves() -> None:
    known = get_args(get_args(Model)[0])
    assert len(known) > 20
    assert {tier_of(name) for name in known} == set(TIERS)


@pytest.mark.parametrize(
    "name",
    ["gpt-4o", "claude", "claude-2.1", "claude-instant-1.2", "haiku-x", "claude-haikus-4", ""],
)
def test_an_unknown_name_is_not_found_and_told_what_would_be(name: str) -> None:
    with pytest.raises(NotFound, match="accepted: haiku, sonnet, opus"):
        tier_of(name)


def test_an_alias_adds_a_name() -> None:
    assert tier_of("gpt-4o-mini", {"gpt-4o-mini": "haiku"}) == "haiku"
    assert tier_of("big", {"big": "claude-opus-5"}) == "opus"


@pytest.mark.parametrize(
    ("asked", "configured", "served"),
    [
        ("haiku", ["haiku"], "haiku"),
        ("opus", ["haiku"], "haiku"),
        ("haiku", ["sonnet", "opus"], "sonnet"),
        ("haiku", ["opus"], "opus"),
        ("sonnet", ["haiku", "opus"], "opus"),
        ("opus", ["haiku", "sonnet"], "sonnet"),
    ],
)
def test_a_tier_that_is_missing_is_served_by_the_next_larger_else_the_largest(
    asked: Tier, configured: list[Tier], served: str
) -> None:
    assert serving_tier(asked, configured) == served


@given(st.sampled_from(TIERS), st.sets(st.sampled_from(TIERS), min_size=1))
def test_a_configured_tier_always_serves_itself(asked: Tier, configured: set[Tier]) -> None:
    served = serving_tier(asked, sorted(configured))
    assert served in configured
    assert served == asked or asked not in configured


def scripted(name: str) -> Backend:
    return ScriptedBackend(BackendConfig(name=name, kind="scripted"))


def ask(model: str = "haiku", **more: object) -> MessagesRequest:
    body = {
        "model": model,
        "max_tokens": 5_000,
        "messages": [{"role": "user", "content": "hi"}],
        **more,
    }
    return MessagesRequest.model_validate(body)


def test_a_route_names_both_tiers_and_the_canonical_model() -> None:
    route = Router({"haiku": [scripted("a"), scripted("b")]}).route(ask("claude-opus-5"))
    assert (route.tier, route.served_tier, route.model) == ("opus", "haiku", CANONICAL["opus"])
    assert [b.name for b in route.candidates] == ["a", "b"]


class Held(ScriptedBackend):
    """A backend with a health and an ability of the test's choosing."""

    def __init__(
        self, name: str, *, state: State = "ready", most: int = 128_000, tools: bool = True
    ) -> None:
        super().__init__(BackendConfig(name=name, kind="scripted"))
        self._state, self._most, self._tools = state, most, tools

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, max_output=self._most, tools=self._tools)

    def health(self) -> Health:
        return Health(self._state, "as told")


def routed(router: Router, **more: Any) -> list[tuple[str, str]]:
    route = router.route(ask(**more))
    return [
        (backend.name, tier) for backend, tier in zip(route.candidates, route.tiers, strict=True)
    ]


def test_a_fallbacks_backends_stand_behind_and_answer_for_their_own_tier() -> None:
    first, other = scripted("a"), scripted("b")
    router = Router(
        {"haiku": [first], "sonnet": [other], "opus": [scripted("c"), first]},
        fallbacks={"haiku": "sonnet", "sonnet": "opus"},
    )
    assert routed(router) == [("a", "haiku"), ("b", "sonnet"), ("c", "opus")]
    assert routed(router, model="sonnet") == [("b", "sonnet"), ("c", "opus"), ("a", "opus")]
    assert routed(router, model="opus") == [("c", "opus"), ("a", "opus")]
    assert router.route(ask()).served_tier == "haiku"


def test_who_is_ready_stands_before_who_may_come_back_also_a_fallback() -> None:
    router = Router(
        {"haiku": [Held("a", state="restarting"), Held("b")], "opus": [Held("c")]},
        fallbacks={"haiku": "opus"},
    )
    assert [name for name, _ in routed(router)] == ["b", "c", "a"]


def test_what_a_tier_cannot_honour_its_fallback_may() -> None:
    blind = Held("a", tools=False)
    tools = [{"name": "t", "description": "d", "input_schema": {"type": "object"}}]
    assert [
        name
        for name, _ in routed(
            Router({"haiku": [blind], "opus": [Held("b")]}, fallbacks={"haiku": "opus"}),
            tools=tools,
        )
    ] == ["b"]
    with pytest.raises(InvalidRequest, match="tools: backend 'a' cannot honour this"):
        Router({"haiku": [blind], "opus": [Held("b")]}).route(ask(tools=tools))


def test_a_tier_of_which_nothing_is_loaded_is_answered_for_by_its_fallback() -> None:
    tiers = {"haiku": [Held("a", state="failed")], "opus": [Held("b")]}
    assert routed(Router(tiers, fallbacks={"haiku": "opus"})) == [("b", "opus")]  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="nothing that serves haiku is loaded"):
        Router(tiers).route(ask())  # type: ignore[arg-type]


def test_who_would_cut_the_longest_answer_stands_behind_others_of_its_tier_alone() -> None:
    router = Router(
        {"haiku": [Held("a", most=4_000), Held("b")], "opus": [Held("c")]},
        fallbacks={"haiku": "opus"},
    )
    assert [name for name, _ in routed(router)] == ["b", "a", "c"]
    assert [name for name, _ in routed(router, max_tokens=3_000)] == ["a", "b", "c"]


def test_a_field_that_no_backend_honours_is_refused_with_its_path_and_the_backend() -> None:
    schema = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    with pytest.raises(InvalidRequest, match=r"output_config\.format.*'a'"):
        Router({"haiku": [scripted("a")]}).route(ask(output_config=schema))


def test_each_model_is_what_the_official_types_expect_and_says_who_serves_it() -> None:
    models = Router({"haiku": [scripted("a")]}).models()
    assert [m.line for m in models] == ["opus", "sonnet", "haiku"]
    for model in models:
        parsed = SdkModelInfo.model_validate(model.model_dump(), strict=False)
        assert parsed.capabilities is not None
        assert model.renga == {
            "tier": model.line,
            "served_by": "haiku",
            "backends": ["a"],
            "states": {"a": "ready"},
            "prompt_caching": False,
        }


class Able(ScriptedBackend):
    """A backend that says it can do what a test wants."""

    def __init__(self, **can: Any) -> None:
        super().__init__(BackendConfig(name="a", kind="scripted"))
        self.can = Capabilities(window=100, max_output=10, **can)

    @property
    def capabilities(self) -> Capabilities:
        return self.can


THINKS: dict[str, Any] = {
    "thinking": frozenset({"adaptive", "enabled", "disabled"}),
    "efforts": frozenset({"low", "high", "max"}),
}


def test_the_official_clients_read_from_a_model_what_its_backend_can_do() -> None:
    def parsed(**can: Any) -> Any:
        found = Router({"haiku": [Able(**can)]}).model("haiku").model_dump()
        assert BetaModelInfo.model_validate(found, strict=False).capabilities
        return SdkModelInfo.model_validate(found, strict=False).capabilities

    def supported(parts: Any) -> set[str]:
        leaves = parts.model_dump(exclude={"supported"})
        return {name for name, part in leaves.items() if part and part["supported"]}

    plain, able = parsed(), parsed(structured_output=True, **THINKS)
    assert not plain.structured_outputs.supported
    assert not plain.effort.supported
    assert not plain.thinking.supported
    assert supported(plain.thinking.types) == {"disabled"}
    assert able.structured_outputs.supported
    assert able.thinking.supported
    assert supported(able.thinking.types) == THINKS["thinking"]
    assert supported(able.effort) == THINKS["efforts"]
    edits = {"clear_thinking_20251015", "clear_tool_uses_20250919", "compact_20260112"}
    assert supported(plain.context_management) == edits


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"type": "adaptive"}, "adaptive thinking is not supported on this model"),
        (
            {"type": "enabled", "budget_tokens": 1_024},
            '"thinking.type.enabled" is not supported for this model',
        ),
    ],
)
def test_thinking_is_refused_in_the_apis_words_where_the_model_has_none(
    asked: dict[str, Any], words: str
) -> None:
    router = Router({"haiku": [Able()]})
    with pytest.raises(InvalidRequest, match=f"^thinking.type: {words}"):
        router.route(ask(thinking=asked))
    assert router.route(ask(thinking={"type": "disabled"})).tier == "haiku"
    assert Router({"haiku": [Able(**THINKS)]}).route(ask(thinking=asked)).tier == "haiku"


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"output_config": {"effort": "low"}}, "output_config.effort"),
        ({"tools": [{"name": "f", "input_schema": {"type": "object"}}]}, "tools"),
        (
            {
                "messages": [
                    {"role": "user", "content": "hi"},
                    {"role": "system", "content": "x", "output_config": {"effort": "low"}},
                ]
            },
            "messages.1.output_config.effort",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "hi"},
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}],
                    },
                ]
            },
            "messages.1.content.0",
        ),
    ],
)
def test_what_a_backend_lacks_is_refused_at_its_place(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{re.escape(path)}: backend 'a' cannot honour"):
        Router({"haiku": [Able()]}).route(ask(**fields))
    able = Able(tools=True, **THINKS)
    assert Router({"haiku": [able]}).route(ask(**fields)).tier == "haiku"


class Resting(ScriptedBackend):
    """A backend that is in whatever state a test wants."""

    def __init__(self, name: str, state: State) -> None:
        super().__init__(BackendConfig(name=name, kind="scripted"))
        self.state = state

    def health(self) -> Health:
        return Health(self.state, f"words of {self.name}")


@pytest.mark.parametrize(
    ("states", "order"),
    [
        ({"a": "ready", "b": "ready"}, ["a", "b"]),
        ({"a": "restarting", "b": "ready"}, ["b", "a"]),
        ({"a": "unloaded", "b": "restarting", "c": "ready"}, ["c", "b"]),
        ({"a": "restarting"}, ["a"]),
        ({"a": "failed", "b": "loading", "c": "unloading", "d": "ready"}, ["d"]),
    ],
)
def test_a_tier_is_served_by_its_first_backend_that_is_ready(
    states: dict[str, State], order: list[str]
) -> None:
    router = Router({"haiku": [Resting(name, state) for name, state in states.items()]})
    assert [b.name for b in router.route(ask()).candidates] == order


@pytest.mark.parametrize(("state", "soon"), [("failed", None), ("unloaded", None), ("loading", 5)])
def test_where_nothing_is_loaded_the_refusal_says_why_and_when(
    state: State, soon: float | None
) -> None:
    router = Router({"opus": [Resting("a", state), Resting("b", "failed")]})
    with pytest.raises(Unavailable, match=r"serves opus .*'a': words of a; .*'b': words") as caught:
        router.route(ask("haiku"))
    assert caught.value.retry_after == soon


def test_a_model_that_was_never_loaded_has_no_window_to_tell() -> None:
    never = Loadable(scripted("a"), drain_seconds=0)
    model = Router({"haiku": [never]}).model("haiku")
    assert model.max_input_tokens is None
    assert model.renga["states"] == {"a": "unloaded"}
    assert SdkModelInfo.model_validate(model.model_dump(), strict=False).max_input_tokens is None
