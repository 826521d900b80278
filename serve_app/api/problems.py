"""One table from failures to what a client is told: HTTP status and text."""

import math

from serve_app.errors import (
    AttemptsExhausted,
    BodiesInFlight,
    BodyNotTaken,
    BodyTooLarge,
    BodyTooSlow,
    Cancelled,
    DarkroomError,
    DeadlineExceeded,
    DecoderUnavailable,
    GenerationFailed,
    HeadTooLarge,
    HeadTooSlow,
    IdempotencyConflict,
    ImageFetchFailed,
    InvalidFields,
    InvalidKey,
    JobNotFound,
    KeylessBodyTooLarge,
    LinkRefused,
    MethodNotAllowed,
    ModelNotFound,
    ModelUnavailable,
    Overloaded,
    RateLimited,
    RecordsUnavailable,
    RouteNotFound,
    SafetyCheckFailed,
    StorageFailed,
    StoreUnavailable,
    UnreadableBody,
)

HttpAnswer = tuple[int, dict[str, object], dict[str, str]]
"""An answer's HTTP status, body and headers."""

TABLE: dict[type[DarkroomError], tuple[int, str]] = {
    UnreadableBody: (400, "Invalid API Request"),
    InvalidFields: (422, "Invalid fields"),  # the answer tells each field's own sentences instead
    InvalidKey: (401, "Invalid Api Key"),
    ModelNotFound: (404, "Model id not found"),
    RouteNotFound: (404, "Not found"),
    LinkRefused: (403, "This link is not valid or has expired"),
    MethodNotAllowed: (405, "Method not allowed"),
    BodyTooLarge: (413, "Request body too large"),
    KeylessBodyTooLarge: (413, "Request body too large to be read before its key: send the key in a header, or first"),
    BodyNotTaken: (413, "This request takes no body"),
    BodyTooSlow: (408, "The request body took too long to arrive"),
    HeadTooLarge: (431, "Request headers too large"),
    HeadTooSlow: (408, "The request took too long to arrive"),
    ImageFetchFailed: (422, "Unable to fetch image from provided URL"),
    IdempotencyConflict: (422, "The Idempotency-Key was used before with another request"),
    JobNotFound: (404, "Request not found"),
    RateLimited: (429, "Rate limit exceeded"),
    Overloaded: (503, "The server is busy, try again later"),
    BodiesInFlight: (503, "The server is reading too many requests, try again later"),
    ModelUnavailable: (503, "The model is not available right now, try again later"),
    DecoderUnavailable: (503, "The server cannot read images right now, try again later"),
    RecordsUnavailable: (503, "The server cannot keep jobs right now, try again later"),
    StoreUnavailable: (503, "The server cannot read pictures right now, try again later"),
    DeadlineExceeded: (503, "The image took too long to generate, try again later"),
    GenerationFailed: (500, "Image generation failed"),
    SafetyCheckFailed: (500, "The safety check could not run, the image was not released"),
    StorageFailed: (500, "The image could not be stored"),
    AttemptsExhausted: (500, "The image could not be generated, several attempts broke off"),
    Cancelled: (500, "The request was cancelled"),
}
UNKNOWN = (500, "Internal server error")
"""For what is no DarkroomError: the last handler of the ingress answers with this."""

RETRY_SOON_S = 5.0
"""When a client may try again where nobody knows better."""
BUSY = (Overloaded, BodiesInFlight, ModelUnavailable, DecoderUnavailable, RecordsUnavailable, StoreUnavailable)
ROUTING = (RouteNotFound, MethodNotAllowed, LinkRefused)
"""Not application errors: their status is true in every mode, and whoever polls a link needs it."""


def problem(error: DarkroomError, *, errors_as_200: bool = False) -> HttpAnswer:
    """The answer to a failure."""
    status, text = _entry(error)
    body: dict[str, object] = {"status": "error", "message": _message(error, text)}
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, InvalidKey) else {}
    seconds = _retry_after(error)
    if seconds is not None:
        body["retry_after"] = seconds
        headers["Retry-After"] = str(seconds)
    if errors_as_200 and not isinstance(error, ROUTING):
        status = 200
    return status, body, headers


def fetch_problem(error: DarkroomError, *, errors_as_200: bool = False) -> HttpAnswer:
    """The answer to a fetch that failed: an unknown job has a body of its own there."""
    status, body, headers = problem(error, errors_as_200=errors_as_200)
    if isinstance(error, JobNotFound):
        body = {"status": "failed", "id": "", "message": text_of(error), "output": ""}
    return status, body, headers


def text_of(error: DarkroomError) -> str:
    """What a client may read of a failure, in one text: what a failed job's record keeps."""
    return _entry(error)[1]


def _entry(error: DarkroomError) -> tuple[int, str]:
    """By the nearest mapped ancestor: Ray hands failures over as subclasses that it makes on the way."""
    return next((TABLE[cls] for cls in type(error).__mro__ if cls in TABLE), UNKNOWN)


def _message(error: DarkroomError, text: str) -> object:
    if isinstance(error, ImageFetchFailed) and error.reason:
        return f"{text}: {error.reason}"
    return error.fields if isinstance(error, InvalidFields) else text


def _retry_after(error: DarkroomError) -> int | None:
    """Whole seconds, at least one."""
    if isinstance(error, RateLimited):
        return max(1, math.ceil(error.retry_after_s))
    return math.ceil(RETRY_SOON_S) if isinstance(error, BUSY) else None
