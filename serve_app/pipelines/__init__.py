"""Model families: a catalogue entry in, a loaded pipeline out. A family is imported when it is first asked for."""

from typing import Any

from serve_app.config import ModelEntry
from serve_app.engine.protocol import Pipeline


def load_pipeline(entry: ModelEntry) -> Pipeline[Any, Any]:
    """Load a catalogue entry's model onto its device. Raises `ConfigError` where the weights cannot be read."""
    from serve_app.pipelines.sd import SdPipeline  # imports torch and diffusers: seconds

    families = {"sd": SdPipeline}
    return families[entry.family](entry)
