"""A job's record as the answers see it."""

from collections.abc import Mapping

from serve_app.api.answers import base64_outputs
from serve_app.api.stored import load_request
from serve_app.api.views import SUCCESS, JobView, Used
from serve_app.config import ModelEntry
from serve_app.jobs.forecast import Prospect
from serve_app.jobs.job_json import read_job
from serve_app.jobs.records import JobRecord
from serve_app.messages import picture_names
from serve_app.postprocess.storage import ObjectStore

ENDED = Prospect()
Catalogue = Mapping[str, ModelEntry]


def view_of(
    record: JobRecord,
    catalogue: Catalogue,
    prospect: Prospect = ENDED,
    webhook_status: str = "",
    failure: str | None = None,
) -> JobView:
    """The record as its client may see it; `prospect` counts where it has not ended, `failure` where it failed."""
    request = load_request(record.request)
    return JobView(
        id=record.id,
        state=record.state,
        version=record.version,
        request=request,
        used=used_by(record, catalogue),
        file_prefix=record.file_prefix,
        links=record.links,
        fetch_url=record.fetch_url,
        created_at=record.created_at,
        started_at=record.started_at,
        ended_at=record.ended_at,
        done=record.done,
        total=record.total,
        eta_s=prospect.eta_s,
        queue_position=prospect.queue_position,
        attempts=record.attempts,
        seconds=record.seconds,
        flagged=record.flagged,
        message=record.message,
        webhook_status=webhook_status,
        failure=failure,
    )


def used_by(record: JobRecord, catalogue: Catalogue, ran: str | None = None) -> Used:
    """What makes the job's pictures. Until it is known which sampler `ran`, the one that will."""
    job = read_job(record.job)
    entry = catalogue.get(record.model_id)
    own = "" if entry is None else entry.default_sampler
    sampler = ran or record.sampler or job.sampler.name or own
    return Used(record.model_id, job.prompt, job.negative_prompt, sampler, job.seed, job.width, job.height)


async def outputs_of(view: JobView, store: ObjectStore) -> list[str]:
    """What `output` holds: links, or the pictures themselves. Nothing before a success.

    Raises StoreUnavailable, and RouteNotFound where the pictures have been deleted.
    """
    if view.state != SUCCESS:
        return []
    request = view.request
    if not request.base64:
        return list(view.links)
    names = picture_names(view.file_prefix, request.samples, request.temp)
    return base64_outputs([(await store.get(name)).data for name in names])
