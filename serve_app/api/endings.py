"""What is told of a job that did not succeed: to the request that made it, and to whoever asks later."""

from serve_app.api.failures import load_failure
from serve_app.api.problems import TABLE, HttpAnswer, problem, text_of
from serve_app.api.views import CANCELLED, JobView
from serve_app.errors import Cancelled, DarkroomError, GenerationFailed, InvalidFields, JobError, ServiceError

_OF_JOBS = {text: cls for cls, (_, text) in TABLE.items() if issubclass(cls, ServiceError | JobError)}
"""The failures by their texts, for records that keep no code."""


def why_ended(view: JobView) -> object:
    """A text; where fields were bad, each one's name with its sentences."""
    failure = load_failure(view.failure)
    if isinstance(failure, InvalidFields):
        return failure.fields
    return view.message or text_of(Cancelled() if view.state == CANCELLED else GenerationFailed())


def ended_badly(view: JobView, *, errors_as_200: bool = False) -> HttpAnswer:
    """The answer to the request that made the job: that of the failure it ended with.

    A record without a code is answered by its text where that is one of ours, else as that text with status 500.
    """
    why = why_ended(view)
    status, body, headers = problem(load_failure(view.failure) or _by_text(why), errors_as_200=errors_as_200)
    return status, {**body, "message": why}, headers


def _by_text(why: object) -> DarkroomError:
    return _OF_JOBS.get(why, GenerationFailed)() if isinstance(why, str) else GenerationFailed()
