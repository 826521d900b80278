"""Small random LoRAs for the pocket model, in diffusers' naming."""

from pathlib import Path

import torch
from diffusers import StableDiffusionImg2ImgPipeline
from safetensors.torch import save_file

from bench import loras
from serve_app.config import POCKET, PROJECT, Weights

CHECKPOINT = PROJECT / POCKET.source
UNET_TARGETS = ["to_q", "to_v", "to_out.0", "conv1", "proj_in", "ff.net.2"]
TEXT_TARGETS = ["q_proj", "v_proj", "out_proj", "fc1"]
SCALE = 0.2


def random_lora(part: str, seed: int) -> dict[str, torch.Tensor]:
    """Weights by peft's names for the pocket model's `unet` or `text_encoder`."""
    network = getattr(StableDiffusionImg2ImgPipeline.from_pretrained(CHECKPOINT, safety_checker=None), part)
    return loras.random_lora(network, UNET_TARGETS if part == "unet" else TEXT_TARGETS, seed, SCALE)


def lora_entries(folder: Path, count: int) -> tuple[Weights, ...]:
    """Catalogue entries of `count` LoRA files that this makes."""
    for seed in range(count):
        weights = {f"unet.{name}": weight for name, weight in random_lora("unet", seed).items()}
        save_file(weights, folder / f"random-{seed}.safetensors")
    return tuple(
        Weights(id=f"random-{seed}", source=str(folder / f"random-{seed}.safetensors")) for seed in range(count)
    )
