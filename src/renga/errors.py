"""The tree of errors: HTTP status and wire type stand on the class.

RengaError
├── InvalidRequest        400 invalid_request_error   the caller's fault
├── AuthenticationFailed  401 authentication_error
├── UsageLimitReached     400 invalid_request_error   dollars of a day or month are spent
├── BillingRefused        402 billing_error
├── PermissionDenied      403 permission_error
├── NotFound              404 not_found_error
├── MethodNotAllowed      405 invalid_request_error
├── RequestTimeout        408 timeout
├── Conflict              409 conflict_error
├── RequestTooLarge       413 request_too_large
├── RateLimited           429 rate_limit_error        + retry-after
├── ApiError              500 api_error               ours, or a backend's
├── BackendFailed         500 api_error               the backend broke; names it
├── Unavailable           503 api_error               draining or not ready; + retry-after
├── GatewayTimeout        504 timeout_error
└── Overloaded            529 overloaded_error        + retry-after
SetupError                what stops the program at start: one line and a hint (exit code 2)

Owns the envelope (claude-api section 12). Does not know HTTP responses or streams.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar


class RengaError(Exception):
    """Base of every error that reaches a caller.

    Args:
        message: a sentence that a person can act on; begins with the field's path if there is one.
        retry_after: seconds after which a retry may succeed, where that is known.
        code: the API's finer `error_code`, where it has one for this case.
        details: what the API says beside that code, in JSON values.
        cause: what happened, as a word for the ledger and the log, such as `refused` or
            `status_503`; it is not shown to callers.
        again: whether another try may succeed, here or elsewhere.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
        cause: str | None = None,
        again: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.code = code
        self.details = dict(details or {})
        self.cause = cause
        self.again = again

    def envelope(self, request_id: str | None) -> dict[str, Any]:
        """The body on the wire, also the data of `event: error`."""
        error: dict[str, Any] = {"type": self.type, "message": self.message}
        if self.code is not None:
            error["details"] = {"error_code": self.code, **self.details}
        return {"type": "error", "error": error, "request_id": request_id}

    def headers(self) -> dict[str, str]:
        """Whether to send it again, and when, as the official SDKs read it.

        `retry-after` is in whole seconds, rounded up so that nobody comes too early. Without a word
        clients send most errors of ours again; where that is of no use they are told so.
        """
        if self.retry_after is not None:
            seconds = max(1, math.ceil(self.retry_after))
            return {"retry-after": str(seconds), "x-should-retry": "true"}
        pointless = self.status >= 500 and self.cause is not None and not self.again
        return {"x-should-retry": "false"} if pointless else {}


class InvalidRequest(RengaError):
    """The request itself is wrong."""

    status, type = 400, "invalid_request_error"


class UsageLimitReached(InvalidRequest):
    """The caller has spent what it may spend in a day or a month."""


class AuthenticationFailed(RengaError):
    """No key, or one that is not valid."""

    status, type = 401, "authentication_error"


class BillingRefused(RengaError):
    """The account cannot pay."""

    status, type = 402, "billing_error"


class PermissionDenied(RengaError):
    """The key is valid but may not do this."""

    status, type = 403, "permission_error"


class NotFound(RengaError):
    """No such path, model or object."""

    status, type = 404, "not_found_error"


class MethodNotAllowed(RengaError):
    """The path exists, the method does not."""

    status, type = 405, "invalid_request_error"


class RequestTimeout(RengaError):
    """The caller took too long to send."""

    status, type = 408, "timeout"


class Conflict(RengaError):
    """The object is in a state that does not allow this."""

    status, type = 409, "conflict_error"


class RequestTooLarge(RengaError):
    """The body is over the limit."""

    status, type = 413, "request_too_large"


class RateLimited(RengaError):
    """The caller is over a limit."""

    status, type = 429, "rate_limit_error"


class ApiError(RengaError):
    """Our fault."""


class BackendFailed(ApiError):
    """A backend broke before or during its answer."""


class Unavailable(RengaError):
    """The server is starting or draining."""

    status, type = 503, "api_error"


class GatewayTimeout(RengaError):
    """A backend did not answer in time."""

    status, type = 504, "timeout_error"


class Overloaded(RengaError):
    """The queue is full."""

    status, type = 529, "overloaded_error"


class SetupError(Exception):
    """What stops the program before it serves: a message and a hint, two lines at most."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def find_error(type_: str, message: str) -> RengaError:
    """The error whose wire type is `type_`: how an error event of another server comes in."""
    for cls in (
        InvalidRequest, AuthenticationFailed, BillingRefused, PermissionDenied, NotFound,
        Conflict, RequestTooLarge, RateLimited, GatewayTimeout, Overloaded,
    ):  # fmt: skip
        if cls.type == type_:
            return cls(message)
    return ApiError(message)
