"""The catalogue: which models there are, and how the deployment of each runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from serve_app.config.part import Name, Part
from serve_app.config.places import NO_CHECKER, CheckerPath, FoundPath, Source, in_project, is_there
from serve_app.config.wording import meant
from serve_app.messages import SAMPLER_NAMES

POCKET_SOURCE = "models/pocket/checkpoint"
POCKET_FOLDER = in_project(POCKET_SOURCE)


class Enhancement(Part):
    """What enhance_prompt adds."""

    suffix: str = "best quality, sharp focus, highly detailed"
    negative: str = "blurry, low quality"


class Weights(Part):
    """Something of the catalogue besides models: a VAE, a LoRA, a textual inversion."""

    id: Name
    source: FoundPath
    """A file or folder: absolute, or relative to the configuration's file, else to the project's root."""

    @property
    def path(self) -> Path:
        """Where it lies on disk."""
        return in_project(self.source)


class ModelEntry(Part):
    """One model that clients name by `model_id`, and how its deployment runs."""

    id: Name
    source: Source
    """A diffusers folder, a single safetensors file, or a hub id. A relative path is looked for beside the
    configuration's file, then in the project."""
    family: Literal["sd", "sdxl"] = "sd"
    """sd: Stable Diffusion 1.x and 2.x. sdxl: Stable Diffusion XL."""
    config: Source | None = None
    """For a single file: a diffusers folder or hub id with the model's configuration and tokenizers.
    None: what diffusers takes for such a file, from the hub."""
    safety: CheckerPath | None = None
    """A folder that holds safety_checker/ and feature_extractor/, as diffusers writes them; or `none`: then requests
    that ask for a check are refused. None: the pocket model's own, and for any other model no start."""
    title: str = ""
    description: str = ""
    default_sampler: str = "DDIMScheduler"
    enhancement: Enhancement = Enhancement()
    vaes: tuple[Weights, ...] = ()
    loras: tuple[Weights, ...] = ()
    embeddings: tuple[Weights, ...] = ()
    device: str = "auto"
    """A torch device, or auto: cuda where there is one."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    torch_threads: int | None = Field(None, ge=1)
    max_jobs: int = Field(256, ge=1)
    """Jobs that a replica takes, those in flight counted; more are told that it is overloaded."""
    rows_per_call: int | None = Field(None, ge=1)
    """UNet rows of one call at `knee_pixels`; a guided sample is two. More trade the latency of short jobs for
    throughput. None: a replica measures its device's knee when it starts (`pipelines.knee`)."""
    knee_pixels: int = Field(512 * 512, ge=64 * 64)
    """The picture size, in pixels, that `rows_per_call` is meant for; smaller pictures get more rows."""
    flight_bytes: int | None = Field(None, ge=0)
    """What samples in flight may hold on the device between calls: latents, embeddings, a sampler's history. Further
    ones wait; one may always run. None: a share of the device's memory (`pipelines.memory`)."""
    prompt_cache_bytes: int = Field(64 * 2**20, ge=0)
    picture_cache_bytes: int = Field(64 * 2**20, ge=0)
    text_kv_bytes: int = Field(32 * 2**20, ge=0)
    """What cross-attention's keys and values of texts may hold on the device, beside those of the last call; 0 makes
    them again in each call. Only for pictures up to 128 × 128, where it pays."""
    lora_bytes: int = Field(512 * 2**20, ge=0)
    """What the files of LoRAs may hold on the device, those in use by jobs in flight not counted; the sets that rows
    in one call may hold as much again for each network."""
    num_replicas: int = Field(1, ge=1)
    num_cpus: float = Field(0.5, ge=0)
    num_gpus: float = Field(0.0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _rows_in_flight_is_gone(cls, told: object) -> object:
        if isinstance(told, dict) and "rows_in_flight" in told:
            raise ValueError(
                "rows_in_flight is gone: samples in flight are bounded by the bytes that they hold, which flight_bytes "
                "sets. Take rows_in_flight away; without flight_bytes a replica takes a share of its device's memory"
            )
        return told

    @field_validator("default_sampler")
    @classmethod
    def _sampler_is_known(cls, name: str) -> str:
        if name not in SAMPLER_NAMES:
            raise ValueError(f"{name!r} is no sampler{meant(name, SAMPLER_NAMES) or _one_of(SAMPLER_NAMES)}")
        return name

    @property
    def checker(self) -> Path | None:
        """The folder of its safety checker, where it has one."""
        if self.safety is None:
            return POCKET_FOLDER if Path(self.path_or_hub_id) == POCKET_FOLDER else None
        return None if self.goes_unchecked else in_project(self.safety)

    @property
    def goes_unchecked(self) -> bool:
        """Whether it says that it has no safety checker."""
        return self.safety == NO_CHECKER

    @property
    def path_or_hub_id(self) -> str:
        """The source as diffusers takes it: a path where one is there, else the text itself."""
        return _path_or_text(self.source)

    @property
    def config_or_hub_id(self) -> str | None:
        """The configuration's source in the same way."""
        return None if self.config is None else _path_or_text(self.config)


def _one_of(names: Sequence[str]) -> str:
    return f"; there are {', '.join(names)}"


def _path_or_text(source: str) -> str:
    path = in_project(source)
    return str(path) if is_there(path) else source


POCKET = ModelEntry(
    id="pocket",
    source=POCKET_SOURCE,
    safety=POCKET_SOURCE,
    title="Pocket",
    description="The embedded model: one thing on a plain ground, in eight colours.",
    enhancement=Enhancement(suffix="high quality, sharp focus", negative="blurry, low quality"),
    vaes=(Weights(id="pastel", source="models/pocket/extras/vae-pastel"),),
    loras=(
        Weights(id="stripes", source="models/pocket/extras/lora-stripes.safetensors"),
        Weights(id="frame", source="models/pocket/extras/lora-frame.safetensors"),
    ),
    embeddings=(Weights(id="dusk", source="models/pocket/extras/embedding-dusk.safetensors"),),
    rows_per_call=16,
    knee_pixels=64 * 64,
)
