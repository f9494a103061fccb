"""Content blocks of requests: what a conversation is written in.

Owns which blocks there are, what each holds, and which blocks of the API are refused by name. What
may stand where is `renga.conversation`'s.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field
from pydantic_core import PydanticCustomError

from renga.types.citations import CitationParam
from renga.types.wire import Flag, Wire, known_types, only_null

ID = r"^[a-zA-Z0-9_-]{1,256}$"
TOOL_NAME = r"^[a-zA-Z0-9_-]{1,64}$"
"""Of a tool that is offered; calls in a conversation may carry longer names."""
CALLED_NAME = r"^[a-zA-Z0-9_-]{1,200}$"

SUPPORTED_BLOCKS = (
    "text",
    "image",
    "document",
    "search_result",
    "thinking",
    "redacted_thinking",
    "tool_use",
    "tool_result",
    "server_tool_use",
    "tool_search_tool_result",
    "compaction",
)
# Blocks of the API that stand in other blocks, or that a later edition honours.
KNOWN_BLOCKS = frozenset(
    "web_search_tool_result web_fetch_tool_result code_execution_tool_result "
    "bash_code_execution_tool_result text_editor_code_execution_tool_result container_upload "
    "mcp_tool_use mcp_tool_result mcp_tool_listing fallback tool_addition tool_removal "
    "advisor_tool_result tool_reference browser_state".split()
)
_REFUSED = {kind: f"`{kind}` blocks are not supported by this server yet" for kind in KNOWN_BLOCKS}
# System text is text: an image there is refused as a later edition's block would be.
_NOT_IN_SYSTEM = _REFUSED | {
    kind: f"`{kind}` blocks cannot be in the system text"
    for kind in ("image", "document", "search_result")
}
LONGEST_URL = 8_192  # characters


class CacheControl(Wire):
    """A prompt-cache breakpoint; without a ttl it is one of 5 minutes. `renga.caching` has more."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class TextParam(Wire):
    """A text block in a request. Citations come back with an answer's texts; nobody reads them."""

    type: Literal["text"] = "text"
    text: str
    cache_control: CacheControl | None = None
    citations: Annotated[list[CitationParam], Field(fail_fast=True)] | None = None


def _blocks_of(value: Any) -> Any:
    """A string is the short form of one text block."""
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


def _string_or_blocks(value: Any) -> Any:
    if isinstance(value, (str, list)):
        return value
    raise PydanticCustomError(
        "content_type", "Input should be a string or a list of content blocks"
    )


class Base64Image(Wire):
    """An image in the request itself. `data` is base64 of what `media_type` says it is."""

    type: Literal["base64"] = "base64"
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class UrlSource(Wire):
    """An image or a document that the server is to fetch."""

    type: Literal["url"] = "url"
    url: Annotated[str, Field(min_length=1, max_length=LONGEST_URL)]


class FileSource(Wire):
    """An image or a document that was uploaded before."""

    type: Literal["file"] = "file"
    file_id: Annotated[str, Field(min_length=1, max_length=256)]


class Base64Pdf(Wire):
    """A PDF in the request itself. `data` is base64."""

    type: Literal["base64"] = "base64"
    media_type: Literal["application/pdf"]
    data: str


class PlainText(Wire):
    """A document that is its text."""

    type: Literal["text"] = "text"
    media_type: Literal["text/plain"]
    data: str


class FiledPdf(Base64Pdf):
    """A PDF that was uploaded before, read; never on the wire."""

    file_id: str


class FiledText(PlainText):
    """A text that was uploaded before, read; never on the wire."""

    file_id: str


class ImageTransformations(Wire):
    """What becomes of an image that is larger than a model takes; `downsize` where it is silent."""

    oversized_image: Literal["downsize", "error"] | None = None


class ImageParam(Wire):
    """An image."""

    type: Literal["image"] = "image"
    source: Annotated[
        Annotated[Base64Image | UrlSource | FileSource, Discriminator("type")],
        known_types("source", ("base64", "url", "file"), {}),
    ]
    cache_control: CacheControl | None = None
    transformations: ImageTransformations | None = None


class ContentSource(Wire):
    """A document of texts and images: each of its texts can be cited as a whole."""

    type: Literal["content"] = "content"
    content: Annotated[
        list[
            Annotated[
                Annotated[TextParam | ImageParam, Discriminator("type")],
                known_types("block", ("text", "image"), _REFUSED),
            ]
        ],
        Field(fail_fast=True),
        BeforeValidator(_blocks_of),
        BeforeValidator(
            _string_or_blocks, json_schema_input_type=str | list[TextParam | ImageParam]
        ),
    ]


class CitationsConfig(Wire):
    """Whether the answer is to say where in a document its sentences come from."""

    enabled: Flag = False


class DocumentParam(Wire):
    """A document. `title` and `context` are read with it and cannot be cited."""

    type: Literal["document"] = "document"
    source: Annotated[
        Annotated[
            Base64Pdf | PlainText | ContentSource | UrlSource | FileSource,
            Discriminator("type"),
        ],
        known_types("source", ("base64", "text", "content", "url", "file"), {}),
    ]
    title: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    context: Annotated[str, Field(min_length=1)] | None = None
    citations: CitationsConfig | None = None
    cache_control: CacheControl | None = None


class SearchResultParam(Wire):
    """What a search found: some texts of one source."""

    type: Literal["search_result"] = "search_result"
    source: str
    title: str
    content: Annotated[list[TextParam], Field(min_length=1, fail_fast=True)]
    citations: CitationsConfig | None = None
    cache_control: CacheControl | None = None


class ThinkingParam(Wire):
    """Thinking of an earlier answer, sent back as it was."""

    type: Literal["thinking"] = "thinking"
    thinking: str
    signature: str


class RedactedThinkingParam(Wire):
    """Thinking of an earlier answer that only its origin can read."""

    type: Literal["redacted_thinking"] = "redacted_thinking"
    data: str


class DirectCaller(Wire):
    """Who called a tool: the model itself."""

    type: Literal["direct"] = "direct"


Caller = Annotated[
    DirectCaller,
    known_types(
        "caller",
        ("direct",),
        {
            f"code_execution_{date}": "code execution is not supported by this server"
            for date in ("20250825", "20260120", "20260521")
        },
    ),
]


class ToolUseParam(Wire):
    """A call of a tool in an earlier answer. `input` is an object, as the tool's schema says."""

    type: Literal["tool_use"] = "tool_use"
    id: Annotated[str, Field(pattern=ID)]
    name: Annotated[str, Field(pattern=CALLED_NAME)]
    input: dict[str, Any]
    cache_control: CacheControl | None = None
    caller: Caller | None = None
    toolset_name: str | None = None


class ToolReferenceParam(Wire):
    """The name of a deferred tool that a result brings into view."""

    type: Literal["tool_reference"] = "tool_reference"
    tool_name: Annotated[str, Field(pattern=CALLED_NAME)]
    cache_control: CacheControl | None = None


AnyResultParam = TextParam | ImageParam | DocumentParam | SearchResultParam | ToolReferenceParam
ResultBlock = Annotated[
    Annotated[AnyResultParam, Discriminator("type")],
    known_types(
        "block", ("text", "image", "document", "search_result", "tool_reference"), _REFUSED
    ),
]


def _nothing_is_empty(value: Any) -> Any:
    return [] if value is None else value


class ToolResultParam(Wire):
    """What a tool said to the call `tool_use_id`. A result may be empty."""

    type: Literal["tool_result"] = "tool_result"
    tool_use_id: Annotated[str, Field(pattern=ID)]
    content: Annotated[
        list[ResultBlock],
        Field(fail_fast=True),
        BeforeValidator(_blocks_of),
        BeforeValidator(_string_or_blocks),
        BeforeValidator(_nothing_is_empty, json_schema_input_type=str | list[ResultBlock] | None),
    ] = Field(default_factory=list)
    is_error: Flag = False
    cache_control: CacheControl | None = None
    toolset_name: str | None = None

    @property
    def text(self) -> str:
        """The texts of the result, one after the other."""
        return "".join(block.text for block in self.content if isinstance(block, TextParam))


SearchToolName = Literal["tool_search_tool_regex", "tool_search_tool_bm25"]


class ServerToolUseParam(Wire):
    """A search for tools that the server made in an earlier answer."""

    type: Literal["server_tool_use"] = "server_tool_use"
    id: Annotated[str, Field(pattern=r"^srvtoolu_[a-zA-Z0-9_]{1,256}$")]
    name: SearchToolName
    input: dict[str, Any]
    cache_control: CacheControl | None = None
    caller: Caller | None = None


class FoundTools(Wire):
    """The deferred tools that a search found."""

    type: Literal["tool_search_tool_search_result"] = "tool_search_tool_search_result"
    tool_references: list[ToolReferenceParam]


class SearchFailed(Wire):
    """Why a search for tools found nothing out."""

    type: Literal["tool_search_tool_result_error"] = "tool_search_tool_result_error"
    error_code: Literal[
        "invalid_tool_input", "unavailable", "too_many_requests", "execution_time_exceeded"
    ]
    error_message: str | None = None


class ToolSearchResultParam(Wire):
    """What came of a search for tools in an earlier answer."""

    type: Literal["tool_search_tool_result"] = "tool_search_tool_result"
    tool_use_id: Annotated[str, Field(pattern=ID)]
    content: Annotated[FoundTools | SearchFailed, Discriminator("type")]
    cache_control: CacheControl | None = None


class CompactionParam(Wire):
    """The summary of what stood before it; null where making one failed, which changes nothing."""

    type: Literal["compaction"] = "compaction"
    content: Annotated[str, Field(min_length=1)] | None = None
    signature: str | None = None
    encrypted_content: str | None = None
    tool_changes: only_null(  # type: ignore[valid-type]
        "changes of tools are not supported by this server yet; leave them out"
    ) = None
    cache_control: CacheControl | None = None


AnyBlockParam = (
    TextParam
    | ImageParam
    | DocumentParam
    | SearchResultParam
    | ThinkingParam
    | RedactedThinkingParam
    | ToolUseParam
    | ToolResultParam
    | ServerToolUseParam
    | ToolSearchResultParam
    | CompactionParam
)
BlockParam = Annotated[
    Annotated[AnyBlockParam, Discriminator("type")],
    known_types("block", SUPPORTED_BLOCKS, _REFUSED),
]
SystemBlockParam = Annotated[TextParam, known_types("block", ("text",), _NOT_IN_SYSTEM)]

# One bad item is told, not all: a hostile body holds millions.
Blocks = Annotated[
    list[BlockParam],
    Field(fail_fast=True),
    BeforeValidator(_blocks_of),
    BeforeValidator(_string_or_blocks, json_schema_input_type=str | list[BlockParam]),
]
SystemBlocks = Annotated[
    list[SystemBlockParam],
    Field(fail_fast=True),
    BeforeValidator(_blocks_of),
    BeforeValidator(_string_or_blocks, json_schema_input_type=str | list[SystemBlockParam]),
]
