"""What a latent diffusion job is on its way: a draft before it is encoded, then one row a sample.

A row owns all its state. A batch is only a view of rows that is gathered for one call.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch
from torch import Tensor

from serve_app.engine.state import GroupKey
from serve_app.messages import Img2ImgJob
from serve_app.pipelines.lora import ActiveLora
from serve_app.pipelines.lora_files import LoraFile
from serve_app.pipelines.step_coefficients import StepCoefficients
from serve_app.pipelines.text import TextEmbeds
from serve_app.samplers.plan import Plan
from serve_app.samplers.table import Stepper

SHRINK = 8
"""Pixels on a side for each latent pixel: Stable Diffusion's autoencoders all have this factor."""

CHANNELS = 4
"""Of latents; `weights` refuses models with others."""
STEPPER_KEEPS = 8
"""Tensors of the latents' size that a row with a stepper holds at most: its own and the stepper's history."""

NOTHING = torch.empty(0)
"""Stands for a noise that was not drawn; a weight on it is an error of shapes."""


@dataclass(frozen=True, slots=True, eq=False)
class LatentDraft:
    """A job with its sampler planned and its LoRA files read."""

    job: Img2ImgJob
    plan: Plan
    coefficients: StepCoefficients
    loras: tuple[tuple[LoraFile, float], ...]
    """Files with strengths, in the job's order."""
    merged: bool
    """Whether tokens are merged."""
    text_bytes: int
    """Of one prompt's embeddings, as expected."""

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
        return 2 if self.guided and done >= self.coefficients.unconditional else 1

    @property
    def held(self) -> int:
        """As expected before it is encoded."""
        return (
            2 if self.guided or self.coefficients.unconditional else 1
        ) * self.text_bytes + self.kept * self.latent_bytes

    @property
    def latent_bytes(self) -> int:
        """Of one row's latents."""
        return CHANNELS * self.group.pixels * torch.float32.itemsize

    @property
    def kept(self) -> int:
        """Tensors of the latents' size that a row comes to hold: its own, noise drawn ahead, what it remembers, and
        what the job's other samples begin with, for all are encoded with the first."""
        own = STEPPER_KEEPS if self.coefficients.sums is None else 2 + 3 * (self.coefficients.reach + 1)
        return own + self.job.samples - 1

    @property
    def unet_loras(self) -> tuple[ActiveLora, ...]:
        """The UNet's part of this job's LoRAs."""
        return tuple(ActiveLora(file.unet, strength) for file, strength in self.loras)

    def text_loras(self, encoder: int) -> tuple[ActiveLora, ...]:
        """The part of this job's LoRAs of text encoder number `encoder`."""
        return tuple(ActiveLora(file.text_encoders[encoder], strength) for file, strength in self.loras)


@dataclass(slots=True, eq=False)
class LatentRow:
    """One sample in flight. Tensors lie on the model's device; latents, outputs and noises are float32."""

    draft: LatentDraft
    generator: torch.Generator
    """Sample i draws everything from seed + i, modulo 2^32, on the CPU."""
    latents: Tensor
    """(channels, height/8, width/8), in the sampler's own space and the coefficients' scale; written by `advance`."""
    prompt: TextEmbeds
    negative: TextEmbeds | None
    """There where the row is guided, or its sampler has unconditional evaluations."""
    stepper: Stepper | None
    """Where the sampler is no table: the row's own object."""
    done: int = 0
    """Evaluations made; written by `advance`."""
    noise: Future[Tensor] | None = None
    """Like `latents`, what the next evaluation's step adds, while or after it is drawn; written by `NoiseAhead`, taken
    by `advance`."""
    held: int = field(init=False)
    """Bytes, with all the history that it will have; texts that samples of a job share count for each."""
    past: tuple[deque[Tensor], deque[Tensor], deque[Tensor]] = field(init=False)
    """Samples, model outputs and noises (`NOTHING` where none was drawn), latest first, as many as a coefficient
    reaches; written by `remember`."""

    def __post_init__(self) -> None:
        most = self.draft.coefficients.reach + 1
        self.past = (deque(maxlen=most), deque(maxlen=most), deque(maxlen=most))
        texts = sum(text.nbytes for text in (self.prompt, self.negative) if text is not None)
        self.held = texts + self.draft.kept * self.latents.nbytes

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
        return self.draft.coefficients.input_scales[self.done]

    @property
    def timestep(self) -> float:
        """What the UNet is told."""
        return self.draft.coefficients.timesteps[self.done]

    @property
    def texts(self) -> Sequence[TextEmbeds]:
        """One for each UNet row of the next evaluation, the negative prompt first."""
        if self.width == 2:
            return [self._negative(), self.prompt]
        return [self._negative() if self.done < self.draft.coefficients.unconditional else self.prompt]

    def _negative(self) -> TextEmbeds:
        assert self.negative is not None
        return self.negative

    @property
    def draws(self) -> bool:
        """Whether the step after the next evaluation takes fresh noise."""
        return self.stepper is None and self.draft.coefficients.draws[self.done]

    def remember(self, output: Tensor, noise: Tensor) -> None:
        """Put what this evaluation saw before what earlier ones saw; what no coefficient reaches is forgotten."""
        samples, outputs, noises = self.past
        samples.appendleft(self.latents)
        outputs.appendleft(output.clone())  # a view would keep the whole call's output
        noises.appendleft(noise)

    def next_latents(self) -> Tensor:
        """The weighted sum that the coefficients says, over what is remembered."""
        assert self.draft.coefficients.sums is not None
        own, past = self.draft.coefficients.sums[self.done], self.past
        kind, ago = own.first
        others = iter(own.others)
        if own.weight is not None:
            latents = past[kind][ago] * own.weight
        else:
            first = past[kind][ago]
            weight, kind, ago = next(others)
            latents = torch.add(first, past[kind][ago], alpha=weight)
        for weight, kind, ago in others:
            latents.add_(past[kind][ago], alpha=weight)
        return latents
