"""The tools of a request, each as what a model can read and a grammar can follow.

Owns: one `ToolSpec` for every tool a model may call, whatever kind of tool it was in the request;
which of them stand in the prompt from its beginning, and which only where something in the
conversation has named them. Knows no templates, no grammars and no search.

Source: "Tool search tool" of the API's documentation: deferred tools are no part of the prompt's
beginning, and a `tool_reference` is expanded where it stands, so that what is before it stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from renga.toolkit import client_tools as client
from renga.types import (
    BashTool,
    CacheControl,
    ComputerTool,
    ComputerToolset,
    CustomTool,
    FoundTools,
    MemoryTool,
    OldTextEditorTool,
    Prompt,
    TextEditorTool,
    Tool,
    ToolReferenceParam,
    ToolResultParam,
    ToolSearchResultParam,
    ToolSearchTool,
)

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that a model may call.

    Attributes:
        name: what the model calls it by.
        schema: the JSON Schema of its arguments, as the caller wrote it.
        strict: whether the caller wants its arguments to follow the schema without exception.
        deferred: not in the prompt until a `tool_reference` names it.
        control: the cache mark on it.
        path: where the caller wrote it.
        examples: arguments that the caller gave as examples.
        toolset: the set that it is a member of; the API says it on its calls.
        searches: it is a search for other tools, which the server runs.
    """

    name: str
    description: str
    schema: Schema
    strict: bool = False
    deferred: bool = False
    control: CacheControl | None = None
    path: str = ""
    examples: tuple[Schema, ...] = ()
    toolset: str | None = None
    searches: bool = False


def definition(spec: ToolSpec) -> Schema:
    """A tool as a model reads it: its name, its description if it has one, its parameters."""
    described = {"description": spec.description} if spec.description else {}
    shown = {"examples": list(spec.examples)} if spec.examples else {}
    return {"name": spec.name, **described, "parameters": {**spec.schema, **shown}}


# --- which there are ------------------------------------------------------------------------------


def each_spec(prompt: Prompt) -> Iterator[ToolSpec]:
    """All tools of `prompt`, in its order, made while they are asked for."""
    for i, tool in enumerate(prompt.tools or ()):
        yield from _specs(tool, f"tools.{i}")


def specs_of(prompt: Prompt) -> list[ToolSpec]:
    """All tools of `prompt`, in its order; a toolset is its members."""
    return list(each_spec(prompt))


def has_search(prompt: Prompt) -> bool:
    """Whether `prompt` has a search for tools that the server runs."""
    return any(isinstance(tool, ToolSearchTool) for tool in prompt.tools or ())


def listed(prompt: Prompt) -> list[ToolSpec]:
    """The tools that stand in the prompt from its beginning: those that are not deferred."""
    return [spec for spec in each_spec(prompt) if not spec.deferred]


def visible(prompt: Prompt) -> list[ToolSpec]:
    """The tools that the model may call: `listed`, then what the conversation brought into view.

    These are deferred tools that a `tool_reference` names, in the order of first reference. Their
    definitions stand in the conversation where they were named, never among those listed.
    """
    specs = specs_of(prompt)
    deferred = {spec.name: spec for spec in specs if spec.deferred}
    if not deferred:
        return specs
    named = dict.fromkeys(reference.tool_name for _, reference in references(prompt))
    at_first = [spec for spec in specs if not spec.deferred]
    return [*at_first, *(deferred[name] for name in named if name in deferred)]


def references(prompt: Prompt) -> Iterator[tuple[str, ToolReferenceParam]]:
    """The tool references of the conversation in its order, each with its path."""
    for i, message in enumerate(prompt.messages):
        for j, block in enumerate(message.content):
            path = f"messages.{i}.content.{j}.content"
            if isinstance(block, ToolResultParam):
                for k, inner in enumerate(block.content):
                    if isinstance(inner, ToolReferenceParam):
                        yield f"{path}.{k}", inner
            elif isinstance(block, ToolSearchResultParam) and isinstance(block.content, FoundTools):
                for k, inner in enumerate(block.content.tool_references):
                    yield f"{path}.tool_references.{k}", inner


# --- what they are --------------------------------------------------------------------------------


def _specs(tool: Tool, path: str) -> list[ToolSpec]:
    if isinstance(tool, ComputerToolset):
        return list(_members(tool, path))
    description, schema = _written(tool)
    examples = () if isinstance(tool, ToolSearchTool) else tuple(tool.input_examples or ())
    return [
        ToolSpec(
            name=tool.name,
            description=description,
            schema=schema,
            strict=tool.strict,
            deferred=tool.defer_loading,
            control=tool.cache_control,
            path=path,
            examples=examples,
            searches=isinstance(tool, ToolSearchTool),
        )
    ]


def _written(tool: Tool) -> tuple[str, Schema]:
    """The description and the schema of a tool that is one."""
    match tool:
        case CustomTool():
            return tool.description or "", tool.input_schema
        case BashTool():
            return client.BASH_DESCRIPTION, client.BASH_SCHEMA
        case MemoryTool():
            return client.MEMORY_DESCRIPTION, client.MEMORY_SCHEMA
        case OldTextEditorTool():
            return client.editor_description(tool.type, None), client.editor_schema(tool.type)
        case TextEditorTool():
            said = client.editor_description(tool.type, tool.max_characters)
            return said, client.editor_schema(tool.type)
        case ComputerTool():
            size = tool.display_width_px, tool.display_height_px
            zoom = tool.enable_zoom
            said = client.computer_description(tool.type, *size, zoom=zoom)
            return said, client.computer_schema(tool.type, zoom=zoom)
        case ToolSearchTool():
            return client.SEARCHES[tool.name]
        case _:
            raise TypeError(f"no tool of one name: {tool!r}")


def _members(tool: ComputerToolset, path: str) -> Iterator[ToolSpec]:
    """The members that are switched on; the mark on the set is on the last of them."""
    configs = {name: config for name, config in (tool.configs or {}).items() if config is not None}
    names = [
        name for name in client.MEMBERS if name not in configs or configs[name].enabled is not False
    ]
    for name in names:
        description, properties, required = client.MEMBERS[name]
        config = configs.get(name)  # type: ignore[call-overload]
        yield ToolSpec(
            name=name,
            description=description,
            schema=client.record(properties, required),
            deferred=bool(config and config.defer_loading),
            control=tool.cache_control if name == names[-1] else None,
            path=path,
            toolset=client.TOOLSET,
        )
