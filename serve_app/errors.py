"""The whole tree of failures. `api.problems` maps each class to a status and a text.

DarkroomError
├── RequestError                 the client can mend it
│   ├── UnreadableBody           not JSON, form or multipart, or not an object
│   ├── InvalidFields            bad fields, all of them, in the contract's words
│   ├── InvalidKey               no key, or not one of ours
│   ├── ModelNotFound            no such model in the catalogue
│   ├── RouteNotFound            no such path or file
│   ├── LinkRefused              a temporary picture's link has expired or is not one of ours
│   ├── MethodNotAllowed         a known path asked with another method
│   ├── BodyTooLarge             the request has more bytes than the server reads
│   ├── KeylessBodyTooLarge      it has more than are read before a key is known
│   ├── BodyNotTaken             a body came with a request that has none
│   ├── BodyTooSlow              the body stopped coming, or came too slowly
│   ├── HeadTooLarge             the request line and headers have more bytes than the server reads
│   ├── HeadTooSlow              the request line and headers did not come in time
│   ├── ImageFetchFailed         the init image's URL gave no picture
│   ├── IdempotencyConflict      an Idempotency-Key was used with another body
│   ├── JobNotFound              no such job, or it is another key's
│   └── RateLimited              too many requests for this key
├── ServiceError                 the client can try again later
│   ├── Overloaded               the queue is full
│   ├── BodiesInFlight           too many bytes of requests are on their way
│   ├── ModelUnavailable         no replica answers for this model
│   ├── DecoderUnavailable       the picture decoder's process does not come up
│   ├── RecordsUnavailable       the database of jobs cannot be read or written
│   ├── StoreUnavailable         the store of pictures cannot be read
│   └── DeadlineExceeded         the job took longer than it may
└── JobError                     this job failed, others go on
    ├── GenerationFailed         the model broke on this job
    ├── SafetyCheckFailed        a requested check could not run; the picture stays here
    ├── StorageFailed            the picture could not be stored
    ├── AttemptsExhausted        every replica that ran it died or hung
    └── Cancelled                somebody asked for it

ConfigError stands beside the tree: it stops the start and never reaches a client.
"""

from collections.abc import Mapping


class DarkroomError(Exception):
    """Every failure of ours; `detail` is for logs, not for clients."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail


class RequestError(DarkroomError):
    """The client can mend it."""


class UnreadableBody(RequestError):
    """The body is not JSON, a form or multipart, or not an object."""


class InvalidFields(RequestError):
    """Bad fields: `fields` maps each one's name to its messages, in the contract's words.

    `reason` says of a picture's bytes what is wrong, for where they came from a URL.
    """

    def __init__(self, fields: Mapping[str, list[str]], reason: str = "") -> None:
        super().__init__(", ".join(fields))
        self.fields = dict(fields)
        self.reason = reason

    def __reduce__(self) -> tuple[type["InvalidFields"], tuple[dict[str, list[str]], str]]:
        return InvalidFields, (self.fields, self.reason)


class InvalidKey(RequestError):
    """No key, or not one of ours."""


class ModelNotFound(RequestError):
    """No such model in the catalogue."""


class RouteNotFound(RequestError):
    """No such path or file."""


class LinkRefused(RequestError):
    """A temporary picture's link has expired, or is not one that we made."""


class MethodNotAllowed(RequestError):
    """A known path asked with another method."""


class BodyTooLarge(RequestError):
    """The request has more bytes than the server reads."""


class KeylessBodyTooLarge(RequestError):
    """So large a body is read of those who have shown a good key, and none has come yet."""


class BodyNotTaken(RequestError):
    """A body came with a method or on a route that takes none."""


class BodyTooSlow(RequestError):
    """The body stopped coming, or came more slowly than the server waits for."""


class HeadTooLarge(RequestError):
    """The request line and headers have more bytes than the server reads."""


class HeadTooSlow(RequestError):
    """The request line and headers did not come in time."""


class ImageFetchFailed(RequestError):
    """The init image's URL gave no picture. `reason` tells its sender why, and nothing of inner networks."""

    def __init__(self, detail: str = "", reason: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


class IdempotencyConflict(RequestError):
    """The Idempotency-Key was used before, with another body."""


class JobNotFound(RequestError):
    """No job has this id, or another key made it."""


class RateLimited(RequestError):
    """Too many requests for this key; `retry_after_s` seconds from now one more is welcome."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"retry after {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[type["RateLimited"], tuple[float]]:
        return RateLimited, (self.retry_after_s,)


class ServiceError(DarkroomError):
    """The client can try again later."""


class Overloaded(ServiceError):
    """The queue is full."""


class BodiesInFlight(ServiceError):
    """The bodies of requests on their way hold as much memory as they may."""


class ModelUnavailable(ServiceError):
    """No replica answers for this model."""


class DecoderUnavailable(ServiceError):
    """The picture decoder's process does not come up."""


class RecordsUnavailable(ServiceError):
    """The database of jobs cannot be read or written now."""


class StoreUnavailable(ServiceError):
    """The store of pictures cannot be read now."""


class DeadlineExceeded(ServiceError):
    """The job took longer than it may."""


class JobError(DarkroomError):
    """This job failed; others go on."""


class GenerationFailed(JobError):
    """The model broke on this job."""


class SafetyCheckFailed(JobError):
    """A requested check could not run; the picture stays here."""


class StorageFailed(JobError):
    """The picture could not be stored."""


class AttemptsExhausted(JobError):
    """Every replica that ran this job died or hung; it is not tried again."""


class Cancelled(JobError):
    """Somebody asked for it."""


class ConfigError(Exception):
    """The configuration is wrong; the service does not start."""
