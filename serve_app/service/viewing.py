"""A job's record as the answers see it."""

from collections.abc import Mapping

from serve_app.api.answers import base64_outputs
from serve_app.api.stored import load_request
from serve_app.api.views import SUCCESS, JobView, Picture, Used
from serve_app.config import ModelEntry
from serve_app.messages import picture_names, seed_of
from serve_app.postprocess.storage import ObjectStore
from serve_app.records.document import read_job
from serve_app.records.jobs import JobRecord
from serve_app.records.results import Result, read_result
from serve_app.samplers.counts import evaluations
from serve_app.service.forecast import Estimate

ENDED = Estimate()
Catalogue = Mapping[str, ModelEntry]


def view_of(record: JobRecord, catalogue: Catalogue, estimate: Estimate = ENDED, webhook_status: str = "") -> JobView:
    """The record as its client may see it; `estimate` counts where it has not ended."""
    request, used, result = load_request(record.request), used_by(record, catalogue), read_result(record.result)
    return JobView(
        id=record.id,
        state=record.state,
        version=record.version,
        request=request,
        used=used,
        file_prefix=record.file_prefix,
        pictures=_pictures(record, used.seed, result),
        links=record.links,
        fetch_url=record.fetch_url,
        created_at=record.created_at,
        started_at=record.started_at,
        ended_at=record.ended_at,
        done=record.done,
        total=record.total,
        eta_s=estimate.eta_s,
        queue_position=estimate.queue_position,
        attempts=record.attempts,
        seconds=record.seconds,
        stages=result.stages,
        flagged=record.flagged,
        message=record.message,
        webhook_status=webhook_status,
        failure=record.failure,
    )


def _pictures(record: JobRecord, seed: int, result: Result) -> tuple[Picture, ...]:
    """`links` has an entry for each sample. Records of older versions know only whether any picture was replaced."""
    count = len(record.links)
    older = None if record.flagged and count > 1 else record.flagged
    replaced = result.replaced or (older,) * count
    return tuple(Picture(seed_of(seed, place), replaced[place]) for place in range(count))


def used_by(record: JobRecord, catalogue: Catalogue, ran: str | None = None) -> Used:
    """What makes the job's pictures. Until it is known which sampler `ran`, the one that will."""
    job = read_job(record.job)
    entry = catalogue.get(record.model_id)
    own = "" if entry is None else entry.default_sampler
    sampler = ran or record.sampler or job.sampler.name or own
    return Used(
        model_id=record.model_id,
        prompt=job.prompt,
        negative_prompt=job.negative_prompt,
        sampler=sampler,
        seed=job.seed,
        width=job.width,
        height=job.height,
        evaluations=evaluations(job.steps, job.strength, sampler),
    )


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
