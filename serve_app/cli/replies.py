"""What the service's replies say to the command line, and how a reply says no."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

LATER = (429, 503)
"""Statuses with which the service itself says that another time is better."""


class Refused(Exception):
    """The server says no, or the job failed; the text is the server's."""


class Unreachable(Exception):
    """No reply that makes sense, though it was tried more than once where that helps."""


class Interrupted(httpx2.TransportError):
    """Something on the way replied and not the service: as good as a connection that broke."""


class Busy(httpx2.TransportError):
    """The service says, in these words, that another time is better."""


class Steps(BaseModel):
    """UNet evaluations."""

    done: int = 0
    total: int = 0


class Standing(BaseModel):
    """How far a job is: an event's data, or as much of that as a fetch tells."""

    id: int | str = ""
    status: str
    """queued, running, success, failed or cancelled; a fetch says processing for the first two, and error is none."""
    progress: Steps = Steps()
    queue_position: int | None = None
    eta: float | None = None
    """Seconds."""
    output: Sequence[str] | str = ()
    """Links, once the job has succeeded."""
    message: object = None
    retry_after: float | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.status not in ("queued", "running", "processing")

    @property
    def words(self) -> str:
        """The message as text, one sentence a line."""
        wait = "" if self.retry_after is None else f" (in {self.retry_after:g} s)"
        return "\n".join(_sentences(self.message)) + wait


Reply = TypeVar("Reply", bound=BaseModel)


def parse(kind: type[Reply], text: str) -> Reply:
    """A reply's JSON. Raises Unreachable where it is something else: then the URL is not one of this service."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise Unreachable(f"the reply is not one of Darkroom's: {text[:80]!r}") from error


def checked(response: httpx2.Response) -> httpx2.Response:
    """A response whose status is good. Raises Refused, Busy, Interrupted."""
    if response.is_success:
        return response
    words = _ours(response)
    if words is None and response.status_code >= 500:
        raise Interrupted(f"HTTP {response.status_code}", request=response.request)
    if words is not None and response.status_code in LATER:
        raise Busy(words, request=response.request)
    raise Refused(words or f"HTTP {response.status_code} from {response.url}")


def standing(response: httpx2.Response) -> Standing:
    """The job that a response is about. Raises what `checked` and `parse` raise, Refused for an error in HTTP 200."""
    told = parse(Standing, checked(response).text)
    if told.status == "error":
        raise Refused(told.words)
    return told


def _ours(response: httpx2.Response) -> str | None:
    """What the service says, or None where something else replied."""
    try:
        return Standing.model_validate_json(response.text).words or None
    except ValidationError:
        return None


def _sentences(message: object) -> Iterable[str]:
    """Bad fields are told as an object of lists."""
    if isinstance(message, Mapping):
        return [str(sentence) for told in message.values() for sentence in (told if isinstance(told, list) else [told])]
    return [] if message is None else [str(message)]
