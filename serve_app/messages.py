"""What crosses a process: frozen records of plain values and numpy arrays, no torch.

The ingress makes an `Img2ImgJob`, a diffusion replica answers with `Progress` and a
`Raster`, postprocess answers with `StoredImage`s.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from serve_app.errors import InvalidFields

Pixels = npt.NDArray[np.uint8]
"""RGB, shape (height, width, 3), 0..255."""

SAMPLER_NAMES = (
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "DPMSolverSinglestepScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "UniPCMultistepScheduler",
    "DDIMInverseScheduler",
    "DEISMultistepScheduler",
    "IPNDMScheduler",
    "KarrasVeScheduler",
    "ScoreSdeVeScheduler",
    "LCMScheduler",
)
"""The names a request may ask for, in the contract's order."""

LACKING_ALGORITHMS = {"DPMSolverSinglestepScheduler": ("sde-dpmsolver",)}
"""By sampler, those of its family's algorithm types that diffusers does not have for it."""


class SafetyType(StrEnum):
    """How a flagged picture is changed."""

    BLUR = "blur"
    CARD = "sensitive_content_text"
    PIXELATE = "pixelate"
    BLACK = "black"


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA of the catalogue and its strength."""

    id: str
    strength: float


@dataclass(frozen=True, slots=True)
class SamplerChoice:
    """Which sampler a job wants. `name` None means the model's own."""

    name: str | None = None
    karras: bool = True
    algorithm_type: str | None = None


@dataclass(frozen=True, slots=True)
class Img2ImgJob:
    """One request, complete and checked: everything that decides its pixels, and nothing else."""

    id: int
    model_id: str
    prompt: str
    negative_prompt: str
    init_image: Pixels
    """Already cropped to the job's size: shape (height, width, 3), both multiples of 8."""
    samples: int
    steps: int
    guidance_scale: float
    strength: float
    seed: int
    """Sample i uses seed + i, modulo 2^32."""
    sampler: SamplerChoice = SamplerChoice()
    clip_skip: int = 1
    """1 is the text encoder's last layer."""
    token_merging: bool = True
    vae: str | None = None
    loras: tuple[Lora, ...] = ()
    embeddings: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.init_image.shape[1])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.init_image.shape[0])


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is, counted in UNet evaluations of one row."""

    done: int
    total: int
    preview: Pixels | None = None
    """What the samples are becoming, (samples, height, width, 3) at an eighth of the side; only where previews were
    asked for."""


@dataclass(frozen=True, slots=True)
class Raster:
    """A finished generation: uint8 RGB of shape (samples, height, width, 3), and what made it."""

    pixels: npt.NDArray[np.uint8]
    sampler: str
    """The class name that really ran."""
    seconds: float
    """From the first UNet evaluation's start to the last decode's end."""
    queued_s: float = 0.0
    """From the engine taking the job to that start."""


@dataclass(frozen=True, slots=True)
class PngTexts:
    """What one picture's PNG says of how it was made."""

    parameters: str
    """As web UIs write it."""
    recipe: str
    """In our own names, as JSON."""
    replaced_parameters: str
    """The same of a picture that the safety filter replaced; so is the next."""
    replaced_recipe: str


@dataclass(frozen=True, slots=True)
class FinishOrder:
    """What postprocess does to a raster."""

    job_id: int
    file_prefix: str
    """A UUID; pictures are named after it, see `picture_names`."""
    temporary: bool
    """Whether the job's links expire."""
    safety_check: bool
    safety_type: SafetyType
    texts: tuple[PngTexts, ...]
    """One for each sample."""
    deadline_at: float
    """Seconds since 1970: until then a store that does not take the pictures is tried again."""
    model_id: str = ""
    """Whose safety checker judges them; a model that is not in the catalogue has none."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One finished picture that is in the store under `name`."""

    name: str
    flagged: bool


MOST_BREAKS = 16
"""In one prompt: a `BREAK` is six characters and opens a row of the text encoder, so many of them are an attack."""


def require_few_breaks(prompts: Mapping[str, Iterable[tuple[str, float]]]) -> None:
    """Raises InvalidFields for prompts, by field and parsed, with too many BREAKs, which are fragments without text."""
    said = "The {} may not have more than {} BREAKs."
    bad = [name for name, fragments in prompts.items() if sum(not text for text, _ in fragments) > MOST_BREAKS]
    if bad:
        raise InvalidFields({name: [said.format(name.replace("_", " "), MOST_BREAKS)] for name in bad})


SEEDS = 2**32
"""How many there are: 0 to this, without it."""


def seed_of(seed: int, sample: int) -> int:
    """The seed of one sample of a job."""
    return (seed + sample) % SEEDS


TEMPORARY_FOLDER = "temp/"
"""What the names of pictures start with whose links expire, so that no permanent link reaches them."""


def picture_names(file_prefix: str, samples: int, temporary: bool) -> tuple[str, ...]:
    """The names in the store of a job's pictures: <uuid>-<n>.png, in a folder of their own where they are temporary."""
    folder = TEMPORARY_FOLDER if temporary else ""
    return tuple(f"{folder}{file_prefix}-{n}.png" for n in range(samples))


def is_temporary(name: str) -> bool:
    """Whether this name is of a picture whose links expire."""
    return name.startswith(TEMPORARY_FOLDER)


PERMANENT_CACHE = "public, max-age=31536000, immutable"
TEMPORARY_CACHE = "private, no-store"


def cache_control(name: str) -> str:
    """The Cache-Control header of the answer that holds a picture, whether we or a bucket give it."""
    return TEMPORARY_CACHE if is_temporary(name) else PERMANENT_CACHE
