"""Pictures to latents and back, through a model's own VAE or another one of the catalogue.

Owns scaling and batch sizes. Which pictures are asked for again is the caller's cache's business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from serve_app.errors import GenerationFailed
from serve_app.messages import Pixels

T = TypeVar("T")
BATCH_PIXELS = 4 * 512 * 512
"""Pixels that one VAE call may hold: its activations are what fills a device's memory."""
CPU_BATCH_PIXELS = 8 * 64 * 64
"""A CPU gains little from more: decoding one of 64 x 64 takes 5.1 ms alone, 3.2 by eight, 3.8 and 117 MiB instead of 35
by 32; of 128 x 128 13.9 alone and 13.1 by two."""
SWATCHES, SWATCH_SIDE, SWATCH_GRID = 8, 16, 8


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """What the VAE makes of one picture before anything is drawn from it."""

    parameters: Tensor
    """(1, 2 * channels, height/8, width/8), means and log variances."""
    scale: float

    def sample(self, generator: torch.Generator) -> Tensor:
        """Scaled float32 latents (channels, height/8, width/8), drawn as diffusers draws them."""
        drawn = DiagonalGaussianDistribution(self.parameters).sample(generator)
        return (drawn * self.scale)[0].float()

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return self.parameters.nbytes


def lay_out(vae: AutoencoderKL) -> AutoencoderKL:
    """The VAE itself, its decoder's convolutions in channels_last: on a CPU decoding takes 12 to 32 % less.

    Encoding takes more of one size and less of another, and stays as it is.
    """
    vae.decoder.to(memory_format=torch.channels_last)
    return vae


def encode_pictures(vae: AutoencoderKL, pictures: Sequence[Pixels]) -> list[Posterior]:
    """The posteriors of pictures (height, width, 3) of one size, in as few calls as memory allows.

    On a CPU in a call each: it rounds by how many there are (6e-7), and what a seed gives shall not hang on who else
    asked just then. The rounding costs up to 1.2e-5 of the latents, company would save 1.4 of 2.8 ms at 64 x 64.
    """
    made: list[Posterior] = []
    area = pictures[0].shape[0] * pictures[0].shape[1]
    for part in _batches(pictures, 1 if _on_cpu(vae) else BATCH_PIXELS // area):
        pixels = torch.from_numpy(np.stack(part)).permute(0, 3, 1, 2).to(vae.device, vae.dtype)
        parameters = vae.encode(pixels / 127.5 - 1).latent_dist.parameters
        made += [Posterior(each.clone(), vae.config.scaling_factor) for each in parameters.split(1)]
    return made


def decode_latents(vae: AutoencoderKL, latents: Tensor) -> list[Pixels]:
    """uint8 RGB (height, width, 3) of each of the latents (n, channels, height/8, width/8).

    Raises `GenerationFailed` where numbers are not finite: as bytes they would be a black picture.
    """
    made: list[Pixels] = []
    area = latents.shape[2] * latents.shape[3] * 64
    for part in _batches(latents.unbind(), (CPU_BATCH_PIXELS if _on_cpu(vae) else BATCH_PIXELS) // area):
        scaled = (torch.stack(list(part)) / vae.config.scaling_factor).to(vae.dtype)
        colours = vae.decode(scaled, return_dict=False)[0].float()
        if not bool(colours.isfinite().all()):
            raise GenerationFailed("the model made numbers that are not finite, which are no picture")
        pixels = ((colours / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        made += list(pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy())
    return made


@torch.inference_mode()
def preview_colours(vae: AutoencoderKL) -> Tensor:
    """A linear map (3, channels + 1) from scaled latents and 1 to RGB in -1..1, by least squares over swatches.

    One latent pixel holds little more than its own 8 × 8 pixels' colour, so a linear map shows what is coming
    for nothing.
    """
    side = SWATCH_SIDE * SWATCH_GRID
    colours = np.random.default_rng(0).integers(0, 256, (SWATCHES, SWATCH_GRID, SWATCH_GRID, 3), dtype=np.uint8)
    pictures = list(colours.repeat(SWATCH_SIDE, axis=1).repeat(SWATCH_SIDE, axis=2))
    posteriors = encode_pictures(vae, pictures)
    means = torch.cat([each.parameters.chunk(2, dim=1)[0] * each.scale for each in posteriors]).float().cpu()
    inputs = torch.cat([means, torch.ones_like(means[:, :1])], dim=1).permute(0, 2, 3, 1).flatten(0, 2)
    factor = side // means.shape[-1]
    wanted = torch.from_numpy(np.stack(pictures))[:, factor // 2 :: factor, factor // 2 :: factor].flatten(0, 2)
    return torch.linalg.lstsq(inputs, wanted / 127.5 - 1).solution.T.contiguous().to(vae.device)


def _on_cpu(vae: AutoencoderKL) -> bool:
    return vae.device.type == "cpu"


def _batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Of at most `size`, but at least one."""
    size = max(1, size)
    return [items[start : start + size] for start in range(0, len(items), size)]
