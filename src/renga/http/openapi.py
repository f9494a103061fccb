"""`GET /openapi.json`: the server described in OpenAPI 3.1, made from its types.

Owns the document. Which endpoints there are stands in `renga.http.operations`. Asks for no key: it
says what every copy of this program says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Literal, NotRequired

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import TypedDict

from renga.errors import RengaError
from renga.http.described import Json, Operation
from renga.http.messages import JSON
from renga.http.multipart import FORM
from renga.http.openai.errors import status_of
from renga.http.openai.shapes import OpenAIError
from renga.http.operations import OPERATIONS
from renga.http.sse import HEADERS

PATH = "/openapi.json"
REF = "#/components/schemas/{model}"
BYTES: Json = {"type": "string", "format": "binary"}
STREAM = HEADERS["content-type"].partition(";")[0]

Mode = Literal["validation", "serialization"]


class ErrorDetails(TypedDict):
    """The finer code of an error that has one."""

    error_code: str


class Failure(TypedDict):
    """What went wrong: a sentence that begins with the field's path, where there is one."""

    type: str
    message: str
    details: NotRequired[ErrorDetails]


class ErrorEnvelope(TypedDict):
    """An error as the API has it."""

    type: Literal["error"]
    error: Failure
    request_id: str


class Description:
    """The endpoint over the document, which is made when it is first asked for."""

    def __init__(self) -> None:
        self._body: bytes | None = None

    def routes(self) -> list[Route]:
        """What it answers."""
        return [Route(PATH, self.describe, methods=["GET"])]

    async def describe(self, request: Request) -> Response:
        """The document."""
        if self._body is None:
            self._body = TypeAdapter(Any).dump_json(document())
        return Response(self._body, media_type=JSON)


def document() -> Json:
    """The server as an OpenAPI document."""
    schemas, components = _schemas(OPERATIONS)
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "renga",
            "version": version("renga"),
            "description": "A self-hosted Claude API, with OpenAI's chat beside it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


# --- operations -----------------------------------------------------------------------------------

Schemas = dict[tuple[Any, Mode], Json]


def _described(operation: Operation, schemas: Schemas) -> Json:
    found: Json = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.about,
        "responses": _responses(operation, schemas),
        "security": [{"key": []}, {"bearer": []}] if operation.keyed else [],
    }
    if operation.parameters:
        found["parameters"] = list(operation.parameters)
    if operation.body is not None:
        schema = schemas[operation.body, "validation"]
        found["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    if operation.form is not None:
        found["requestBody"] = {"required": True, "content": {FORM: {"schema": operation.form}}}
    return found


def _responses(operation: Operation, schemas: Schemas) -> Json:
    if operation.answer is None:
        return {
            "200": {"description": "the bytes", "content": {"*/*": {"schema": BYTES}}},
            **_failures(operation, schemas),
        }
    answer = schemas[operation.answer, "serialization"]
    if operation.other is not None:
        answer = {"anyOf": [answer, schemas[operation.other, "serialization"]]}
    content: Json = {JSON: {"schema": answer}}
    if operation.stream is not None:
        content[STREAM] = {
            "schema": _frame(schemas[operation.stream, "serialization"], operation.last)
        }
    found: Json = {"200": {"description": "the answer", "content": content}}
    for status, about in operation.statuses.items():
        found[str(status)] = {"description": about, "content": {JSON: {"schema": answer}}}
    return found | _failures(operation, schemas)


def _failures(operation: Operation, schemas: Schemas) -> Json:
    """What can come instead of an answer."""
    found: Json = {}
    failure = schemas[operation.failure or ErrorEnvelope, "serialization"]
    if operation.tag == "Models":  # which OpenAI's clients ask too
        failure = {"anyOf": [failure, schemas[OpenAIError, "serialization"]]}
    for status in sorted({_status(cls, operation) for cls in operation.raises}):
        about = _phrase(status)
        found[str(status)] = {"description": about, "content": {JSON: {"schema": failure}}}
    return found


def _frame(data: Json, last: str | None) -> Json:
    """One server-sent event whose data is JSON, as readers of such streams describe them."""
    told: Json = {"type": "string", "contentMediaType": JSON, "contentSchema": data}
    if last is not None:
        told = {"anyOf": [told, {"const": last}]}
    return {
        "type": "object",
        "properties": {"event": {"type": "string"}, "data": told},
        "required": ["data"],
    }


def _status(cls: type[RengaError], operation: Operation) -> int:
    return status_of(cls) if operation.failure is OpenAIError else cls.status


def _phrase(status: int) -> str:
    """What the status means; 529 is the API's own."""
    return "overloaded" if status == 529 else HTTPStatus(status).phrase.lower()


# --- schemas --------------------------------------------------------------------------------------


def _schemas(operations: Iterable[Operation]) -> tuple[Schemas, Json]:
    """Each type's schema, and the components that they refer to."""
    wanted = dict.fromkeys(key for operation in operations for key in _types(operation))
    adapters = [(number, mode, TypeAdapter(type_)) for number, (type_, mode) in enumerate(wanted)]
    found, definitions = TypeAdapter.json_schemas(adapters, ref_template=REF)
    schemas: Schemas = {}
    for (number, mode, _), key in zip(adapters, wanted, strict=True):
        schemas[key] = _plain(found[number, mode])
    components = {name: _plain(schema) for name, schema in definitions["$defs"].items()}
    for operation in operations:
        _describe_fields(schemas, components, operation)
    return schemas, components


def _types(operation: Operation) -> Iterator[tuple[Any, Mode]]:
    if operation.body is not None:
        yield operation.body, "validation"
    for type_ in (operation.answer, operation.stream, operation.other, operation.failure):
        if type_ is not None:
            yield type_, "serialization"
    yield ErrorEnvelope, "serialization"
    yield OpenAIError, "serialization"


def _describe_fields(schemas: Schemas, components: Json, operation: Operation) -> None:
    if operation.body is None:
        return
    name = schemas[operation.body, "validation"]["$ref"].rpartition("/")[2]
    properties = components[name]["properties"]
    for field, schema in properties.items():
        if field in operation.words:
            schema["description"] = operation.words[field]
    for field, why in operation.ignored.items():
        properties[field] = {"description": f"accepted without effect: {why}"}


def _plain(schema: Any, *, named: bool = False) -> Any:
    """`schema` without titles, which repeat names, and without defaults that mean absent.

    `named`: its keys are names of fields, which may be called so.
    """
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {k: v for k, v in schema.items() if named or not _is_noise(k, v)}
    return {k: _plain(v, named=k == "properties" and not named) for k, v in kept.items()}


def _is_noise(key: str, value: Any) -> bool:
    return (key == "title" and isinstance(value, str)) or (key == "default" and value is None)
