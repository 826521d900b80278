"""Many mixed requests with random cancels, in a process of their own; prints one JSON object of what is left.

The bounds on memory act on what is not allocated yet, which other tests' processes already have.
"""

import json
import os
import queue
import random
import sys
import warnings
from pathlib import Path

from models.pocket.world import COLOURS, SAFE_THINGS, Scene, draw
from serve_app.config import POCKET
from serve_app.engine import build_engine
from serve_app.engine.loop import Event
from serve_app.errors import Cancelled
from serve_app.messages import SAMPLER_NAMES, Img2ImgJob, Lora, Progress, Raster, SamplerChoice
from serve_app.pipelines import flight_bytes, rows_per_call
from serve_app.pipelines.sd import SdPipeline
from serve_app.prompts.weights import parse_weights
from tests.unit.pipelines.lora_making import lora_entries

WARM = 200
BUDGETS = {"prompt_cache_bytes": 2**20, "picture_cache_bytes": 2**18, "text_kv_bytes": 2**23, "lora_bytes": 2**19}


def random_job(number: int, rng: random.Random, loras: list[str]) -> Img2ImgJob:
    """Any sampler, prompt, picture, guidance, strength, LoRA; few steps, so that joins and ends are many."""
    colours = rng.sample(list(COLOURS), 2)
    side = rng.choice([64, 64, 64, 72])
    sampler = SamplerChoice(rng.choice(SAMPLER_NAMES), karras=rng.random() < 0.5)
    return Img2ImgJob(
        id=number, model_id="pocket", prompt=f"a {colours[0]} {rng.choice(SAFE_THINGS)}, number {rng.randint(0, 500)}",
        negative_prompt=rng.choice(["", "blurry"]), init_image=draw(Scene("circle", colours[0], colours[1]), side),
        samples=rng.choice([1, 1, 2]), steps=rng.randint(1, 4), guidance_scale=rng.choice([1.0, 6.0]),
        strength=rng.uniform(0.3, 1.0), seed=number, sampler=sampler,
        clip_skip=rng.choice([1, 2]), token_merging=rng.random() < 0.3,
        loras=tuple(Lora(name, rng.random()) for name in rng.sample(loras, rng.choice([0, 0, 1, 2]))),
    )  # fmt: skip


def soak(folder: Path, requests: int) -> dict[str, object]:
    """What is left behind, and resident memory in MiB after the first WARM requests and after all."""
    entries = lora_entries(folder, 4)
    entry = POCKET.model_copy(update={"torch_threads": 2, "loras": entries, "max_jobs": 32, **BUDGETS})
    pipeline = SdPipeline(entry, parse_weights)
    engine = build_engine(entry, pipeline, rows_per_call(entry, pipeline), flight_bytes(entry, pipeline))
    engine.start()
    rng, ended = random.Random(11), queue.Queue[Event]()
    outcomes, resident = 0, {}

    def hear(event: Event) -> None:
        if not isinstance(event, Progress):
            ended.put(event)

    for number in range(requests):
        while number - outcomes >= entry.max_jobs:
            wait_for_one(ended)
            outcomes += 1
            if outcomes == WARM:
                resident["warm_mib"] = resident_mib()
        flight = engine.submit(random_job(number, rng, [lora.id for lora in entries]), hear)
        if rng.random() < 0.2:
            flight.cancel()
    for _ in range(requests - outcomes):
        wait_for_one(ended)
    left = {"jobs": engine.jobs, "rows": engine.rows, "backlog": engine.backlog}
    engine.stop()
    return {**left, "cached_bytes": pipeline.cached_bytes, **resident, "last_mib": resident_mib()}


def wait_for_one(ended: "queue.Queue[Event]") -> None:
    """The next job to end; it ends well or cancelled."""
    event = ended.get(timeout=120)
    assert isinstance(event, Raster | Cancelled), event


def resident_mib() -> float:
    """Of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(soak(Path(sys.argv[1]), int(sys.argv[2]))))
