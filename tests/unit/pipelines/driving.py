"""Drives a pipeline's verbs by hand, many jobs in each call, as the engine does."""

from collections.abc import Sequence

import torch

from models.pocket.world import Scene, draw
from serve_app.messages import Img2ImgJob
from serve_app.pipelines.latent import LatentPipeline
from serve_app.pipelines.rows import LatentRow

INIT = draw(Scene("circle", "yellow", "green"), 64)
CALL = 16
"""Samples in one call."""


def make_job(**changes: object) -> Img2ImgJob:
    """A small job: 64 pixels, five steps."""
    fields: dict[str, object] = {
        "id": 1, "model_id": "pocket", "prompt": "a red star on a blue background", "negative_prompt": "blurry",
        "init_image": INIT, "samples": 1, "steps": 5, "guidance_scale": 5.0, "strength": 0.7, "seed": 31,
        "token_merging": False, **changes,
    }  # fmt: skip
    return Img2ImgJob(**fields)  # type: ignore[arg-type]


def encode(pipeline: LatentPipeline, *jobs: Img2ImgJob) -> list[LatentRow]:
    """All samples of all jobs, encoded together."""
    rows = pipeline.encode([pipeline.prepare(job) for job in jobs])
    return [row for own in rows for row in own]


def step(pipeline: LatentPipeline, rows: Sequence[LatentRow]) -> None:
    """One evaluation of all rows, in one call."""
    pipeline.advance(rows, pipeline.denoise(rows))


def finish(pipeline: LatentPipeline, rows: Sequence[LatentRow]) -> list[torch.Tensor]:
    """Run rows to their ends, up to CALL in a call; those that end make room for others. Gives final latents."""
    while going := [row for row in rows if row.remaining][:CALL]:
        step(pipeline, going)
    return [row.latents for row in rows]


def latents_of(pipeline: LatentPipeline, *jobs: Img2ImgJob) -> list[torch.Tensor]:
    """Final latents of all samples of all jobs, run together."""
    return finish(pipeline, encode(pipeline, *jobs))
