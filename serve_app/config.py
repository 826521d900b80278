"""The configuration: parsed once, frozen, unknown keys refused. The only reader of the environment."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from serve_app.errors import ConfigError
from serve_app.messages import SAMPLER_NAMES

PROJECT = Path(__file__).parent.parent
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Part(BaseModel):
    """What every part of the configuration keeps to."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KeyEntry(Part):
    """One client's key, as its SHA-256 in lower-case hex; the key itself is not kept."""

    name: Name
    sha256: Sha256


class AuthConfig(Part):
    """Who may call. Without keys here, the first start makes one and keeps its hash in the data directory."""

    keys: tuple[KeyEntry, ...] = ()


class ApiConfig(Part):
    """How the ingress talks."""

    public_url: str | None = None
    """Links start with this, e.g. https://images.example.com; None: with the host the client used."""
    errors_as_200: bool = False
    """Answer application errors with HTTP 200, as the hosted API did in 2023."""
    max_body_bytes: int = Field(32 * 2**20, gt=0)
    job_deadline_s: float = Field(600.0, gt=0)


class InputsConfig(Part):
    """What an init image may be."""

    max_image_bytes: int = Field(16 * 2**20, gt=0)
    max_image_pixels: int = Field(40_000_000, gt=0)
    decode_timeout_s: float = Field(10.0, gt=0)
    fetch_timeout_s: float = Field(10.0, gt=0)
    max_redirects: int = Field(3, ge=0)
    allowed_networks: tuple[Network, ...] = ()
    """Private networks that init image URLs may point into, e.g. 10.1.0.0/16. None by default."""


class Enhancement(Part):
    """What enhance_prompt adds."""

    suffix: str = "best quality, sharp focus, highly detailed"
    negative: str = "blurry, low quality"


class Weights(Part):
    """Something of the catalogue besides models: a VAE, a LoRA, a textual inversion."""

    id: Name
    source: str
    """A file or folder, relative to the project's root or absolute."""

    @property
    def path(self) -> Path:
        """Where it lies on disk."""
        return PROJECT / self.source


class ModelEntry(Part):
    """One model that clients name by `model_id`, and how its deployment runs."""

    id: Name
    source: str
    """A diffusers folder, a single safetensors file, or a hub id."""
    family: Literal["sd", "sdxl"] = "sd"
    """sd: Stable Diffusion 1.x and 2.x. sdxl: Stable Diffusion XL."""
    config: str | None = None
    """For a single file: a diffusers folder or hub id with the model's configuration and tokenizers.
    None: what diffusers takes for such a file, from the hub."""
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
    rows_per_call: int = Field(16, ge=1)
    """UNet rows of one call at `knee_pixels`; a guided sample is two. More than the device's knee only adds latency."""
    knee_pixels: int = Field(512 * 512, gt=0)
    """The picture size, in pixels, that `rows_per_call` was measured at; smaller pictures get more rows."""
    rows_in_flight: int = Field(64, ge=1)
    """Samples at `knee_pixels` that may hold memory between calls."""
    prompt_cache_bytes: int = Field(64 * 2**20, ge=0)
    picture_cache_bytes: int = Field(64 * 2**20, ge=0)
    lora_bytes: int = Field(512 * 2**20, ge=0)
    """What the files of LoRAs may hold on the device, those in use by jobs in flight not counted; the sets that rows
    wear together may hold as much again for each network."""
    num_replicas: int = Field(1, ge=1)
    num_cpus: float = Field(0.5, ge=0)
    num_gpus: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _sampler_is_known(self) -> Self:
        if self.default_sampler not in SAMPLER_NAMES:
            raise ValueError(f"default_sampler {self.default_sampler!r} is not one of {', '.join(SAMPLER_NAMES)}")
        return self

    @property
    def path_or_hub_id(self) -> str:
        """The source as diffusers takes it: a path where one is there, else the text itself."""
        return _path_or_text(self.source)

    @property
    def config_or_hub_id(self) -> str | None:
        """The configuration's source in the same way."""
        return None if self.config is None else _path_or_text(self.config)


def _path_or_text(source: str) -> str:
    path = PROJECT / source
    return str(path) if path.exists() else source


POCKET = ModelEntry(
    id="pocket",
    source="models/pocket/checkpoint",
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


class PostprocessConfig(Part):
    """The last deployment: safety filter, encoding, storage."""

    safety_checker: str = "models/pocket/checkpoint"
    """A diffusers folder that holds safety_checker/ and feature_extractor/."""
    data_dir: str = "data"
    """Where pictures and the key file lie, relative to the project's root or absolute."""
    num_replicas: int = Field(1, ge=1)
    num_cpus: float = Field(0.2, ge=0)
    torch_threads: int = Field(1, ge=1)

    @property
    def data_path(self) -> Path:
        """The data directory as a path."""
        return PROJECT / self.data_dir

    @property
    def pictures_path(self) -> Path:
        """Where finished pictures lie."""
        return self.data_path / "pictures"

    @property
    def safety_folder(self) -> Path:
        """The safety checker's folder as a path."""
        return PROJECT / self.safety_checker


class IngressConfig(Part):
    """The first deployment: as many replicas as HTTP traffic needs."""

    num_replicas: int = Field(1, ge=1)
    num_cpus: float = Field(0.2, ge=0)


class AppConfig(Part):
    """Everything an operator turns. The defaults serve the pocket model from one machine without a GPU."""

    catalogue: tuple[ModelEntry, ...] = Field((POCKET,), min_length=1)
    default_model: str | None = None
    """The model of the routes without model_id; None: the catalogue's first."""
    auth: AuthConfig = AuthConfig()
    api: ApiConfig = ApiConfig()
    inputs: InputsConfig = InputsConfig()
    ingress: IngressConfig = IngressConfig()
    postprocess: PostprocessConfig = PostprocessConfig()

    @model_validator(mode="after")
    def _ids_agree(self) -> Self:
        ids = [entry.id for entry in self.catalogue]
        if len(set(ids)) < len(ids):
            raise ValueError(f"two models of the catalogue share an id: {', '.join(ids)}")
        if self.default_model is not None and self.default_model not in ids:
            raise ValueError(f"default_model {self.default_model!r} is not in the catalogue: {', '.join(ids)}")
        return self

    @property
    def default_model_id(self) -> str:
        """The model of a request that names none."""
        return self.default_model or self.catalogue[0].id


def load_config(file: Path | None = None) -> AppConfig:
    """The configuration in a YAML file, or the defaults; DARKROOM_DATA_DIR overrides `postprocess.data_dir`.

    Raises ConfigError with every fault of the file.
    """
    try:
        values = {} if file is None else yaml.safe_load(file.read_text()) or {}
        config = AppConfig.model_validate(values)
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"{file}: {error}") from error
    data_dir = os.environ.get("DARKROOM_DATA_DIR")
    if data_dir is None:
        return config
    return config.model_copy(update={"postprocess": config.postprocess.model_copy(update={"data_dir": data_dir})})
