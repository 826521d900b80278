"""Model families: a catalogue entry in, a loaded pipeline out; how many rows its calls and its memory should have.

What needs torch is imported when it is first asked for: that takes seconds.
"""

from typing import TYPE_CHECKING

from serve_app.config import ModelEntry

if TYPE_CHECKING:
    from serve_app.pipelines.latent import LatentPipeline, Parser


def load_pipeline(entry: ModelEntry, parse: "Parser") -> "LatentPipeline":
    """Load a catalogue entry's model onto its device; `parse` reads the weights in prompts.

    Raises `ConfigError` where the weights cannot be read.
    """
    from serve_app.pipelines.sd import SdPipeline
    from serve_app.pipelines.sdxl import SdxlPipeline

    families = {"sd": SdPipeline, "sdxl": SdxlPipeline}
    return families[entry.family](entry, parse)


def rows_per_call(entry: ModelEntry, pipeline: "LatentPipeline") -> int:
    """UNet rows of a call at `knee_pixels`: what the entry says, else measured now, while nobody uses the pipeline."""
    from serve_app.pipelines.knee import measured_rows

    return measured_rows(entry, pipeline) if entry.rows_per_call is None else entry.rows_per_call


def flight_bytes(entry: ModelEntry, pipeline: "LatentPipeline") -> int:
    """Bytes that rows in flight may hold on the pipeline's device: what the entry says, else a share of what it has."""
    from serve_app.pipelines.memory import share_for_rows

    return share_for_rows(pipeline.device) if entry.flight_bytes is None else entry.flight_bytes
