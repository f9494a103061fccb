"""The body of a batch, read while it comes: `{"requests": [{"custom_id", "params"}, ...]}`.

Owns what makes a batch one: a list of 1 to 100,000 objects, each with a `custom_id` of its own and
`params` that are an object. What is in the params is asked when their turn comes; here it is JSON
and nothing more. No more of the body is kept than the request that is just coming. Knows no HTTP
and no database.

Source: "Create a Message Batch" of the API's documentation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import jiter

from renga.errors import InvalidRequest, RequestTooLarge
from renga.store.batching import NewItem

MOST_REQUESTS: Final = 100_000
CUSTOM_ID: Final = r"^[a-zA-Z0-9_-]{1,64}$"
PREFIXES: Final = (256, 1_024, 4_096, 16_384)
"""Characters of a prompt at whose ends its beginning is told from others: what is alike for longer
stands nearer together."""

_CUSTOM_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SPACE: Final = re.compile(rb"[ \t\n\r]*")
# A whole string, what opens or closes something, or the beginning of a string that is still coming.
_MARK: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]]|"', re.DOTALL)
_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)

LaneOf = Callable[[object], str]


class Incoming:
    """Feed it the body piece by piece; it gives the requests that are whole.

    Args:
        lane_of: which lane the value of `model` goes into; anything may come.
        most_bytes: of one request.
    """

    def __init__(self, lane_of: LaneOf, *, most_bytes: int) -> None:
        self._lane_of = lane_of
        self._most_bytes = most_bytes
        self._buffer = bytearray()
        self._at = 0
        self._read: Callable[[list[NewItem]], bool] = self._expect_object
        self._depth = 0
        self._in_string = self._listed = False
        self._ids: set[str] = set()

    @property
    def count(self) -> int:
        """How many requests have come."""
        return len(self._ids)

    def feed(self, piece: bytes) -> list[NewItem]:
        """The requests that end in `piece`. Raises InvalidRequest and RequestTooLarge."""
        self._buffer += piece
        found: list[NewItem] = []
        while self._read(found):
            pass
        self._forget()
        return found

    def end(self) -> None:
        """The body is over. Raises InvalidRequest where it is not whole, or holds no request."""
        if self._read != self._expect_nothing:
            if self._read == self._expect_object:
                raise InvalidRequest("body: it is empty; accepted: a JSON object")
            raise _not_json("it ends in the middle")
        if not self.count:
            raise InvalidRequest(
                "requests: List should have at least 1 item after validation, not 0"
            )

    # -- what may come next; each says whether something was read --

    def _expect_object(self, _: list[NewItem]) -> bool:
        if not self._skip_space():
            return False
        if self._buffer[self._at] != ord("{"):
            value = self._peek()
            raise InvalidRequest(f"body: Input should be an object, it begins with `{value}`")
        self._at += 1
        self._read = self._expect_name
        return True

    def _expect_name(self, _: list[NewItem]) -> bool:
        """A name in the outer object, or its end."""
        if not self._skip_space():
            return False
        if self._buffer[self._at] == ord("}") and not self._listed:
            raise InvalidRequest("requests: Field required")
        found = _MARK.match(self._buffer, self._at)
        if found is None or self._buffer[self._at] != ord('"'):
            raise _not_json(f"a name was expected, not `{self._peek()}`")
        if found.end() == found.start() + 1:
            self._bound(len(self._buffer) - self._at)
            return False
        name = _parsed(found.group())
        if name != "requests":
            raise InvalidRequest(f"{name[:100]}: Extra inputs are not permitted")
        if self._listed:
            raise InvalidRequest("requests: it is there twice")
        self._at = found.end()
        self._read = self._expect_colon
        return True

    def _expect_colon(self, _: list[NewItem]) -> bool:
        if not self._skip_space():
            return False
        self._take(b":", "`:`")
        self._read = self._expect_list
        return True

    def _expect_list(self, _: list[NewItem]) -> bool:
        if not self._skip_space():
            return False
        if self._buffer[self._at] != ord("["):
            raise InvalidRequest(
                f"requests: Input should be a valid list, it begins with `{self._peek()}`"
            )
        self._at += 1
        self._listed = True
        self._read = self._expect_first
        return True

    def _expect_first(self, _: list[NewItem]) -> bool:
        if not self._skip_space():
            return False
        if self._buffer[self._at] == ord("]"):
            self._at += 1
            self._read = self._expect_close
        else:
            self._read = self._expect_request
        return True

    def _expect_request(self, _: list[NewItem]) -> bool:
        if not self._skip_space():
            return False
        if self._buffer[self._at] != ord("{"):
            raise InvalidRequest(
                f"requests.{self.count}: Input should be an object, it begins with `{self._peek()}`"
            )
        self._forget()
        self._depth = 0
        self._read = self._within_request
        return True

    def _within_request(self, found: list[NewItem]) -> bool:
        """Look for the end of the request that began at the buffer's beginning."""
        buffer = self._buffer
        if self._in_string and not self._leave_string():
            return False
        for mark in _MARK.finditer(buffer, self._at):
            first = buffer[mark.start()]
            if first == ord('"'):
                if mark.end() == mark.start() + 1:
                    self._at, self._in_string = mark.end(), True
                    return self._leave_string()
            elif first in b"{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth <= 0:
                    self._at = mark.end()
                    found.append(self._item(bytes(buffer[: self._at])))
                    self._read = self._expect_next
                    return True
        self._at = len(buffer)
        self._bound(self._at)
        return False

    def _leave_string(self) -> bool:
        """Go to the end of the string that is just coming, if that is there."""
        match = _STRING.match(self._buffer, self._at)
        assert match is not None
        self._at = match.end()
        if self._at < len(self._buffer) and self._buffer[self._at] == ord('"'):
            self._at += 1
            self._in_string = False
            return True
        self._bound(self._at)
        return False

    def _expect_next(self, _: list[NewItem]) -> bool:
        if not self._skip_space():
            return False
        if self._buffer[self._at] == ord("]"):
            self._read = self._expect_close
        else:
            self._take(b",", "`,` or `]`", move=False)
            self._read = self._expect_request
        self._at += 1
        return True

    def _expect_close(self, _: list[NewItem]) -> bool:
        if not self._skip_space():
            return False
        if self._buffer[self._at] == ord(","):
            self._at += 1
            self._read = self._expect_name
            return True
        self._take(b"}", "`}`")
        self._read = self._expect_nothing
        return True

    def _expect_nothing(self, _: list[NewItem]) -> bool:
        if self._skip_space():
            raise _not_json(f"something follows its end: `{self._peek()}`")
        return False

    # -- pieces of that --

    def _skip_space(self) -> bool:
        """Go to what is no space; whether there is something."""
        match = _SPACE.match(self._buffer, self._at)
        assert match is not None
        self._at = match.end()
        return self._at < len(self._buffer)

    def _take(self, what: bytes, told: str, *, move: bool = True) -> None:
        if self._buffer[self._at] != what[0]:
            raise _not_json(f"{told} was expected, not `{self._peek()}`")
        self._at += move

    def _peek(self) -> str:
        return self._buffer[self._at : self._at + 1].decode("utf-8", "replace")

    def _forget(self) -> None:
        """Drop what was read; of a request that is coming, nothing yet."""
        if self._read != self._within_request and self._at:
            del self._buffer[: self._at]
            self._at = 0

    def _bound(self, size: int) -> None:
        if size > self._most_bytes:
            raise RequestTooLarge(
                f"requests.{self.count}: it is over the limit of {self._most_bytes / 1e6:g} MB "
                f"({self._most_bytes:,} bytes) of one request"
            )

    def _item(self, raw: bytes) -> NewItem:
        """The request that `raw` is."""
        number = self.count
        path = f"requests.{number}"
        self._bound(len(raw))
        if number >= MOST_REQUESTS:
            raise InvalidRequest(
                f"requests: List should have at most {MOST_REQUESTS} items after validation, not "
                f"{number + 1} or more"
            )
        value = _parsed(raw, path)
        for name in value:
            if name not in ("custom_id", "params"):
                raise InvalidRequest(f"{path}.{name[:100]}: Extra inputs are not permitted")
        custom_id = self._custom_id(value, path)
        if "params" not in value:
            raise InvalidRequest(f"{path}.params: Field required")
        params = value["params"]
        if not isinstance(params, dict):
            raise InvalidRequest(f"{path}.params: Input should be an object")
        self._ids.add(custom_id)
        lane = self._lane_of(params.get("model"))
        return NewItem(number, custom_id, lane, prefix_of(params), raw.decode())

    def _custom_id(self, value: dict[str, Any], path: str) -> str:
        if "custom_id" not in value:
            raise InvalidRequest(f"{path}.custom_id: Field required")
        found = value["custom_id"]
        if not isinstance(found, str):
            raise InvalidRequest(f"{path}.custom_id: Input should be a valid string")
        if not _CUSTOM_ID.fullmatch(found):
            raise InvalidRequest(
                f"{path}.custom_id: String should match pattern '{CUSTOM_ID}', got '{found[:80]}'"
            )
        if found in self._ids:
            raise InvalidRequest(
                f"{path}.custom_id: '{found}' is there twice; it must be unique within the batch"
            )
        return found


def prefix_of(params: dict[str, Any]) -> str:
    """A text that sorts prompts so that those which begin alike stand together."""
    digest = hashlib.blake2b(digest_size=4)
    found: list[str] = []
    text = "".join(_pieces(params, PREFIXES[-1]))
    at = 0
    for end in PREFIXES:
        digest.update(text[at:end].encode("utf-8", "surrogatepass"))
        found.append(digest.hexdigest())
        at = end
    return "".join(found)


def _pieces(params: dict[str, Any], most: int) -> Iterator[str]:
    """What a model reads, roughly, in the order in which it reads that: some of it."""
    left = most
    waiting: list[Any] = [params.get(name) for name in ("messages", "system", "tools", "model")]
    while waiting and left > 0:
        here = waiting.pop()
        if isinstance(here, dict):
            waiting += reversed([part for pair in here.items() for part in pair])
        elif isinstance(here, list):
            waiting += reversed(here)
        elif here is not None:
            piece = str(here)[:left]
            left -= len(piece)
            yield piece


def _parsed(raw: bytes, within: str = "body") -> Any:
    try:
        return jiter.from_json(raw, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise InvalidRequest(f"{within}: it is not valid JSON: {error}") from error


def _not_json(what: str) -> InvalidRequest:
    return InvalidRequest(f"body: it is not valid JSON: {what}")
