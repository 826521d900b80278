"""A client that does not give up: it asks again where it gets no answer, as a user's program would."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx2
import numpy as np

from models.pocket.world import Scene, draw
from tests.integration.asking import IMG2IMG, Pixels, b64, pixels_of, png

SIDE = 64
STEPS = 40
"""So many that a fast machine has not ended all jobs before a fault that waits for some of their steps."""
INIT_B64 = b64(png(draw(Scene("circle", "yellow", "green"), SIDE)))
PATIENCE_S = 900.0
PAUSE_S = 0.5
LEVELS = 1
"""Of 255. Jobs share calls, and how many rows a call has may change the order in which a product's terms are added (the
VAE's decoder; without AVX-512 the UNet's too): the same seed in another company may round another way in a channel here
and there. A wrong seed, step, prompt or init image changes most of a picture by tens."""


@dataclass(frozen=True, slots=True)
class Job:
    """One that the service said it had taken."""

    id: int
    seed: int
    links: tuple[str, ...]
    hook: str
    """Its webhook's URL."""


@dataclass(slots=True)
class PatientClient:
    """Use it as an async context manager."""

    url: str
    key: str
    refused: list[str] = field(default_factory=list)
    """What stood in for answers: 5xx and broken connections."""
    _http: httpx2.AsyncClient = field(init=False)

    async def __aenter__(self) -> "PatientClient":
        self._http = httpx2.AsyncClient(base_url=self.url, timeout=20, trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def submit(self, seed: int, hook: str, name: str, **fields: object) -> Job:
        """A job that does not wait for its picture; `name` is its Idempotency-Key."""
        body = {
            "key": self.key,
            "model_id": "pocket",
            "prompt": "a red star on a blue background",
            "init_image": INIT_B64,
            "width": SIDE,
            "height": SIDE,
            "num_inference_steps": STEPS,
            "strength": 0.9,
            "seed": seed,
            "safety_checker": "no",
            "instant_response": "yes",
            "webhook": hook,
            **fields,
        }
        request = self._http.build_request("POST", IMG2IMG, json=body, headers={"Idempotency-Key": name})
        told: dict[str, Any] = (await self._ask(request)).json()
        assert told["status"] in ("processing", "success"), told
        return Job(told["id"], seed, tuple(told.get("future_links") or told["output"]), hook)

    async def look(self, job: Job) -> dict[str, Any]:
        """The job's resource."""
        headers = {"Authorization": f"Bearer {self.key}"}
        told: dict[str, Any] = (await self._get(f"/v1/jobs/{job.id}", headers)).json()
        return told

    async def ended(self, job: Job, until: float) -> dict[str, Any]:
        """Its resource after its end, or as it stands at `until` (monotonic)."""
        while True:
            told = await self.look(job)
            if told["ended_at"] is not None or time.monotonic() > until:
                return told
            await asyncio.sleep(PAUSE_S)

    async def picture(self, job: Job) -> Pixels:
        """Its one picture, by the link that it had from the start."""
        return pixels_of((await self._get(job.links[0], {})).content)

    async def _get(self, url: str, headers: dict[str, str]) -> httpx2.Response:
        return await self._ask(self._http.build_request("GET", url, headers=headers))

    async def _ask(self, request: httpx2.Request) -> httpx2.Response:
        """An answer below 500; asks again for PATIENCE_S."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer: httpx2.Response = await self._http.send(request)
            except httpx2.TransportError as error:
                self.refused.append(type(error).__name__)
            else:
                if answer.status_code < 500:
                    assert answer.status_code == 200, (request, answer.status_code, answer.text)
                    return answer
                self.refused.append(f"{answer.status_code} {answer.text[:200]}")
            assert time.monotonic() < until, (request, self.refused[-5:])
            await asyncio.sleep(PAUSE_S)


def difference(one: Pixels, other: Pixels) -> int:
    """The largest of any channel, 0..255; pictures of other sizes differ by all of it."""
    if one.shape != other.shape:
        return 255
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def seconds_of(moment: str) -> float:
    """An ISO 8601 time as seconds since 1970."""
    return datetime.fromisoformat(moment).timestamp()
