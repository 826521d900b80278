"""Stable Diffusion XL: two text encoders, and for each row its pooled prompt and its sizes."""

from collections.abc import Sequence

import torch
from diffusers import StableDiffusionXLImg2ImgPipeline
from torch import Tensor

from serve_app.config import ModelEntry
from serve_app.pipelines.latent import LatentPipeline, Parser
from serve_app.pipelines.rows import LatentDraft, LatentRow
from serve_app.pipelines.text import TextEmbeds, TextTower
from serve_app.pipelines.weights import load_components


class SdxlPipeline(LatentPipeline):
    """One loaded SDXL model; a refiner is neither needed nor used."""

    def __init__(self, entry: ModelEntry, parse: Parser) -> None:
        parts = load_components(entry, StableDiffusionXLImg2ImgPipeline)
        if parts.vae.dtype == torch.float16 and parts.vae.config.force_upcast:
            parts.vae.to(torch.float32)  # SDXL's own overflows in float16; diffusers does the same
        towers = [
            TextTower(parts.tokenizer, parts.text_encoder, final_norm=False),
            TextTower(parts.tokenizer_2, parts.text_encoder_2, final_norm=False, pooled=True),
        ]
        super().__init__(entry, parts, towers, parse)

    def _encode_texts(self, drafts: Sequence[LatentDraft]) -> dict[int, tuple[TextEmbeds, TextEmbeds | None]]:
        """With zeros for a negative prompt that was not given, where the model was trained so.

        diffusers tells None, which becomes zeros, from "", which is encoded; a job has only "", for both.
        """
        texts = super()._encode_texts(drafts)
        if not self._parts.config.force_zeros_for_empty_prompt:
            return texts
        for draft in drafts:
            prompt, negative = texts[id(draft)]
            if negative is not None and not draft.job.negative_prompt:
                texts[id(draft)] = prompt, _zeros_like(prompt)
        return texts

    def _conditions(
        self, rows: Sequence[LatentRow], owners: Sequence[int], texts: Sequence[TextEmbeds]
    ) -> dict[str, Tensor] | None:
        pooled = [text.pooled for text in texts if text.pooled is not None]
        sizes = [rows[place].draft.job.init_image.shape[:2] for place in owners]
        # original size, top-left crop, target size, as the pipeline's `_get_add_time_ids` sets them by default
        times = [[height, width, 0, 0, height, width] for height, width in sizes]
        return {
            "text_embeds": torch.stack(pooled).to(self._device, self._dtype),
            "time_ids": torch.tensor(times, device=self._device, dtype=self._dtype),
        }


def _zeros_like(text: TextEmbeds) -> TextEmbeds:
    pooled = None if text.pooled is None else torch.zeros_like(text.pooled)
    return TextEmbeds(torch.zeros_like(text.embeds), pooled)
