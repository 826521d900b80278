"""What a latent diffusion job is on its way: a draft before it is encoded, then one row a sample.

A row owns all its state. A batch is only a view of rows that is gathered for one call.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from serve_app.engine.state import GroupKey
from serve_app.messages import Img2ImgJob
from serve_app.pipelines.lora import Worn
from serve_app.pipelines.lora_files import LoraFile
from serve_app.pipelines.text import TextEmbeds
from serve_app.samplers.plan import Plan
from serve_app.samplers.table import NOISE, OUTPUT, SAMPLE, Stepper

SHRINK = 8
"""Pixels on a side for each latent pixel: Stable Diffusion's autoencoders all have this factor."""


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """A sampler's plan as plain numbers, which the step thread reads fastest. All have one entry an evaluation."""

    timesteps: list[float]
    input_scales: list[float]
    coefficients: list[list[float]] | None
    """Rows of a `SamplerTable`; None where each row has a stepper."""
    draws: tuple[bool, ...]
    start: tuple[float, float]
    unconditional: int
    reach: int


def course_of(plan: Plan) -> Course:
    """The numbers of a plan."""
    table = plan.table
    facts = plan.stepper() if table is None else table
    return Course(
        timesteps=facts.timesteps.tolist(),
        input_scales=facts.input_scales.tolist(),
        coefficients=None if table is None else table.coefficients.tolist(),
        draws=() if table is None else table.draws,
        start=facts.start,
        unconditional=facts.unconditional,
        reach=0 if table is None else table.reach,
    )


@dataclass(frozen=True, slots=True, eq=False)
class LatentDraft:
    """A job with its sampler planned and its LoRA files read."""

    job: Img2ImgJob
    plan: Plan
    course: Course
    loras: tuple[tuple[LoraFile, float], ...]
    """Files with strengths, in the job's order."""
    merged: bool
    """Whether tokens are merged."""

    @property
    def group(self) -> GroupKey:
        """Latent size, and whether tokens are merged."""
        return GroupKey(self.job.height // SHRINK, self.job.width // SHRINK, self.merged)

    @property
    def sampler(self) -> str:
        """The class name that runs."""
        return self.plan.sampler

    @property
    def evaluations(self) -> int:
        """UNet evaluations of one row."""
        return self.plan.evaluations

    @property
    def guided(self) -> bool:
        """Whether rows have an unconditional twin."""
        return self.job.guidance_scale > 1

    @property
    def width(self) -> int:
        """UNet rows of a row's first evaluation."""
        return self.width_at(0)

    def width_at(self, done: int) -> int:
        """UNet rows of the evaluation after `done`."""
        return 2 if self.guided and done >= self.course.unconditional else 1

    @property
    def unet_worn(self) -> tuple[Worn, ...]:
        """What the UNet wears for this job's rows."""
        return tuple(Worn(file.unet, strength) for file, strength in self.loras)

    def text_worn(self, encoder: int) -> tuple[Worn, ...]:
        """What text encoder number `encoder` wears for this job's prompts."""
        return tuple(Worn(file.text_encoders[encoder], strength) for file, strength in self.loras)


@dataclass(slots=True, eq=False)
class LatentRow:
    """One sample in flight. Tensors lie on the model's device; latents, outputs and noises are float32."""

    draft: LatentDraft
    generator: torch.Generator
    """Sample i draws everything from seed + i, modulo 2^32, on the CPU."""
    latents: Tensor
    """(channels, height/8, width/8), in the sampler's own space; written by `advance`."""
    prompt: TextEmbeds
    negative: TextEmbeds | None
    """There where the row is guided, or its sampler has unconditional evaluations."""
    stepper: Stepper | None
    """Where the sampler is no table: the row's own object."""
    done: int = 0
    """Evaluations made; written by `advance`."""
    samples: list[Tensor] = field(default_factory=list)
    """x[i], x[i-1], ...: latest first, written by `advance`; so are the two below."""
    outputs: list[Tensor] = field(default_factory=list)
    noises: list[Tensor | None] = field(default_factory=list)
    """None where none was drawn."""

    @property
    def remaining(self) -> int:
        """UNet evaluations to come."""
        return self.draft.evaluations - self.done

    @property
    def width(self) -> int:
        """UNet rows of the next evaluation."""
        return self.draft.width_at(self.done)

    @property
    def input_scale(self) -> float:
        """The UNet's input is this times the latents."""
        return self.draft.course.input_scales[self.done]

    @property
    def timestep(self) -> float:
        """What the UNet is told."""
        return self.draft.course.timesteps[self.done]

    @property
    def texts(self) -> Sequence[TextEmbeds]:
        """One for each UNet row of the next evaluation, the negative prompt first."""
        if self.width == 2:
            return [self._negative(), self.prompt]
        return [self._negative() if self.done < self.draft.course.unconditional else self.prompt]

    def _negative(self) -> TextEmbeds:
        assert self.negative is not None
        return self.negative

    def remember(self, output: Tensor, noise: Tensor | None) -> None:
        """Put what this evaluation saw before what earlier ones saw; what no coefficient reaches is forgotten."""
        keep = self.draft.course.reach + 1
        self.samples = [self.latents, *self.samples][:keep]
        self.outputs = [output, *self.outputs][:keep]
        self.noises = [noise, *self.noises][:keep]

    def terms(self) -> list[tuple[float, Tensor]]:
        """What the next latents are the sum of: the coefficients that count, each with its tensor."""
        assert self.draft.course.coefficients is not None
        row = self.draft.course.coefficients[self.done]
        kinds = ((SAMPLE, self.samples), (OUTPUT, self.outputs), (NOISE, self.noises))
        seen = ((weight, value) for first, past in kinds for weight, value in zip(row[first:], past, strict=False))
        return [(weight, value) for weight, value in seen if weight != 0.0 and value is not None]
