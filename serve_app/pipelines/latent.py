"""Latent diffusion on a Stable Diffusion UNet, as the engine's verbs over any mix of rows.

Follows diffusers' image-to-image pipelines number for number, but gathers rows of many jobs into each
call. What differs between families (text towers, extra conditions) is left to the subclasses.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, TypeVar

import numpy as np
import tomesd
import torch
from torch import Tensor

from serve_app.config import ModelEntry
from serve_app.errors import InvalidFields
from serve_app.messages import Img2ImgJob, Pixels, require_few_breaks, seed_of
from serve_app.pipelines.addons import Addons
from serve_app.pipelines.attention import call_processors_directly
from serve_app.pipelines.autoencoder import Posterior, decode_latents, encode_pictures, preview_colours
from serve_app.pipelines.cache import ByteLru
from serve_app.pipelines.cross_attention import LARGEST, CrossAttentionKv
from serve_app.pipelines.lora import RowLoras
from serve_app.pipelines.noise_ahead import NoiseAhead, taken
from serve_app.pipelines.on_cpu import settle_on_cpu
from serve_app.pipelines.rows import SHRINK, LatentDraft, LatentRow
from serve_app.pipelines.step_coefficients import step_coefficients
from serve_app.pipelines.text import Fragments, TextEmbeds, TextKey, TextTower, encode_texts, level_texts, stack_text
from serve_app.pipelines.weights import set_threads
from serve_app.samplers.noise import epsilon_weights, fresh_noise
from serve_app.samplers.plan import SamplerTables

T = TypeVar("T")
TOKEN_MERGING_RATIO = 0.5
LEAST_MERGED_TOKENS = 32 * 32
"""Attention maps smaller than this are left whole."""
CHUNK_TOKENS = 77
CHUNK_CHARS = 300
"""A chunk of 75 tokens mostly has more; what a row really holds is known when it is encoded."""
EMPTY: Fragments = ()
Parser = Callable[[str], Fragments]
"""A prompt to texts with weights."""


class LatentPipeline:
    """One loaded model. `prepare` may be called from any thread, everything else from one."""

    def __init__(self, entry: ModelEntry, parts: Any, towers: Sequence[TextTower], parse: Parser) -> None:  # noqa: ANN401
        set_threads(entry)
        self._entry = entry
        self._parts = parts
        self._unet = parts.unet.to(memory_format=torch.channels_last)  # 7 to 15 % faster convolutions on CPUs
        settle_on_cpu(parts.unet)
        call_processors_directly(parts.unet)
        self._device, self._dtype = parts.unet.device, parts.unet.dtype  # walks all modules each time it is asked
        self._towers = tuple(towers)
        self._parse = parse
        self._addons = Addons(entry, parts)
        self._tables = SamplerTables()
        self._ahead = NoiseAhead()
        self._unet_loras = RowLoras(parts.unet, entry.lora_bytes)
        self._text_kv = CrossAttentionKv(parts.unet, entry.text_kv_bytes)
        self._text_loras = [RowLoras(tower.encoder, entry.lora_bytes) for tower in towers]
        self._texts: ByteLru[TextKey, TextEmbeds] = ByteLru(entry.prompt_cache_bytes)
        self._pictures: ByteLru[tuple[str, str | None], Posterior] = ByteLru(entry.picture_cache_bytes)
        self._colours = preview_colours(parts.vae)
        # merges where the UNet's attention has most tokens: SDXL has none at the latents' own size
        first = [block.startswith("CrossAttn") for block in parts.unet.config.down_block_types].index(True)
        self._attention_shrink = SHRINK * 2**first
        tomesd.apply_patch(parts.unet, ratio=0.0, max_downsample=2**first, use_rand=False)

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self._device

    def warm(self) -> None:
        """Probe the common samplers before the first job asks."""
        self._tables.warm(self._parts.scheduler.config, self._entry.default_sampler)

    @property
    def cached_bytes(self) -> dict[str, int]:
        """What the caches hold, by the name of the budget in the catalogue entry."""
        return {
            "prompt_cache_bytes": self._texts.used_bytes,
            "picture_cache_bytes": self._pictures.used_bytes,
            "text_kv_bytes": self._text_kv.used_bytes,
            "lora_bytes": self._addons.lora_bytes,
        }

    def prepare(self, job: Img2ImgJob) -> LatentDraft:
        """Plan the sampler, read LoRA, VAE and embedding files.

        Raises `InvalidFields` for an impossible sampler, a clip_skip past the text encoders' layers, a prompt of
        very many chunks, or a LoRA, VAE or embedding that is not for this model.
        """
        require_few_breaks({"prompt": self._parse(job.prompt), "negative_prompt": self._parse(job.negative_prompt)})
        if job.clip_skip > (deepest := min(tower.deepest_skip for tower in self._towers)):
            raise InvalidFields({"clip_skip": [f"The clip skip may not be greater than {deepest} for this model."]})
        try:
            plan = self._tables.plan(
                job.sampler, self._entry.default_sampler, self._parts.scheduler.config, job.steps, job.strength
            )
        except ValueError as error:
            raise InvalidFields({"scheduler": [f"The selected scheduler cannot run so: {error}"]}) from error
        self._addons.vae(job.vae)
        for name in job.embeddings:
            self._addons.read_embedding(name)
        loras = tuple((self._addons.lora(lora.id), lora.strength) for lora in job.loras)
        return LatentDraft(job, plan, step_coefficients(plan), loras, self._merges(job), self._text_bytes(job))

    def _text_bytes(self, job: Img2ImgJob) -> int:
        """Of one prompt's embeddings, before anybody has counted its tokens."""
        chunks = 1 + max(len(job.prompt), len(job.negative_prompt)) // CHUNK_CHARS
        return chunks * CHUNK_TOKENS * int(self._unet.config.cross_attention_dim) * self._dtype.itemsize

    def _merges(self, job: Img2ImgJob) -> bool:
        """Whether tokens are merged: few of them cost little, and half of few is too few for a picture."""
        tokens = (job.height // self._attention_shrink) * (job.width // self._attention_shrink)
        return job.token_merging and tokens >= LEAST_MERGED_TOKENS

    @torch.inference_mode()
    def encode(self, drafts: Sequence[LatentDraft]) -> list[list[LatentRow]]:
        """Prompts through the text encoders, pictures through the VAEs, each kind in as few calls as agree."""
        for draft in drafts:
            for name in draft.job.embeddings:
                self._addons.wear_embedding(name)
        texts = self._encode_texts(drafts)
        posteriors = self._encode_pictures(drafts)
        return [self._rows(draft, texts[id(draft)], posteriors[id(draft)]) for draft in drafts]

    @torch.inference_mode()
    def denoise(self, rows: Sequence[LatentRow]) -> Tensor:
        """The model's raw outputs, guidance applied: float32 (rows, channels, height/8, width/8)."""
        self._ahead.draw(rows)
        owners = [place for place, row in enumerate(rows) for _ in row.texts]
        scales = self._column([row.input_scale for row in rows])
        inputs = (torch.stack([row.latents for row in rows]) * scales)[owners].to(self._dtype)
        timesteps = self._numbers([rows[place].timestep for place in owners])
        texts = [text for row in rows for text in row.texts]
        embeds, mask = stack_text([text.embeds for text in texts])
        merging = rows[0].draft.group.merged
        self._unet._tome_info["args"]["ratio"] = TOKEN_MERGING_RATIO if merging else 0.0
        loras = [rows[place].draft.unet_loras for place in owners]
        with self._unet_loras.applied(loras), self._giving_kv(rows[0], texts):
            outputs = self._unet(
                inputs, timesteps, encoder_hidden_states=embeds, encoder_attention_mask=mask,
                added_cond_kwargs=self._conditions(rows, owners, texts), return_dict=False,
            )[0]  # fmt: skip
        return self._guide(rows, outputs.float())

    @torch.inference_mode()
    def advance(self, rows: Sequence[LatentRow], output: Tensor) -> None:
        """One step of every row, by its table or its stepper.

        A weighted sum for each row: one product with the sparse matrix of all weights took three times as long.
        """
        for row, own in zip(rows, output.unbind(), strict=True):
            if row.stepper is not None:
                row.latents = row.stepper.advance(row.done, row.latents[None], own[None], row.generator)[0]
            else:
                row.remember(own, taken(row))
                row.latents = row.next_latents()
            row.done += 1

    @torch.inference_mode()
    def decode(self, rows: Sequence[LatentRow]) -> list[Pixels]:
        """uint8 RGB (height, width, 3) of each row, those of one VAE and size together."""
        pictures: dict[int, Pixels] = {}
        for (vae, _), group in _grouped(rows, lambda row: (row.draft.job.vae, row.latents.shape)).items():
            latents = torch.stack([row.latents for row in group])
            for row, pixels in zip(group, decode_latents(self._addons.vae(vae), latents), strict=True):
                pictures[id(row)] = pixels
        return [pictures[id(row)] for row in rows]

    @torch.inference_mode()
    def preview(self, row: LatentRow) -> Pixels:
        """What the model makes of the row's noise by now, through a linear map from latents to colours."""
        latents = row.latents
        if row.past[0]:
            latents = self._clean(row)
        flat = torch.cat([latents.flatten(1), torch.ones(1, latents[0].numel(), device=latents.device)])
        colours = (self._colours @ flat).view(3, *latents.shape[1:])
        return ((colours / 2 + 0.5).clamp(0, 1) * 255).byte().permute(1, 2, 0).contiguous().cpu().numpy()

    def _clean(self, row: LatentRow) -> Tensor:
        """The clean latents that the last evaluation pointed to: (input - sigma-part of epsilon) / signal."""
        coefficients, last = row.draft.coefficients, row.done - 1
        alpha_bars = self._parts.scheduler.alphas_cumprod
        alpha_bar = float(alpha_bars[min(max(round(coefficients.timesteps[last]), 0), len(alpha_bars) - 1)])
        signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
        seen = row.past[0][0] * coefficients.input_scales[last]
        of_input, of_output = epsilon_weights(self._parts.scheduler.config.prediction_type, noise / signal)
        return (seen - noise * (of_input * seen + of_output * row.past[1][0])) / signal

    def _giving_kv(self, row: LatentRow, texts: Sequence[TextEmbeds]) -> AbstractContextManager[None]:
        small = row.draft.group.pixels <= LARGEST
        return self._text_kv.giving([text.embeds for text in texts]) if small else nullcontext()

    def _conditions(
        self, rows: Sequence[LatentRow], owners: Sequence[int], texts: Sequence[TextEmbeds]
    ) -> dict[str, Tensor] | None:
        """What the UNet wants besides text, for each UNet row; nothing here."""
        del rows, owners, texts  # SDXL's wants them
        return None

    def _guide(self, rows: Sequence[LatentRow], outputs: Tensor) -> Tensor:
        """Classifier-free guidance of those rows that have a twin: plain + scale * (prompted - plain)."""
        last = [place - 1 for place in np.cumsum([row.width for row in rows]).tolist()]
        first = [place - row.width + 1 for place, row in zip(last, rows, strict=True)]
        plain, prompted = outputs[first], outputs[last]
        return plain + self._column([row.draft.job.guidance_scale for row in rows]) * (prompted - plain)

    def _rows(
        self, draft: LatentDraft, texts: tuple[TextEmbeds, TextEmbeds | None], posterior: Posterior
    ) -> list[LatentRow]:
        return [self._row(draft, sample, texts, posterior) for sample in range(draft.job.samples)]

    def _row(
        self, draft: LatentDraft, sample: int, texts: tuple[TextEmbeds, TextEmbeds | None], posterior: Posterior
    ) -> LatentRow:
        generator = torch.Generator("cpu").manual_seed(seed_of(draft.job.seed, sample))
        clean = posterior.sample(generator)
        noise = fresh_noise(clean, generator)
        own, noisy = draft.coefficients.start
        stepper = draft.plan.stepper() if draft.coefficients.sums is None else None
        return LatentRow(draft, generator, own * clean + noisy * noise, texts[0], texts[1], stepper)

    def _encode_pictures(self, drafts: Sequence[LatentDraft]) -> dict[int, Posterior]:
        keys = {id(draft): (_digest(draft.job.init_image), draft.job.vae) for draft in drafts}
        found = {key: posterior for key in keys.values() if (posterior := self._pictures.get(key)) is not None}
        missing = {keys[id(draft)]: draft.job for draft in drafts if keys[id(draft)] not in found}
        for (vae, _), group in _grouped(missing.items(), lambda it: (it[1].vae, it[1].init_image.shape)).items():
            made = encode_pictures(self._addons.vae(vae), [job.init_image for _, job in group])
            for (key, _), posterior in zip(group, made, strict=True):
                found[key] = posterior
                self._pictures.put(key, posterior, posterior.nbytes)
        return {draft: found[key] for draft, key in keys.items()}

    def _encode_texts(self, drafts: Sequence[LatentDraft]) -> dict[int, tuple[TextEmbeds, TextEmbeds | None]]:
        keys = {id(draft): self._text_keys(draft) for draft in drafts}
        wanted = {key: draft for draft in drafts for key in keys[id(draft)]}
        found = {key: embeds for key in wanted if (embeds := self._texts.get(key)) is not None}
        missing = [(key, draft) for key, draft in wanted.items() if key not in found]
        for _, group in _grouped(missing, lambda it: it[0].addons).items():
            made = self._encode_with([key for key, _ in group], group[0][1])
            for key, embeds in made.items():
                found[key] = embeds
                self._texts.put(key, embeds, embeds.nbytes)
        return {draft: self._levelled([found[key] for key in several]) for draft, several in keys.items()}

    def _text_keys(self, draft: LatentDraft) -> list[TextKey]:
        """The prompt's, the negative prompt's where it is used, and the empty one's that fills the shorter of both."""
        job = draft.job
        addons = (job.embeddings, *((file.id, strength) for file, strength in draft.loras if file.has_text))
        texts = [job.prompt]
        if draft.guided or draft.coefficients.unconditional:
            texts.append(job.negative_prompt)
        fragments = [self._addons.spell(self._parse(text), job.embeddings) for text in texts]
        return [TextKey(each, job.clip_skip, addons) for each in (*fragments, EMPTY)]

    def _encode_with(self, keys: Sequence[TextKey], draft: LatentDraft) -> Mapping[TextKey, TextEmbeds]:
        """Keys with the same add-ons, in one call."""
        with ExitStack() as stack:
            for place, loras in enumerate(self._text_loras):
                stack.enter_context(loras.applied([draft.text_loras(place)]))
            return encode_texts(self._towers, keys)

    def _levelled(self, embeds: Sequence[TextEmbeds]) -> tuple[TextEmbeds, TextEmbeds | None]:
        *used, empty = embeds
        levelled = level_texts([text.embeds for text in used], empty.embeds)
        both = [
            TextEmbeds(rows.to(self._device, self._dtype), text.pooled)
            for rows, text in zip(levelled, used, strict=True)
        ]
        return both[0], both[1] if len(both) > 1 else None

    def _numbers(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device)

    def _column(self, values: Sequence[float]) -> Tensor:
        return self._numbers(values)[:, None, None, None]


def _grouped(items: Iterable[T], key: Callable[[T], Any]) -> dict[Any, list[T]]:
    groups: dict[Any, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _digest(picture: Pixels) -> str:
    return hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).hexdigest()
