"""Stable Diffusion 1.x and 2.x image-to-image, as four verbs.

Follows diffusers' StableDiffusionImg2ImgPipeline step for step, with one generator
per sample, so that sample i is the same picture alone and among others.
"""

import inspect
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tomesd
import torch
from diffusers import AutoencoderKL, SchedulerMixin
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from serve_app.config import ModelEntry
from serve_app.errors import InvalidFields
from serve_app.messages import Img2ImgJob, Pixels, Raster
from serve_app.pipelines.addons import Addons
from serve_app.pipelines.text import encode_text
from serve_app.pipelines.weights import load_components, set_threads
from serve_app.samplers.names import build_sampler

TOKEN_MERGING_RATIO = 0.5


@dataclass(slots=True)
class SdGeneration:
    """A job in flight: n samples, all at the same step."""

    job: Img2ImgJob
    sampler: SchedulerMixin
    timesteps: Tensor
    """Those still to run at the start, in order; shape (total,)."""
    text: Tensor
    """(n, 77, width), or (2n, 77, width) with the negative prompt's embeddings first where guidance acts."""
    generators: list[torch.Generator]
    """One a sample: sample i draws from seed + i, modulo 2^32."""
    latents: Tensor
    """(n, 4, height/8, width/8); written by `advance` only."""
    vae: AutoencoderKL
    done: int = 0
    """Evaluations made; written by `advance` only."""
    started: float = field(default_factory=time.perf_counter)

    @property
    def total(self) -> int:
        """Evaluations that the job needs."""
        return len(self.timesteps)

    @property
    def guided(self) -> bool:
        """Whether rows have an unconditional twin."""
        return self.job.guidance_scale > 1


class SdPipeline:
    """One loaded model; called from one thread."""

    def __init__(self, entry: ModelEntry) -> None:
        set_threads(entry)
        self._entry = entry
        self._parts = load_components(entry)
        self._addons = Addons(entry, self._parts)
        tomesd.apply_patch(self._parts.unet, ratio=0.0, use_rand=False)

    @torch.inference_mode()
    def encode(self, job: Img2ImgJob) -> SdGeneration:
        """Prepare a job: embeddings, sampler, noised latents. Raises `InvalidFields` for an impossible sampler."""
        self._addons.apply(job)
        sampler, timesteps = self._plan_steps(job)
        vae = self._addons.vae(job.vae)
        generators = [self._generator(job, index) for index in range(job.samples)]
        latents = encode_picture(vae, job.init_image, generators)
        if len(timesteps):
            noise = randn_tensor(latents.shape, generators, latents.device, latents.dtype)
            latents = sampler.add_noise(latents, noise, timesteps[:1].repeat(job.samples))
        return SdGeneration(job, sampler, timesteps, self._text(job), generators, latents, vae)

    @torch.inference_mode()
    def denoise(self, generation: SdGeneration) -> Tensor:
        """One UNet call at the generation's timestep; shape as its latents."""
        job, timestep = generation.job, generation.timesteps[generation.done]
        rows = generation.sampler.scale_model_input(generation.latents, timestep)
        if generation.guided:
            rows = torch.cat([rows, rows])
        unet = self._parts.unet
        unet._tome_info["args"]["ratio"] = TOKEN_MERGING_RATIO if job.token_merging else 0.0
        output = unet(rows, timestep, encoder_hidden_states=generation.text, return_dict=False)[0]
        if not generation.guided:
            return output
        plain, prompted = output.chunk(2)
        return plain + job.guidance_scale * (prompted - plain)

    @torch.inference_mode()
    def advance(self, generation: SdGeneration, output: Tensor) -> None:
        """One sampler step, with each sample's own noise."""
        timestep = generation.timesteps[generation.done]
        options = step_options(generation.sampler, generation.generators)
        generation.latents = generation.sampler.step(
            output, timestep, generation.latents, **options, return_dict=False
        )[0]
        generation.done += 1

    @torch.inference_mode()
    def decode(self, generation: SdGeneration) -> Raster:
        """Latents to uint8 pixels; without a single step, the init image itself."""
        job = generation.job
        pixels = decode_latents(generation.vae, generation.latents) if generation.total else _repeat(job)
        seconds = time.perf_counter() - generation.started
        return Raster(pixels, type(generation.sampler).__name__, seconds)

    def _plan_steps(self, job: Img2ImgJob) -> tuple[SchedulerMixin, Tensor]:
        """The job's sampler, and the part of its timesteps that `strength` leaves (diffusers' `get_timesteps`)."""
        try:
            sampler = build_sampler(job.sampler, self._entry.default_sampler, self._parts.scheduler.config)
            sampler.set_timesteps(job.steps, device=self._parts.unet.device)
        except (ValueError, NotImplementedError) as error:
            raise InvalidFields({"scheduler": [f"The selected scheduler cannot run so: {error}"]}) from error
        start = (job.steps - min(int(job.steps * job.strength), job.steps)) * sampler.order
        if hasattr(sampler, "set_begin_index"):
            sampler.set_begin_index(start)
        return sampler, sampler.timesteps[start:]

    def encode_text(self, texts: list[str], clip_skip: int) -> Tensor:
        """Embeddings (len(texts), 77, width) of prompts; words of loaded textual inversions count."""
        known = [self._parts.maybe_convert_prompt(text, self._parts.tokenizer) for text in texts]
        embeds = encode_text(self._parts.tokenizer, self._parts.text_encoder, known, clip_skip)
        return embeds.to(self._parts.unet.dtype)

    def _text(self, job: Img2ImgJob) -> Tensor:
        texts = [job.prompt] if job.guidance_scale <= 1 else [job.negative_prompt, job.prompt]
        return self.encode_text(texts, job.clip_skip).repeat_interleave(job.samples, dim=0)

    def _generator(self, job: Img2ImgJob, index: int) -> torch.Generator:
        return torch.Generator("cpu").manual_seed((job.seed + index) % 2**32)


def encode_picture(vae: AutoencoderKL, picture: Pixels, generators: list[torch.Generator]) -> Tensor:
    """Scaled latents (n, 4, height/8, width/8), drawn from the VAE's posterior with each sample's generator."""
    pixels = torch.tensor(picture).permute(2, 0, 1)[None].to(vae.device, vae.dtype)
    posterior = vae.encode(pixels / 127.5 - 1).latent_dist
    return torch.cat([posterior.sample(generator) for generator in generators]) * vae.config.scaling_factor


def decode_latents(vae: AutoencoderKL, latents: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """uint8 RGB (n, height, width, 3), one sample at a time to bound memory."""
    pictures = [vae.decode(row[None] / vae.config.scaling_factor, return_dict=False)[0] for row in latents]
    pixels = ((torch.cat(pictures).float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def step_options(sampler: SchedulerMixin, generators: list[torch.Generator]) -> dict[str, Any]:
    """`generator` for those samplers whose step draws noise."""
    takes_noise = "generator" in inspect.signature(sampler.step).parameters
    return {"generator": generators} if takes_noise else {}


def _repeat(job: Img2ImgJob) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.repeat(job.init_image[None], job.samples, axis=0)
