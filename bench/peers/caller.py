"""diffusers' own pipeline, called as a careful user calls it.

LoRA files are loaded once and switched only where the next call wears others; scheduler objects are
made once a configuration and copied, since making some of them takes half a second.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch

from serve_app.messages import Img2ImgJob, Lora, Pixels, SamplerChoice
from serve_app.samplers.names import build_sampler


class Caller:
    """One pipeline. Not safe to use from several threads, but for `sampler` and `call` on copies of it."""

    def __init__(self, pipeline: Any) -> None:  # noqa: ANN401 (diffusers' class is untyped)
        self.pipeline = pipeline
        self._base = dict(pipeline.scheduler.config)
        self._made: dict[SamplerChoice, Any] = {}
        self._worn: tuple[Lora, ...] = ()

    def sampler(self, choice: SamplerChoice) -> Any:  # noqa: ANN401
        """A fresh scheduler object."""
        if choice not in self._made:
            self._made[choice] = build_sampler(choice, "DDIMScheduler", self._base)
        return deepcopy(self._made[choice])

    def wear(self, loras: tuple[Lora, ...]) -> None:
        """Switch to a LoRA set, unless it is worn already."""
        if loras == self._worn:
            return
        if loras:
            self.pipeline.enable_lora()
            self.pipeline.set_adapters([lora.id for lora in loras], [lora.strength for lora in loras])
        else:
            self.pipeline.disable_lora()
        self._worn = loras

    def run(self, jobs: Sequence[Img2ImgJob]) -> list[Pixels]:
        """One call for jobs that agree."""
        self.wear(jobs[0].loras)
        self.pipeline.scheduler = self.sampler(jobs[0].sampler)
        return call(self.pipeline, jobs)


@torch.inference_mode()
def call(pipeline: Any, jobs: Sequence[Img2ImgJob]) -> list[Pixels]:  # noqa: ANN401
    """One call of `pipeline`, whose scheduler and LoRAs are set, for jobs that agree in everything else."""
    first = jobs[0]
    pictures = torch.from_numpy(np.stack([job.init_image for job in jobs])).permute(0, 3, 1, 2) / 255
    made = pipeline(
        [job.prompt for job in jobs], pictures, negative_prompt=[job.negative_prompt for job in jobs],
        strength=first.strength, num_inference_steps=first.steps, guidance_scale=first.guidance_scale,
        generator=[torch.Generator().manual_seed(job.seed) for job in jobs], output_type="np",
    ).images  # fmt: skip
    return list((made * 255).round().astype(np.uint8))
