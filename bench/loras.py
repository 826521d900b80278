"""LoRA files for the benchmark: small random weights of rank 8, in both namings, one with a text encoder part."""

from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionImg2ImgPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from models.pocket.training.styles import to_kohya

RANK = 8
SCALE = 0.1
UNET_TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"]
TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
"""What kohya's trainer adapts unless told otherwise."""
NAMES = ("ink", "haze", "grain")


def make_loras(checkpoint: Path, folder: Path) -> dict[str, Path]:
    """Write the three files for the model in `checkpoint`; gives them by name."""
    parts = StableDiffusionImg2ImgPipeline.from_pretrained(checkpoint, safety_checker=None)
    unets = {name: random_lora(parts.unet, UNET_TARGETS, seed, SCALE) for seed, name in enumerate(NAMES)}
    text = random_lora(parts.text_encoder, TEXT_TARGETS, len(NAMES), SCALE)
    files = {name: folder / f"{name}.safetensors" for name in NAMES}
    save = StableDiffusionImg2ImgPipeline.save_lora_weights
    save(folder, unet_lora_layers=unets["ink"], weight_name=files["ink"].name)
    save_file(to_kohya(unets["haze"]), files["haze"])
    save(
        folder, unet_lora_layers=unets["grain"], text_encoder_lora_layers=text, weight_name=files["grain"].name
    )  # fmt: skip
    return files


def random_lora(network: Any, targets: list[str], seed: int, scale: float) -> dict[str, torch.Tensor]:  # noqa: ANN401
    """Random weights of rank 8 by peft's names; the network gets an adapter of its own for each seed."""
    torch.manual_seed(seed)
    name = f"random-{seed}"
    network.add_adapter(
        LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights=False, target_modules=targets), adapter_name=name
    )
    weights = get_peft_model_state_dict(network, adapter_name=name)
    return {key: (scale * weight).contiguous() for key, weight in weights.items()}
