"""Reads a model's weights: a diffusers folder, a hub id, or one safetensors file. Never pickle."""

import os
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionImg2ImgPipeline

from serve_app.config import ModelEntry
from serve_app.errors import ConfigError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


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


def load_components(entry: ModelEntry) -> StableDiffusionImg2ImgPipeline:
    """The model's parts in diffusers' own container, on the entry's device, in eval mode.

    The container serves as a shelf and a loader; its `__call__` is never used.
    The safety checker is left out: it belongs to postprocess.
    """
    device = pick_device(entry)
    options = {"dtype": pick_dtype(entry, device), "safety_checker": None, "requires_safety_checker": False}
    source = entry.path_or_hub_id
    try:
        if Path(source).is_file():
            parts = StableDiffusionImg2ImgPipeline.from_single_file(source, **options)
        else:
            parts = StableDiffusionImg2ImgPipeline.from_pretrained(
                source, use_safetensors=True, feature_extractor=None, **options
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"model {entry.id!r}: cannot load {source!r}: {error}") from error
    return parts.to(device)


def load_vae(folder: Path, like: AutoencoderKL) -> AutoencoderKL:
    """An alternative VAE from a diffusers folder or one safetensors file, as the model's own on device and dtype."""
    if folder.is_file():
        vae = AutoencoderKL.from_single_file(str(folder), dtype=like.dtype)
    else:
        vae = AutoencoderKL.from_pretrained(folder, dtype=like.dtype, use_safetensors=True)
    return vae.to(like.device).eval()
