"""Writes what makes the checkpoint one pipeline: the list of its parts and their classes."""

import json

import diffusers

from models.pocket.training.run import CHECKPOINT

PARTS = {
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "unet": ("diffusers", "UNet2DConditionModel"),
    "scheduler": ("diffusers", "DDIMScheduler"),
    "safety_checker": ("stable_diffusion", "StableDiffusionSafetyChecker"),
    "feature_extractor": ("transformers", "CLIPImageProcessor"),
    "image_encoder": (None, None),
}


def write_index() -> None:
    """Write model_index.json in the layout of StableDiffusionPipeline."""
    index = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": diffusers.__version__}
    CHECKPOINT.joinpath("model_index.json").write_text(
        json.dumps({**index, **PARTS, "requires_safety_checker": True}, indent=2) + "\n"
    )
