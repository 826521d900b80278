"""From a request that was read to a job that is written down: its picture, its prompts, its links."""

import asyncio
import logging
import secrets
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from serve_app.access.admission import Admission
from serve_app.api.links import Links
from serve_app.api.routes import fetch_url
from serve_app.api.stored import stored_request
from serve_app.api.wire import Img2ImgRequest
from serve_app.config import AppConfig, ModelEntry
from serve_app.errors import ImageFetchFailed, InvalidFields, RecordsUnavailable
from serve_app.inputs.decode import ImageDecoder, decode_base64
from serve_app.inputs.fetch import ImageFetcher
from serve_app.inputs.fit import cover_crop, target_size
from serve_app.inputs.guard import Network, is_permitted, written_address
from serve_app.inputs.init_png import png_of_init
from serve_app.messages import Img2ImgJob, Pixels, SamplerChoice, picture_names, require_few_breaks
from serve_app.prompts.enhance import enhance
from serve_app.prompts.weights import parse_weights
from serve_app.records.document import dump_job
from serve_app.records.jobs import Accepted, Idempotency, JobRecord, JobRecords, NewJob
from serve_app.records.rows import LARGEST_ID
from serve_app.samplers.counts import evaluations
from serve_app.service.driver import Driver
from serve_app.service.eta import cost
from serve_app.service.own_pictures import OwnPictures
from serve_app.urls import looks_like_url, require_callable, shown_url

TRIES = 3
"""A commit whose answer got lost is made sure of by the same call again."""
PAUSE_S = 0.25
PRIVATE_WEBHOOK = "The webhook may not lead to a private network."

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and where."""

    key_name: str
    base_url: str
    """The service's own, as this client knows it."""
    path: str
    """One of IMG2IMG_PATHS."""
    idempotency: Idempotency | None


class Pictures(Protocol):
    """Where init images come from."""

    async def picture(self, asked: Img2ImgRequest) -> Pixels:
        """The init image at the job's size. Raises InvalidFields, ImageFetchFailed, DecoderUnavailable."""


class GivenPictures:
    """Init images from wherever requests name them."""

    def __init__(self, config: AppConfig, own: OwnPictures) -> None:
        self._fetcher = ImageFetcher(config.inputs)
        self._decoder = ImageDecoder(config.inputs)
        self._own = own

    async def picture(self, asked: Img2ImgRequest) -> Pixels:
        """As `Pictures` says."""
        pixels = await self._pixels(asked.init_image)
        height, width = pixels.shape[:2]
        size = target_size(width, height, asked.width, asked.height)
        return await asyncio.to_thread(cover_crop, pixels, *size)

    async def _pixels(self, source: str | bytes) -> Pixels:
        if isinstance(source, str) and looks_like_url(source):
            return await self._behind(source)
        return await self._decoder.decode(decode_base64(source) if isinstance(source, str) else source)

    async def _behind(self, url: str) -> Pixels:
        data = await self._own.read(url)
        if data is None:
            data = await self._fetcher.fetch(url)
        try:
            return await self._decoder.decode(data)
        except InvalidFields as refused:
            logger.warning("no init image from %s: %s", shown_url(url), refused.reason)
            raise ImageFetchFailed(refused.reason, refused.reason) from refused

    async def close(self) -> None:
        """End the decoder's child."""
        await self._decoder.close()


class Accepter:
    """Accepts jobs and hands them to this process' driver."""

    def __init__(
        self,
        config: AppConfig,
        pictures: Pictures,
        admission: Admission,
        records: JobRecords,
        links: Links,
        driver: Driver,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._deadline_s = config.api.job_deadline_s
        self._hook_networks = config.webhooks.allowed_networks
        self._pictures = pictures
        self._admission = admission
        self._records = records
        self._links = links
        self._driver = driver
        self._clock = clock

    async def accept(self, asked: Img2ImgRequest, entry: ModelEntry, caller: Caller) -> JobRecord:
        """The job, driven from now on; under an Idempotency-Key that is not new the first one.

        Raises what `Pictures.picture` raises, Overloaded, IdempotencyConflict, RecordsUnavailable, StorageFailed,
        InvalidFields, for a webhook that can never be sent too.
        """
        require_sendable(asked.webhook, self._hook_networks)
        if caller.idempotency is not None:
            first = await self._admission.first_job(caller.key_name, caller.idempotency)
            if first is not None:
                return first
        await self._admission.require_room(entry.id)
        require_few_breaks(
            {"prompt": parse_weights(asked.prompt), "negative_prompt": parse_weights(asked.negative_prompt)}
        )
        job = build_job(asked, entry, await self._pictures.picture(asked))
        new = await self._new_job(asked, entry, job, caller)
        # A client that hangs up now must not leave a job behind that nobody drives.
        return await asyncio.shield(self._driver.task(self._driven(new, job, caller), "accept"))

    async def _driven(self, new: NewJob, job: Img2ImgJob, caller: Caller) -> JobRecord:
        accepted = await self._written(new, caller, job.id)
        if accepted.fresh:
            record = accepted.record
            self._driver.drive(record, lambda: replace(job, id=record.id))
        return accepted.record

    async def _written(self, new: NewJob, caller: Caller, first_id: int) -> Accepted:
        lease = self._driver.lease()
        for _ in range(TRIES - 1):
            try:
                return await self._records.accept(new, lease, caller.idempotency, first_id)
            except RecordsUnavailable:
                await asyncio.sleep(PAUSE_S)
        return await self._records.accept(new, lease, caller.idempotency, first_id)

    async def _new_job(self, asked: Img2ImgRequest, entry: ModelEntry, job: Img2ImgJob, caller: Caller) -> NewJob:
        now, prefix = self._clock(), str(uuid.uuid4())
        sampler = job.sampler.name or entry.default_sampler
        names = picture_names(prefix, job.samples, asked.temp)
        size = (job.width, job.height)
        return NewJob(
            key_name=caller.key_name,
            model_id=entry.id,
            file_prefix=prefix,
            request=stored_request(asked),
            job=dump_job(job),
            links=await self._links.links_for(names, caller.base_url, now),
            fetch_url=fetch_url(caller.base_url, caller.path, job.id),
            webhook=asked.webhook,
            cost=cost(job.steps, job.strength, job.guidance_scale, job.samples, *size, sampler),
            total=job.samples * max(1, evaluations(job.steps, job.strength, sampler)),
            temporary=asked.temp,
            png=await asyncio.to_thread(png_of_init, job.init_image),
            created_at=now,
            deadline_at=now + self._deadline_s,
        )


def require_sendable(webhook: str | None, allowed: Sequence[Network]) -> None:
    """Raises InvalidFields for a webhook whose host is written as an address that is never sent to."""
    address = None if webhook is None else written_address(require_callable(webhook).host)
    if address is not None and not is_permitted(address, allowed):
        raise InvalidFields({"webhook": [PRIVATE_WEBHOOK]})


def build_job(asked: Img2ImgRequest, entry: ModelEntry, picture: Pixels) -> Img2ImgJob:
    """A request and its picture as a job with an id, a seed and the prompts that are really used."""
    prompts = asked.prompt, asked.negative_prompt
    prompt, negative = enhance(*prompts, entry.enhancement) if asked.enhance_prompt else prompts
    return Img2ImgJob(
        id=1 + secrets.randbelow(LARGEST_ID),
        model_id=entry.id,
        prompt=prompt,
        negative_prompt=negative,
        init_image=picture,
        samples=asked.samples,
        steps=asked.num_inference_steps,
        guidance_scale=asked.guidance_scale,
        strength=asked.strength,
        seed=secrets.randbelow(2**32) if asked.seed is None else asked.seed,
        sampler=SamplerChoice(asked.scheduler, asked.use_karras_sigmas, asked.algorithm_type),
        clip_skip=asked.clip_skip,
        token_merging=asked.tomesd,
        vae=asked.vae,
        loras=asked.loras,
        embeddings=asked.embeddings,
    )
