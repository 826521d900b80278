"""On a GPU: ours by the number of jobs in flight, against one pipeline call at a time, eager and compiled."""

from typing import Any

import torch

from bench.figures import Figures
from bench.load import closed_loop
from bench.models import Rig
from bench.peers.caller import Caller
from bench.peers.key import serial
from bench.peers.own import Own
from bench.timing import median_seconds
from bench.workloads import same
from serve_app.pipelines.latent import LatentPipeline

ROWS = (1, 2, 4, 8, 16, 32, 64)
MATMUL_SIDE = 8192
SERIAL_JOBS = 6
UNET_ROWS = 18 * 2
"""Of one job of the workload `same`: 30 steps at strength 0.6, with guidance."""


def measure(rig: Rig, pipeline: LatentPipeline, plain: Caller, flops_per_row: int) -> Figures:
    """Images/s, evaluations/s and the share of the measured matmul rate."""
    peak = matmul_rate(rig)
    figures: dict[str, dict[str, float]] = {"serial eager": _serial(rig, plain, flops_per_row, peak)}
    for rows in ROWS:
        figures[f"darkroom {rows}"] = _own(rig, pipeline, rows, flops_per_row, peak)
    compiled = Caller(_compiled(rig.diffusers_pipeline(dressed=False)))
    figures["serial compiled"] = _serial(rig, compiled, flops_per_row, peak)
    return {"by_rows.matmul_tflops": peak / 1e12, "by_rows.raw": figures}


def matmul_rate(rig: Rig) -> float:
    """Operations a second of a large square product in the rig's dtype."""
    one, other = torch.randn(2, MATMUL_SIDE, MATMUL_SIDE).to(rig.entry.device, rig.dtype)
    return 2 * MATMUL_SIDE**3 / median_seconds(lambda: one @ other, 20)


def _own(rig: Rig, pipeline: LatentPipeline, rows: int, flops: int, peak: float) -> dict[str, float]:
    room = {"knee_pixels": rig.side**2}
    own = Own(rig.entry.model_copy(update=room), pipeline, 2 * rows)
    try:
        closed_loop(own, same(rows, rig.side, 1000 + rows), rows)
        trace = closed_loop(own, same(max(4, 2 * rows), rig.side, rows), rows)
    finally:
        own.close()
    return _rates(len(trace.came) / trace.seconds, flops, peak)


def _serial(rig: Rig, caller: Caller, flops: int, peak: float) -> dict[str, float]:
    peer = serial(caller)
    try:
        closed_loop(peer, same(2, rig.side, 2000), 1)
        trace = closed_loop(peer, same(SERIAL_JOBS, rig.side, 2001), 1)
    finally:
        peer.close()
    return _rates(len(trace.came) / trace.seconds, flops, peak)


def _rates(images: float, flops: int, peak: float) -> dict[str, float]:
    evaluations = images * UNET_ROWS
    return {
        "images_per_s": images, "unet_rows_per_s": evaluations, "share_of_matmul_rate": evaluations * flops / peak,
    }  # fmt: skip


def _compiled(pipeline: Any) -> Any:  # noqa: ANN401 (diffusers' class is untyped)
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    pipeline.unet = torch.compile(pipeline.unet)
    pipeline.vae.decode = torch.compile(pipeline.vae.decode)
    return pipeline
