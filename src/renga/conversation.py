"""How the parts of a request go together: turns, calls and results, tools, thinking.

Owns the rules over a whole prompt that no single field can say, in the API's words where they are
published; each names the place first. It changes nothing, and knows no model: what a backend can
do, where cache marks may stand and whether a signature is ours is asked elsewhere.

Source: "Tool use", "Extended thinking", "Structured outputs", "Tool search" and "Mid-conversation
system messages" of the API's documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from renga import schemas
from renga.errors import InvalidRequest
from renga.sources import sources_of
from renga.toolkit import ToolSpec, references, specs_of
from renga.types import (
    AnyBlockParam,
    AnyChoice,
    ClearThinking,
    CompactionParam,
    DocumentParam,
    Effort,
    ImageParam,
    MessagesRequest,
    NamedChoice,
    Prompt,
    RedactedThinkingParam,
    SearchResultParam,
    ServerToolUseParam,
    TextParam,
    ThinkingEnabled,
    ThinkingParam,
    ToolResultParam,
    ToolSearchResultParam,
    ToolUseParam,
)

MOST_STRICT: Final = 20  # tools of a request
MOST_OPTIONAL: Final = 24  # properties of a request that a strict schema does not require
MOST_UNIONS: Final = 16  # of a request: properties with anyOf or with several types
MOST_NAMED: Final = 20  # ids that one sentence names

LEAST_TOP_P: Final = 0.95  # with thinking

# Blocks that only one role may hold; the others may stand with both.
ONLY_WITH: Final[dict[type, str]] = {
    ToolUseParam: "assistant",
    ThinkingParam: "assistant",
    RedactedThinkingParam: "assistant",
    ServerToolUseParam: "assistant",
    ToolSearchResultParam: "assistant",
    ToolResultParam: "user",
    ImageParam: "user",
    DocumentParam: "user",
    SearchResultParam: "user",
}
SERVED = (ServerToolUseParam, ToolSearchResultParam, CompactionParam)


@dataclass(frozen=True, slots=True)
class Turn:
    """Messages of one role in a row, the first at index `at`: their blocks, each with its path."""

    role: str
    at: int
    blocks: Sequence[tuple[str, AnyBlockParam]]


def check(prompt: Prompt) -> None:
    """Raise InvalidRequest, naming the place, where the parts of `prompt` do not go together."""
    if any(type(b) is not TextParam for m in prompt.messages for b in m.content):
        _check_blocks(prompt)
        _check_calls(merged(prompt))
        _check_citations(prompt)
    _check_system(prompt)
    specs = specs_of(prompt)
    _check_choice(prompt, specs)
    _check_tools(specs)
    _check_strict(specs)
    _check_references(prompt, specs)
    _check_thinking(prompt)
    _check_prefill(prompt)
    _check_edits(prompt)


def merged(prompt: Prompt) -> list[Turn]:
    """The conversation by turns: the API reads messages of one role in a row as one."""
    turns: list[tuple[str, int, list[tuple[str, AnyBlockParam]]]] = []
    for i, message in enumerate(prompt.messages):
        blocks = [(f"messages.{i}.content.{j}", block) for j, block in enumerate(message.content)]
        if turns and turns[-1][0] == message.role:
            turns[-1][2].extend(blocks)
        else:
            turns.append((message.role, i, blocks))
    return [Turn(*turn) for turn in turns]


# --- turns ----------------------------------------------------------------------------------------


def _check_blocks(prompt: Prompt) -> None:
    for i, message in enumerate(prompt.messages):
        for j, block in enumerate(message.content):
            role = ONLY_WITH.get(type(block), message.role)
            if message.role == "system" and not isinstance(block, TextParam):
                raise InvalidRequest(
                    f"messages.{i}.content.{j}: `system` messages hold `text` blocks alone, got "
                    f"`{block.type}`"
                )
            if role != message.role:
                raise InvalidRequest(
                    f"messages.{i}.content.{j}: `{block.type}` blocks can only be in `{role}` "
                    "messages"
                )


def _check_calls(turns: Sequence[Turn]) -> None:
    """Every call has one result, at the head of the next turn; every result has its call."""
    known: set[str] = set()
    for at, turn in enumerate(turns):
        called = _calls(turn, known)
        following = turns[at + 1] if at + 1 < len(turns) else None
        _check_answered(turn, called, following)
        if turn.role == "user":
            _check_asked(turn, turns[at - 1] if at else None)


def _calls(turn: Turn, known: set[str]) -> list[str]:
    """Ids of the calls of a turn, in order; `known` are those before it, and grows."""
    called: list[str] = []
    for path, block in turn.blocks:
        if isinstance(block, ToolUseParam):
            if block.id in known:
                raise InvalidRequest(f"{path}.id: `tool_use` ids must be unique, got '{block.id}'")
            known.add(block.id)
            called.append(block.id)
    return called


def _results(turn: Turn | None) -> Iterator[tuple[str, ToolResultParam]]:
    """The results at the head of a turn."""
    for path, block in turn.blocks if turn is not None and turn.role == "user" else ():
        if not isinstance(block, ToolResultParam):
            return
        yield path, block


def _check_answered(turn: Turn, called: Sequence[str], following: Turn | None) -> None:
    answered = {block.tool_use_id for _, block in _results(following)} if called else set()
    open_ = [id_ for id_ in called if id_ not in answered]
    if not open_:
        return
    told = ", ".join(open_[:MOST_NAMED])
    if len(open_) > MOST_NAMED:
        told += f" and {len(open_) - MOST_NAMED} more"
    late = ""
    for path, block in following.blocks if following is not None else ():
        if isinstance(block, ToolResultParam) and block.tool_use_id in open_:
            late = f" {path} comes too late: results come first, other blocks after them."
            break
    raise InvalidRequest(
        f"messages.{turn.at}: `tool_use` ids were found without `tool_result` blocks immediately "
        f"after: {told}. Each `tool_use` block must have a corresponding `tool_result` block in "
        f"the next message.{late}"
    )


def _check_asked(turn: Turn, before: Turn | None) -> None:
    asked = {
        block.id
        for _, block in (before.blocks if before is not None else ())
        if isinstance(block, ToolUseParam)
    }
    seen: set[str] = set()
    for path, block in turn.blocks:
        if not isinstance(block, ToolResultParam):
            continue
        if block.tool_use_id not in asked:
            raise InvalidRequest(
                f"{path}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{block.tool_use_id}. Each `tool_result` block must have a corresponding "
                "`tool_use` block in the previous message."
            )
        if block.tool_use_id in seen:
            raise InvalidRequest(
                f"{path}: each `tool_use` must have a single result. Found multiple `tool_result` "
                f"blocks with id: {block.tool_use_id}"
            )
        seen.add(block.tool_use_id)


def _check_system(prompt: Prompt) -> None:
    """Where system messages may stand within the conversation, and what only they may say."""
    messages = prompt.messages
    for i, message in enumerate(messages):
        if message.role != "system":
            extra = "clear_at" if message.clear_at else "output_config"
            if message.clear_at or message.output_config:
                raise InvalidRequest(
                    f"messages.{i}.{extra}: only permitted on `system` messages, got one with "
                    f"role '{message.role}'"
                )
            continue
        if not _says_something(message.content) and not (
            message.output_config and message.output_config.effort
        ):
            raise InvalidRequest(
                f"messages.{i}.content: `system` messages must have text or an `output_config`"
            )
        _check_place(prompt, i)


def _says_something(content: Sequence[AnyBlockParam]) -> bool:
    return any(isinstance(block, TextParam) and block.text.strip() for block in content)


def _check_place(prompt: Prompt, i: int) -> None:
    before = prompt.messages[i - 1] if i else None
    after = prompt.messages[i + 1] if i + 1 < len(prompt.messages) else None
    if before is None:
        raise InvalidRequest(
            "messages.0.role: a `system` message cannot be the first one; use the top-level "
            "`system` parameter"
        )
    searched = bool(before.content) and isinstance(before.content[-1], ToolSearchResultParam)
    if before.role == "assistant" and not searched:
        raise InvalidRequest(
            f"messages.{i}.role: a `system` message must follow a `user` message, got 'assistant' "
            "before it"
        )
    if after is not None and after.role == "user":
        raise InvalidRequest(
            f"messages.{i}.role: a `system` message must be the last one or be followed by an "
            "`assistant` message, got 'user' after it"
        )


# --- citations ------------------------------------------------------------------------------------


def _check_citations(prompt: Prompt) -> None:
    """Citations are of all documents or of none, and of all search results or of none."""
    first: dict[str, bool] = {}
    for found in sources_of(prompt):
        source = found.block
        enabled = source.citations is not None and source.citations.enabled
        if first.setdefault(source.type, enabled) != enabled:
            raise InvalidRequest(
                f"{found.path}.citations.enabled: citations must be enabled for all "
                f"`{source.type}` "
                f"blocks of a request or for none, got {str(enabled).lower()} here and "
                f"{str(not enabled).lower()} before"
            )
    if any(first.values()) and prompt.output_config and prompt.output_config.format:
        raise InvalidRequest(
            "output_config.format: cannot be combined with citations; leave one of them out"
        )
    for i, message in enumerate(prompt.messages):
        for j, block in enumerate(message.content):
            if isinstance(block, ToolResultParam):
                _check_found(block, f"messages.{i}.content.{j}")


def _check_found(result: ToolResultParam, path: str) -> None:
    kinds = [isinstance(inner, SearchResultParam) for inner in result.content]
    if any(kinds) and not all(kinds):
        k = kinds.index(False)
        raise InvalidRequest(
            f"{path}.content.{k}: a `tool_result` with `search_result` blocks holds nothing else, "
            f"got `{result.content[k].type}`"
        )


# --- tools ----------------------------------------------------------------------------------------


def _check_tools(specs: Sequence[ToolSpec]) -> None:
    seen: dict[str, str] = {}
    work = schemas.Work()
    for spec in specs:
        if spec.name in seen:
            raise InvalidRequest(
                f"{spec.path}.name: Tool names must be unique, got '{spec.name}' in "
                f"{seen[spec.name]} too"
            )
        seen[spec.name] = spec.path
        _check_schema(spec)
        _check_examples(spec, work)
        if spec.deferred and spec.control is not None:
            raise InvalidRequest(
                f"{spec.path}.cache_control: Tool '{spec.name}' cannot have both "
                "defer_loading=true and cache_control set"
            )
        if spec.deferred and spec.searches:
            raise InvalidRequest(
                f"{spec.path}.defer_loading: the tool that searches cannot itself be deferred"
            )
    if specs and all(spec.deferred for spec in specs):
        raise InvalidRequest(
            "tools: All tools have defer_loading set. At least one tool must be non-deferred."
        )


def _check_choice(prompt: Prompt, specs: Sequence[ToolSpec]) -> None:
    choice = prompt.tool_choice
    if choice is None:
        return
    if not specs:
        raise InvalidRequest(
            "tool_choice: `tool_choice` may only be specified while providing `tools`"
        )
    if isinstance(choice, NamedChoice) and choice.name not in {spec.name for spec in specs}:
        raise InvalidRequest(
            f"tool_choice.name: Tool '{choice.name}' not found in provided tools: "
            + ", ".join(spec.name for spec in specs[:MOST_NAMED])
        )
    forced = isinstance(choice, NamedChoice | AnyChoice)
    if forced and isinstance(prompt.thinking, ThinkingEnabled):
        raise InvalidRequest(
            f"tool_choice.type: Thinking may not be enabled when tool_choice forces tool use, got "
            f"'{choice.type}'; accepted: auto, none, or `thinking` of type adaptive"
        )


def _check_schema(spec: ToolSpec) -> None:
    path = f"{spec.path}.input_schema"
    if "type" not in spec.schema:
        raise InvalidRequest(f"{path}.type: Field required; accepted: 'object'")
    if spec.schema["type"] != "object":
        raise InvalidRequest(
            f"{path}.type: Input should be 'object', got {_short(spec.schema['type'])}"
        )
    found = schemas.flaw(spec.schema)
    if found is not None:
        where = ".".join((path, *found.steps))
        raise InvalidRequest(
            f"{where}: JSON schema is invalid. It must match JSON Schema draft 2020-12: "
            f"{found.told}"
        )


def _check_examples(spec: ToolSpec, work: schemas.Work) -> None:
    for i, example in enumerate(spec.examples):
        path = f"{spec.path}.input_examples.{i}"
        try:
            found = schemas.mismatch(example, spec.schema, work)
        except schemas.TooMuchWork:
            raise InvalidRequest(
                f"{path}: examples and schemas are too large to be held against each other"
            ) from None
        if found is not None:
            where = ".".join((path, *found.steps))
            raise InvalidRequest(f"{where}: does not match the `input_schema`: it {found.told}")


def _check_references(prompt: Prompt, specs: Sequence[ToolSpec]) -> None:
    """Every tool that a result brings into view is one of the request's."""
    names = {spec.name for spec in specs}
    for path, reference in references(prompt):
        if reference.tool_name not in names:
            raise InvalidRequest(
                f"{path}.tool_name: Tool reference '{reference.tool_name}' has no corresponding "
                "tool definition",
                code="tool_reference_unresolved",
            )


def _check_strict(specs: Sequence[ToolSpec]) -> None:
    """The API's bounds on what the strict tools of one request may ask for."""
    strict = [spec for spec in specs if spec.strict]
    if len(strict) > MOST_STRICT:
        raise InvalidRequest(
            f"{strict[MOST_STRICT].path}.strict: at most {MOST_STRICT} tools of a request may be "
            f"strict, got {len(strict)}"
        )
    optional = unions = 0
    for spec in strict:
        for part in schemas.parts_of(spec.schema):
            optional += _optional(part)
            unions += isinstance(part.get("anyOf"), list) or isinstance(part.get("type"), list)
        for count, most, what in (
            (optional, MOST_OPTIONAL, "optional parameters"),
            (unions, MOST_UNIONS, "parameters with union types"),
        ):
            if count > most:
                raise InvalidRequest(
                    f"{spec.path}.input_schema: the strict tools of a request have at most {most} "
                    f"{what} in all, got {count} up to here"
                )


def _optional(part: Any) -> int:
    properties, required = part.get("properties"), part.get("required")
    if not isinstance(properties, dict):
        return 0
    needed = set(filter(_is_text, required)) if isinstance(required, list) else set()
    return sum(1 for name in properties if name not in needed)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _short(value: Any) -> str:
    return f"{value!r}"[:60]


# --- thinking, the beginning of the answer, edits -------------------------------------------------


def _check_thinking(prompt: Prompt) -> None:
    thinking = prompt.thinking
    if not isinstance(thinking, ThinkingEnabled) or not isinstance(prompt, MessagesRequest):
        return
    if thinking.budget_tokens >= prompt.max_tokens:
        raise InvalidRequest(
            "thinking.budget_tokens: `max_tokens` must be greater than `thinking.budget_tokens`, "
            f"got {prompt.max_tokens} and {thinking.budget_tokens}"
        )
    if prompt.temperature is not None and prompt.temperature != 1:
        raise InvalidRequest(
            "temperature: `temperature` may only be set to 1 when thinking is enabled, got "
            f"{prompt.temperature}"
        )
    if prompt.top_k is not None:
        raise InvalidRequest(
            f"top_k: `top_k` must be unset when thinking is enabled, got {prompt.top_k}"
        )
    if prompt.top_p is not None and prompt.top_p < LEAST_TOP_P:
        raise InvalidRequest(
            f"top_p: `top_p` must be greater than or equal to {LEAST_TOP_P} or unset when thinking "
            f"is enabled, got {prompt.top_p}"
        )


def is_prefilled(prompt: Prompt) -> bool:
    """Whether the answer is to go on from text that the caller put into its mouth.

    A last turn that ends with what the server did is no such text: it is a turn to be resumed.
    """
    for message in reversed(prompt.messages):
        if message.role != "assistant":
            return False
        for block in reversed(message.content):
            if isinstance(block, SERVED):
                return False
            if isinstance(block, TextParam) and block.text.strip():
                return True
    return False


def _check_prefill(prompt: Prompt) -> None:
    if prompt.messages[-1].role != "assistant" or not is_prefilled(prompt):
        return
    where = f"messages.{len(prompt.messages) - 1}.role"
    told = "an `assistant` message in the final position would pre-fill the response, which is not "
    if isinstance(prompt.thinking, ThinkingEnabled):
        raise InvalidRequest(f"{where}: {told}supported when `thinking` is enabled")
    if isinstance(prompt.tool_choice, AnyChoice | NamedChoice):
        raise InvalidRequest(f"{where}: {told}supported when `tool_choice` forces tool use")
    if prompt.output_config and prompt.output_config.format:
        raise InvalidRequest(
            "output_config.format: cannot be combined with a final assistant message; "
            "leave one of them out"
        )


def _check_edits(prompt: Prompt) -> None:
    management = prompt.context_management
    if management is None:
        return
    if prompt.compaction is not None:
        raise InvalidRequest(
            "compaction: cannot be combined with `context_management`; leave one of them out"
        )
    seen: set[str] = set()
    for i, edit in enumerate(management.edits):
        path = f"context_management.edits.{i}"
        if edit.type in seen:
            raise InvalidRequest(f"{path}.type: '{edit.type}' is there already")
        if i and isinstance(edit, ClearThinking):
            raise InvalidRequest(f"{path}: `{edit.type}` must be the first of the edits")
        seen.add(edit.type)


def effort_of(prompt: Prompt) -> Effort | None:
    """The effort asked of the next answer: the last system message's that names one, else all's."""
    for message in reversed(prompt.messages):
        if message.output_config is not None and message.output_config.effort is not None:
            return message.output_config.effort
    return prompt.output_config.effort if prompt.output_config else None
