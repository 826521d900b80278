"""A job in our own words: the resource under /v1/jobs/{id}. The hosted API's answers are in `answers`."""

from datetime import UTC, datetime

from serve_app.api.answers import Answer, eta, generation_time, meta, outcome
from serve_app.api.endings import why_ended
from serve_app.api.routes import job_events_url, job_url
from serve_app.api.tickets import PARAMETER
from serve_app.api.views import SUCCESS, JobView

OUTCOME = ("nsfw_content_detected", "pictures", "timings")
"""What there is of a success only."""


def job_resource(view: JobView, base_url: str) -> Answer:
    """Everything that a client may know of its job. All names are always there; null is what there is not."""
    return {
        **standing(view),
        "model_id": view.used.model_id,
        "meta": meta(view),
        "track_id": view.request.track_id,
        "created_at": iso_time(view.created_at),
        "started_at": None if view.started_at is None else iso_time(view.started_at),
        "ended_at": None if view.ended_at is None else iso_time(view.ended_at),
        "webhook_status": view.webhook_status,
        "links": {
            "self": job_url(base_url, view.id),
            "events": job_events_url(base_url, view.id),
            "fetch": view.fetch_url,
        },
    }


def ticket_answer(ticket: str, expires: int, base_url: str, job_id: int) -> Answer:
    """A ticket for the job's events, and the URL that an EventSource takes."""
    return {
        "ticket": ticket,
        "expires_at": iso_time(expires),
        "events": f"{job_events_url(base_url, job_id)}?{PARAMETER}={ticket}",
    }


def standing(view: JobView) -> Answer:
    """How far a job is, and what came of it: what the resource and every event tell."""
    succeeded = view.state == SUCCESS
    return {
        "id": view.id,
        "status": str(view.state),
        "progress": {"done": view.done, "total": view.total},
        "queue_position": None if view.ended else view.queue_position,
        "eta": None if view.ended else eta(view),
        "attempts": view.attempts,
        "output": list(view.links) if succeeded else [],
        "generationTime": generation_time(view) if succeeded else None,
        **(outcome(view) if succeeded else dict.fromkeys(OUTCOME)),
        "message": why_ended(view) if view.ended and not succeeded else None,
    }


def cancel_status(view: JobView) -> int:
    """The HTTP status of the answer to a DELETE: 202 where the end is still to come, 200 where there is none to ask."""
    return 200 if view.ended else 202


def iso_time(seconds: float) -> str:
    """A moment in seconds since 1970 as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
