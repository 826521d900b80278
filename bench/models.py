"""The models that are measured: the pocket checkpoint, or an SD-1.5-shaped one with random weights.

Ours and the peers' are loaded from one folder, each by its own loader.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionImg2ImgPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from bench.loras import make_loras
from serve_app.config import POCKET, PROJECT, ModelEntry, Weights
from serve_app.pipelines import load_pipeline
from serve_app.pipelines.latent import LatentPipeline
from serve_app.pipelines.weights import DTYPES
from serve_app.prompts.weights import parse_weights

CHECKPOINT = PROJECT / POCKET.source


@dataclass(frozen=True, slots=True)
class Rig:
    """One model to measure, and how it is run by everybody."""

    entry: ModelEntry
    """Ours; its device, dtype and threads are the peers' too."""
    checkpoint: Path
    loras: Mapping[str, Path]
    side: int
    """Of the pictures, in pixels."""

    @property
    def dtype(self) -> torch.dtype:
        """Of all weights."""
        return DTYPES[self.entry.dtype]

    def own_pipeline(self) -> LatentPipeline:
        """Ours, by the catalogue's own way."""
        return load_pipeline(self.entry, parse_weights)

    def diffusers_pipeline(self, dressed: bool) -> Any:  # noqa: ANN401 (diffusers' class is untyped)
        """The peers', without safety checker and progress bar; `dressed` with all LoRA files loaded, none worn."""
        pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(
            self.checkpoint, dtype=self.dtype, safety_checker=None, feature_extractor=None,
            requires_safety_checker=False, use_safetensors=True,
        )  # fmt: skip
        pipeline.to(self.entry.device).set_progress_bar_config(disable=True)
        for name, file in self.loras.items() if dressed else ():
            pipeline.load_lora_weights(file.parent, weight_name=file.name, adapter_name=name)
        if dressed:
            pipeline.disable_lora()
        return pipeline


def make_rig(shape: str, device: str, side: int, threads: int, rows: int | None, folder: Path) -> Rig:
    """Everything on disk that a run needs, in `folder`.

    `rows` is the budget of a call, at `side`; None: the catalogue's for the pocket model, measured for another.
    """
    checkpoint = CHECKPOINT if shape == "pocket" else make_sd15(folder / "sd15")
    loras = make_loras(checkpoint, folder)
    as_served = shape == "pocket" and rows is None
    budget = {} if as_served else {"rows_per_call": rows, "knee_pixels": side * side}
    entry = POCKET.model_copy(
        update={
            "id": "bench", "source": str(checkpoint), "device": device, "torch_threads": threads, "vaes": (),
            "dtype": "float32" if device == "cpu" else "float16",
            "loras": tuple(Weights(id=name, source=str(file)) for name, file in loras.items()), **budget,
        }
    )  # fmt: skip
    return Rig(entry, checkpoint, loras, side)


def make_sd15(folder: Path) -> Path:
    """A checkpoint of Stable Diffusion 1.5's shape in float16; its weights are random, its pictures noise."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(CHECKPOINT / "tokenizer")
    pipeline = StableDiffusionImg2ImgPipeline(
        vae=AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=512,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        ),
        text_encoder=CLIPTextModel(CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=768, intermediate_size=3072,
            num_hidden_layers=12, num_attention_heads=12,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        )),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        scheduler=DDIMScheduler.from_pretrained(CHECKPOINT / "scheduler"),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.to(torch.float16).save_pretrained(folder)
    return folder
