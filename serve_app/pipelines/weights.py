"""Reads a model's weights: a diffusers folder, a hub id, or one safetensors file. Never pickle.

Refuses at load what would only fail, or draw nonsense, at the first job.
"""

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import SingleFileComponentError
from safetensors import SafetensorError, safe_open

from serve_app.config import ModelEntry
from serve_app.errors import ConfigError, GenerationFailed
from serve_app.pipelines.memory import bound_memory
from serve_app.pipelines.refusal import refused

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
CHANNELS, LEVELS = 4, 4
"""What every Stable Diffusion has: latents of four channels, and three halvings from pixels to them."""
MIN_WORDS = 0.5
"""Where there is no tokenizer's file, transformers makes one of a few words without a word about it. A tokenizer
has to know this share of its encoder's vocabulary."""
FAMILIES = {None: "sd", "text_time": "sdxl"}
"""The family of a UNet by what it wants to be told besides text (diffusers' `addition_embed_type`)."""
UNREADABLE = (
    OSError, ValueError, RuntimeError, SafetensorError, SingleFileComponentError,
    KeyError, TypeError, AttributeError,
)  # fmt: skip
"""What diffusers raises for sources that are missing, broken or foreign; the last three where names are not there."""


def pick_device(entry: ModelEntry) -> torch.device:
    """The entry's device; auto is cuda where there is one."""
    if entry.device != "auto":
        return torch.device(entry.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_dtype(entry: ModelEntry, device: torch.device) -> torch.dtype:
    """The entry's dtype; auto is float32 on a CPU and float16 elsewhere."""
    if entry.dtype != "auto":
        return DTYPES[entry.dtype]
    return torch.float32 if device.type == "cpu" else torch.float16


def set_threads(entry: ModelEntry) -> None:
    """Give torch the entry's threads, or all cores: Ray sets OMP_NUM_THREADS to one for a small actor."""
    torch.set_num_threads(entry.torch_threads or os.cpu_count() or 1)


def load_components(entry: ModelEntry, shelf: type[Any]) -> Any:  # noqa: ANN401 (a pipeline of class `shelf`)
    """The model's parts in diffusers' own container `shelf`, on the entry's device, in eval mode.

    The container serves as a shelf and a loader; its `__call__` is never used.
    The safety checker is left out: it belongs to postprocess. Raises `ConfigError` for weights that
    cannot be read, or are of a model that this server does not run.
    """
    bound_memory()
    device = pick_device(entry)
    unused = {"safety_checker": None, "requires_safety_checker": False, "feature_extractor": None}
    known = inspect.signature(shelf.__init__).parameters
    options = {"dtype": pick_dtype(entry, device), **{name: part for name, part in unused.items() if name in known}}
    try:
        parts = _read(entry, shelf, options).to(device)
    except UNREADABLE as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"model {entry.id!r}: cannot load {entry.path_or_hub_id!r}: {reason}") from error
    if reasons := _misfits(entry, parts):
        raise ConfigError(f"model {entry.id!r}: cannot run {entry.path_or_hub_id!r}: {'; '.join(reasons)}")
    return parts


def load_vae(name: str, source: Path, like: AutoencoderKL) -> AutoencoderKL:
    """An alternative VAE from a diffusers folder or one safetensors file, as the model's own on device and dtype.

    A single file is taken to be of the model's own architecture and scale: it does not say.
    Raises `InvalidFields` if it is none or does not fit, `GenerationFailed` if it is not there.
    """
    try:
        vae = _read_vae(source, like).to(like.device).eval()
    except UNREADABLE as error:
        if not source.exists() or isinstance(error, torch.OutOfMemoryError):
            raise GenerationFailed(f"VAE {source} cannot be read now: {type(error).__name__}: {error}") from error
        raise refused("vae", name, "it cannot be read") from error
    if reasons := _vae_misfits(vae):
        raise refused("vae", name, "; ".join(reasons))
    return vae


def _read(entry: ModelEntry, shelf: type[Any], options: dict[str, Any]) -> Any:  # noqa: ANN401 (a diffusers pipeline)
    source = entry.path_or_hub_id
    if not Path(source).is_file():
        return shelf.from_pretrained(source, use_safetensors=True, **options)
    with _proven_safetensors(Path(source)) as file:
        return shelf.from_single_file(file, config=entry.config_or_hub_id, **options)


def _read_vae(source: Path, like: AutoencoderKL) -> AutoencoderKL:
    if not source.is_file():
        return AutoencoderKL.from_pretrained(source, dtype=like.dtype, use_safetensors=True)
    with _proven_safetensors(source) as file, TemporaryDirectory() as config:
        like.save_config(config)
        return AutoencoderKL.from_single_file(file, config=config, dtype=like.dtype)


@contextmanager
def _proven_safetensors(file: Path) -> Iterator[str]:
    """The file under a name that says what it is, for diffusers judges by the suffix and unpickles all others.

    Raises `ValueError` where the content is something else.
    """
    try:
        with safe_open(file, "pt"):
            pass
    except SafetensorError as error:
        raise ValueError(f"not a safetensors file ({error}); pickle files are never read") from error
    with TemporaryDirectory() as folder:
        link = Path(folder) / "model.safetensors"
        link.symlink_to(file.resolve())
        yield str(link)


def _misfits(entry: ModelEntry, parts: Any) -> list[str]:  # noqa: ANN401 (a diffusers pipeline of any family)
    """Why this server cannot run the model; nothing where it can."""
    unet = parts.unet.config
    family = FAMILIES.get(unet.addition_embed_type)
    judged = {
        f"its UNet takes {unet.in_channels} channels and not {CHANNELS}, as those that inpaint or upscale do": (
            unet.in_channels != CHANNELS
        ),
        f"its UNet is of family {family or 'unknown'}, the catalogue says {entry.family}": family != entry.family,
        "its UNet is distilled for a guidance input, which it would not get": unet.time_cond_proj_dim is not None,
    }
    return [reason for reason, holds in judged.items() if holds] + _text_misfits(parts) + _vae_misfits(parts.vae)


def _text_misfits(parts: Any) -> list[str]:  # noqa: ANN401 (a diffusers pipeline of any family)
    if parts.text_encoder is None or parts.tokenizer is None:
        return ["it lacks a text encoder, as refiners do"]
    towers = [("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2")]
    present = [(name, encoder) for name, encoder in towers if getattr(parts, encoder, None) is not None]
    return [
        f"its {name} is missing"
        for name, encoder in present
        if len(getattr(parts, name)) < MIN_WORDS * getattr(parts, encoder).config.vocab_size
    ]


def _vae_misfits(vae: AutoencoderKL) -> list[str]:
    if not isinstance(vae, AutoencoderKL):
        return [f"its VAE is a {type(vae).__name__} and not an AutoencoderKL"]
    config = vae.config
    factor = 2 ** (len(config.block_out_channels) - 1)
    judged = {
        f"its VAE has {factor} pixels a side for each latent pixel and not 8": len(config.block_out_channels) != LEVELS,
        f"its VAE has {config.latent_channels} latent channels and not {CHANNELS}": config.latent_channels != CHANNELS,
        "its VAE shifts its latents": any((config.latents_mean, config.latents_std, config.shift_factor)),
    }
    return [reason for reason, holds in judged.items() if holds]
