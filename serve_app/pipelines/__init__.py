"""Model families: a catalogue entry in, a loaded pipeline out. A family is imported when it is first asked for."""

from typing import TYPE_CHECKING

from serve_app.config import ModelEntry

if TYPE_CHECKING:
    from serve_app.pipelines.latent import LatentPipeline, Parser


def load_pipeline(entry: ModelEntry, parse: "Parser") -> "LatentPipeline":
    """Load a catalogue entry's model onto its device; `parse` reads the weights in prompts.

    Raises `ConfigError` where the weights cannot be read.
    """
    from serve_app.pipelines.sd import SdPipeline  # imports torch and diffusers: seconds
    from serve_app.pipelines.sdxl import SdxlPipeline

    families = {"sd": SdPipeline, "sdxl": SdxlPipeline}
    return families[entry.family](entry, parse)
