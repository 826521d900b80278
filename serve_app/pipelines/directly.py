"""Runs a pipeline's verbs without an engine: for evaluation, benchmarks and tests, where all jobs are there at once."""

from collections.abc import Sequence

from torch import Tensor

from serve_app.messages import Img2ImgJob
from serve_app.pipelines.latent import LatentPipeline
from serve_app.pipelines.rows import LatentRow

ROWS_PER_CALL = 16


def encode(pipeline: LatentPipeline, *jobs: Img2ImgJob) -> list[LatentRow]:
    """All samples of all jobs, encoded together."""
    rows = pipeline.encode([pipeline.prepare(job) for job in jobs])
    return [row for own in rows for row in own]


def step(pipeline: LatentPipeline, rows: Sequence[LatentRow]) -> None:
    """One evaluation of all rows, in one call."""
    pipeline.advance(rows, pipeline.denoise(rows))


def finish(pipeline: LatentPipeline, rows: Sequence[LatentRow]) -> list[Tensor]:
    """Run rows to their ends, up to ROWS_PER_CALL in a call; those that end make room for others.

    Gives the final latents (channels, height/8, width/8) of each row.
    """
    while going := [row for row in rows if row.remaining][:ROWS_PER_CALL]:
        step(pipeline, going)
    return [row.latents for row in rows]


def latents_of(pipeline: LatentPipeline, *jobs: Img2ImgJob) -> list[Tensor]:
    """The final latents of all samples of all jobs, run together."""
    return finish(pipeline, encode(pipeline, *jobs))
