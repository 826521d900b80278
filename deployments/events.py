"""What a diffusion replica streams to the driver."""

from dataclasses import dataclass

import ray

from serve_app.errors import DarkroomError
from serve_app.messages import Progress


@dataclass(frozen=True, slots=True)
class Finished:
    """A generation's end: where the pixels lie (uint8, (samples, height, width, 3)), and what made them."""

    pixels: ray.ObjectRef
    sampler: str
    seconds: float


StreamEvent = Progress | Finished | DarkroomError
"""Any number of `Progress`, then one of the others, which ends the stream."""
