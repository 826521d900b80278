"""Stable Diffusion 1.x and 2.x: one text encoder, and nothing besides text for the UNet."""

from diffusers import StableDiffusionImg2ImgPipeline

from serve_app.config import ModelEntry
from serve_app.pipelines.latent import LatentPipeline, Parser
from serve_app.pipelines.text import TextTower
from serve_app.pipelines.weights import load_components


class SdPipeline(LatentPipeline):
    """One loaded SD 1.x or 2.x model; which of both, its own configuration says."""

    def __init__(self, entry: ModelEntry, parse: Parser) -> None:
        parts = load_components(entry, StableDiffusionImg2ImgPipeline)
        super().__init__(entry, parts, [TextTower(parts.tokenizer, parts.text_encoder)], parse)
