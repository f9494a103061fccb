"""The endpoints, as they are described: what each takes and what it answers.

Owns the table; `tests/http/test_openapi.py` holds it to the routes. Shapes stand in the types, the
sentences about fields in `renga.http.words`.
"""

from __future__ import annotations

from renga import errors
from renga.batches.incoming import MOST_REQUESTS
from renga.events import Event
from renga.files.library import LONGEST_LIFE, SHORTEST_LIFE
from renga.http.admin.operations import ADMIN_OPERATIONS
from renga.http.batches import (
    BatchBody,
    BatchProgress,
    DeletedBatch,
    MessageBatch,
    MessageBatchPage,
)
from renga.http.described import (
    ALWAYS,
    ASKING,
    BETAS,
    PAGES,
    TEXT,
    VERSION,
    Json,
    Operation,
    parameter,
)
from renga.http.files import (
    MOST_IDS,
    DeletedFile,
    FileMetadata,
    FilePage,
    FilePageByIds,
)
from renga.http.health import Alive, Readiness
from renga.http.loading import BackendList, BackendState
from renga.http.models import LARGEST_PAGE
from renga.http.openai.answers import DONE
from renga.http.openai.models import OpenAIModel, OpenAIModelList
from renga.http.openai.requests import IGNORED, ChatRequest
from renga.http.openai.shapes import (
    ChatCompletion,
    ChatCompletionChunk,
    InputTokens,
    OpenAIError,
)
from renga.http.openai.words import CHAT_WORDS
from renga.http.requests import RequestRow
from renga.http.words import FIELD_WORDS
from renga.types import (
    CountRequest,
    Message,
    MessagesRequest,
    ModelInfo,
    ModelPage,
    ScoreRequest,
    Scores,
    TokenCount,
)

MESSAGE_WORDS = {**FIELD_WORDS, "metadata": "accepted without effect"}

# OpenAI's clients send none, and are told apart by that.
MAYBE_VERSION = {**VERSION, "required": False}
MODEL = parameter("name", "path", "an id, or any name that resolves to one", TEXT)
BACKEND = parameter("name", "path", "a backend's name in the configuration", TEXT)
FILE = parameter("file_id", "path", "a file's id", TEXT)
FILE_PAGES = (
    parameter(
        "limit",
        "query",
        "the size of a page",
        {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": 20},
    ),
    parameter("page", "query", "`next_page` of an earlier answer", TEXT),
    parameter(
        "ids[]",
        "query",
        "these files alone; not with `page` or `limit`",
        {"type": "array", "items": TEXT, "maxItems": MOST_IDS},
    ),
    parameter("after_id", "query", "the page behind this id; under the beta alone", TEXT),
    parameter("before_id", "query", "the page before this id; under the beta alone", TEXT),
)
UPLOAD: Json = {
    "type": "object",
    "properties": {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "the file; its last path component is kept as its name",
        },
        "expires_in_seconds": {
            "type": "integer",
            "minimum": SHORTEST_LIFE,
            "maximum": LONGEST_LIFE,
            "description": "after how long its bytes become unavailable; never if absent",
        },
    },
    "required": ["file"],
    "additionalProperties": False,
}


BATCH = parameter("batch_id", "path", "a batch's id", TEXT)
BATCH_PAGES = (
    parameter(
        "limit",
        "query",
        "the size of a page",
        {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": 20},
    ),
    parameter("after_id", "query", "the page behind this id", TEXT),
    parameter("before_id", "query", "the page before this id", TEXT),
)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "create_message",
        "post",
        "/v1/messages",
        "Messages",
        "An answer to a conversation, whole or as a stream of events.",
        answer=Message,
        body=MessagesRequest,
        words=MESSAGE_WORDS,
        stream=Event,
        parameters=(VERSION, BETAS),
        raises=ASKING,
    ),
    Operation(
        "count_tokens",
        "post",
        "/v1/messages/count_tokens",
        "Messages",
        "The size of a prompt in the tokens of the model that would read it.",
        answer=TokenCount,
        body=CountRequest,
        words=MESSAGE_WORDS,
        parameters=(VERSION, BETAS),
        raises=ASKING,
    ),
    Operation(
        "list_models",
        "get",
        "/v1/models",
        "Models",
        "What is served, in pages, the newest first; all of it where one of OpenAI's clients asks.",
        answer=ModelPage,
        other=OpenAIModelList,
        parameters=(MAYBE_VERSION, BETAS, *PAGES),
        raises=(*ALWAYS, errors.InvalidRequest),
        scope="models",
    ),
    Operation(
        "get_model",
        "get",
        "/v1/models/{name}",
        "Models",
        "One model, by its id or by any name that resolves to it.",
        answer=ModelInfo,
        other=OpenAIModel,
        parameters=(MODEL, MAYBE_VERSION, BETAS),
        raises=(*ALWAYS, errors.InvalidRequest, errors.NotFound),
        scope="models",
    ),
    Operation(
        "create_batch",
        "post",
        "/v1/messages/batches",
        "Message Batches",
        "Have many requests answered when there is room, at half price.",
        answer=MessageBatch,
        body=BatchBody,
        words={
            "requests": f"1 to {MOST_REQUESTS:,} objects: a `custom_id` of its own (1 to 64 "
            "letters, digits, `_` and `-`), and `params` as of a message; what is wrong with the "
            "params is the result of that request",
        },
        parameters=(VERSION, BETAS),
        raises=(*ALWAYS, errors.InvalidRequest, errors.RequestTimeout, errors.RequestTooLarge),
        scope="batches",
    ),
    Operation(
        "list_batches",
        "get",
        "/v1/messages/batches",
        "Message Batches",
        "The batches of the key's workspace in pages, the newest first.",
        answer=MessageBatchPage,
        parameters=(VERSION, BETAS, *BATCH_PAGES),
        raises=(*ALWAYS, errors.InvalidRequest),
        scope="batches",
    ),
    Operation(
        "get_batch",
        "get",
        "/v1/messages/batches/{batch_id}",
        "Message Batches",
        "A batch; its counts but `processing` are 0 until it has ended.",
        answer=MessageBatch,
        parameters=(BATCH, VERSION, BETAS),
        raises=(*ALWAYS, errors.InvalidRequest, errors.NotFound),
        scope="batches",
    ),
    Operation(
        "delete_batch",
        "delete",
        "/v1/messages/batches/{batch_id}",
        "Message Batches",
        "Delete a batch that has ended, with its results.",
        answer=DeletedBatch,
        parameters=(BATCH, VERSION, BETAS),
        raises=(*ALWAYS, errors.InvalidRequest, errors.NotFound),
        scope="batches",
    ),
    Operation(
        "cancel_batch",
        "post",
        "/v1/messages/batches/{batch_id}/cancel",
        "Message Batches",
        "Begin to cancel a batch: what has not begun is canceled at once, what runs is ended.",
        answer=MessageBatch,
        parameters=(BATCH, VERSION, BETAS),
        raises=(*ALWAYS, errors.InvalidRequest, errors.NotFound),
        scope="batches",
    ),
    Operation(
        "get_batch_results",
        "get",
        "/v1/messages/batches/{batch_id}/results",
        "Message Batches",
        "The results of a batch that has ended: one JSON object a line, in any order.",
        answer=None,
        parameters=(BATCH, VERSION, BETAS),
        raises=(*ALWAYS, errors.InvalidRequest, errors.NotFound),
        scope="batches",
    ),
    Operation(
        "get_batch_progress",
        "get",
        "/v1/renga/batches/{batch_id}",
        "renga",
        "How far a batch is just now, and what it cost and saved so far.",
        answer=BatchProgress,
        parameters=(BATCH, VERSION, BETAS),
        raises=(*ALWAYS, errors.InvalidRequest, errors.NotFound),
        scope="batches",
    ),
    Operation(
        "upload_file",
        "post",
        "/v1/files",
        "Files",
        "Store a file, for blocks of later requests to name.",
        answer=FileMetadata,
        form=UPLOAD,
        parameters=(VERSION, BETAS),
        raises=(*ALWAYS, errors.InvalidRequest, errors.RequestTimeout, errors.RequestTooLarge),
        scope="files",
    ),
    Operation(
        "list_files",
        "get",
        "/v1/files",
        "Files",
        "The files of the key's workspace in pages, the newest first.",
        answer=FilePage,
        other=FilePageByIds,
        parameters=(VERSION, BETAS, *FILE_PAGES),
        raises=(*ALWAYS, errors.InvalidRequest),
        scope="files",
    ),
    Operation(
        "get_file",
        "get",
        "/v1/files/{file_id}",
        "Files",
        "What is known of a file.",
        answer=FileMetadata,
        parameters=(FILE, VERSION, BETAS),
        raises=(*ALWAYS, errors.InvalidRequest, errors.NotFound),
        scope="files",
    ),
    Operation(
        "delete_file",
        "delete",
        "/v1/files/{file_id}",
        "Files",
        "Delete a file for good.",
        answer=DeletedFile,
        parameters=(FILE, VERSION, BETAS),
        raises=(*ALWAYS, errors.InvalidRequest, errors.NotFound),
        scope="files",
    ),
    Operation(
        "download_file",
        "get",
        "/v1/files/{file_id}/content",
        "Files",
        "The bytes of a file, where the configuration lets uploads be downloaded.",
        answer=None,
        parameters=(FILE, VERSION, BETAS),
        raises=(*ALWAYS, errors.InvalidRequest, errors.NotFound),
        scope="files",
    ),
    Operation(
        "create_chat_completion",
        "post",
        "/v1/chat/completions",
        "OpenAI",
        "OpenAI's chat: an answer to a conversation, whole or as a stream of chunks.",
        answer=ChatCompletion,
        body=ChatRequest,
        words=CHAT_WORDS,
        ignored={name: why for name, (_, why) in IGNORED.items()},
        stream=ChatCompletionChunk,
        last=DONE,
        raises=ASKING,
        failure=OpenAIError,
    ),
    Operation(
        "count_chat_tokens",
        "post",
        "/v1/chat/completions/input_tokens",
        "OpenAI",
        "The size of a prompt of OpenAI's chat, in the form of llama.cpp's server.",
        answer=InputTokens,
        body=ChatRequest,
        words=CHAT_WORDS,
        raises=ASKING,
        failure=OpenAIError,
    ),
    Operation(
        "score",
        "post",
        "/v1/renga/score",
        "renga",
        "How likely some texts are as the beginning of the answer.",
        answer=Scores,
        body=ScoreRequest,
        words={
            **MESSAGE_WORDS,
            "continuations": "1 to 1,000 strings",
            "choice": "whether the answer is one of them and nothing else: their probabilities "
            "then add up to one, and only the tokens on which they differ are asked for",
            "output_config": "null: a score has no answer to be given a form",
        },
        parameters=(VERSION, BETAS),
        raises=ASKING,
    ),
    Operation(
        "get_request",
        "get",
        "/v1/renga/requests/{request_id}",
        "renga",
        "The ledger's row of one answer of the key's workspace, with its attempts.",
        answer=RequestRow,
        parameters=(
            parameter("request_id", "path", "the `request-id` of the answer", {"type": "string"}),
        ),
        raises=(*ALWAYS, errors.NotFound),
        scope="usage",
    ),
    Operation(
        "list_backends",
        "get",
        "/v1/renga/models",
        "renga",
        "Every backend and its state.",
        answer=BackendList,
        raises=ALWAYS,
        scope="models",
    ),
    Operation(
        "load_backend",
        "post",
        "/v1/renga/models/{name}/load",
        "renga",
        "Load a backend; answers when it is ready. Asks for a key of the workspace `default`.",
        answer=BackendState,
        parameters=(BACKEND,),
        raises=(*ALWAYS, errors.PermissionDenied, errors.NotFound),
        scope="models",
    ),
    Operation(
        "unload_backend",
        "post",
        "/v1/renga/models/{name}/unload",
        "renga",
        "Unload a backend; answers when its memory is free. Asks for a key of the workspace "
        "`default`.",
        answer=BackendState,
        parameters=(BACKEND,),
        raises=(*ALWAYS, errors.PermissionDenied, errors.NotFound),
        scope="models",
    ),
    *ADMIN_OPERATIONS,
    Operation(
        "live",
        "get",
        "/healthz",
        "Health",
        "Whether the process lives.",
        answer=Alive,
        keyed=False,
    ),
    Operation(
        "ready",
        "get",
        "/readyz",
        "Health",
        "Whether a request would be taken, and what is missing for it.",
        answer=Readiness,
        statuses={503: "not ready"},
        keyed=False,
    ),
)
