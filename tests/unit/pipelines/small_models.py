"""Models of the three families at tiny sizes with random weights: Stable Diffusion 1.x, 2.x and XL.

Their blocks, text encoders and configurations are those of the real ones; only widths and depths are not.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionXLImg2ImgPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from serve_app.config import POCKET, PROJECT
from tests.unit.pipelines.original_names import original_names

Pipeline = Any
"""A pipeline of diffusers' own, which are untyped."""
TOKENIZER = PROJECT / POCKET.source / "tokenizer"
FAMILIES = {"sd1": "sd", "sd2": "sd", "sdxl": "sdxl"}
"""Small models by name, with the family that a catalogue entry names."""
SD_BLOCKS = {
    "down_block_types": (*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
    "block_out_channels": (8, 16, 16, 16),
}
XL_BLOCKS = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (8, 16, 16),
    "transformer_layers_per_block": (1, 1, 2),
}


def make_model(name: str, **unet: Any) -> Pipeline:  # noqa: ANN401 (diffusers' own)
    """The small model `name` of `FAMILIES` as diffusers' own pipeline; `unet` overrides its UNet's configuration."""
    torch.manual_seed(7)
    makers = {"sd1": _make_sd1, "sd2": _make_sd2, "sdxl": _make_sdxl}
    pipeline = makers[name](unet)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_single_file(pipeline: Pipeline, file: Path) -> Path:
    """All its weights in one safetensors file, named as on model sites."""
    save_file(original_names(pipeline), file)
    return file


def save_configuration(pipeline: Pipeline, folder: Path) -> Path:
    """Its folder without weights: what a catalogue entry's `config` names."""
    pipeline.save_pretrained(folder)
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()
    return folder


def make_vae(scaling_factor: float = 0.18215, **changes: Any) -> AutoencoderKL:  # noqa: ANN401 (diffusers' own)
    """Random weights; four levels, so eight pixels for each latent pixel."""
    sizes = {
        "block_out_channels": (4, 4, 8, 8), "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4, "norm_num_groups": 2, "layers_per_block": 1,
        "sample_size": 64, "latent_channels": 4, "scaling_factor": scaling_factor, **changes,
    }  # fmt: skip
    return AutoencoderKL(**sizes).eval()


def _make_sd1(unet: dict[str, Any]) -> StableDiffusionImg2ImgPipeline:
    return StableDiffusionImg2ImgPipeline(
        vae=make_vae(),
        text_encoder=CLIPTextModel(_text_config(hidden_size=16, hidden_act="quick_gelu")).eval(),
        tokenizer=_tokenizer(),
        unet=_make_unet(**{**SD_BLOCKS, "attention_head_dim": 2, "cross_attention_dim": 16, **unet}),
        scheduler=make_schedule(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _make_sd2(unet: dict[str, Any]) -> StableDiffusionImg2ImgPipeline:
    heads = {"attention_head_dim": (2, 4, 4, 4), "use_linear_projection": True, "cross_attention_dim": 24}
    return StableDiffusionImg2ImgPipeline(
        vae=make_vae(),
        text_encoder=CLIPTextModel(_text_config(hidden_size=24, hidden_act="gelu")).eval(),
        tokenizer=_tokenizer(pad_token="!"),
        unet=_make_unet(**{**SD_BLOCKS, **heads, **unet}),
        scheduler=make_schedule(prediction_type="v_prediction"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _make_sdxl(unet: dict[str, Any]) -> StableDiffusionXLImg2ImgPipeline:
    conditions = {
        "attention_head_dim": (2, 4, 4), "use_linear_projection": True, "cross_attention_dim": 16 + 24,
        "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 20,
    }  # fmt: skip
    return StableDiffusionXLImg2ImgPipeline(
        vae=make_vae(0.13025),
        text_encoder=CLIPTextModel(_text_config(hidden_size=16, hidden_act="quick_gelu")).eval(),
        text_encoder_2=CLIPTextModelWithProjection(
            _text_config(hidden_size=24, hidden_act="gelu", projection_dim=20)
        ).eval(),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(pad_token="!"),
        unet=_make_unet(**{**XL_BLOCKS, **conditions, **unet}),
        scheduler=make_schedule(),
        add_watermarker=False,
    )


def _make_unet(**config: Any) -> UNet2DConditionModel:  # noqa: ANN401 (diffusers' own)
    sizes = {"sample_size": 8, "layers_per_block": 2, "norm_num_groups": 4, **config}
    return UNet2DConditionModel(**sizes).eval()


def make_schedule(**changes: Any) -> DDIMScheduler:  # noqa: ANN401 (diffusers' own)
    """Stable Diffusion's noise schedule."""
    facts = {
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
        "set_alpha_to_one": False, "steps_offset": 1, "timestep_spacing": "leading", **changes,
    }  # fmt: skip
    return DDIMScheduler(**facts)


def _text_config(**sizes: Any) -> CLIPTextConfig:  # noqa: ANN401 (transformers' own)
    facts = {
        "vocab_size": 666, "bos_token_id": 664, "eos_token_id": 665, "pad_token_id": 665, "intermediate_size": 32,
        "num_hidden_layers": 3, "num_attention_heads": 4, "initializer_factor": 3.0, **sizes,
    }  # fmt: skip
    return CLIPTextConfig(**facts)


def _tokenizer(**changes: str) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(TOKENIZER, **changes)
