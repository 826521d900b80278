"""What the UNet itself draws on its way, beside what it should have drawn: the states of its own guided walks.

A walk's errors add up to states that no noised picture shows, and a denoiser that never saw them goes on from there as
it can (Ross and others 2011, "A reduction of imitation learning to no-regret online learning"). The true picture of
a walk is the scene it was asked for, drawn where the walk's own end fits it best: not another place, size or angle.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from models.pocket.clutter import draw_clutter
from models.pocket.judge import best_fit
from models.pocket.training.denoiser import encode_captions, new_sampler
from models.pocket.training.vae import to_tensor
from models.pocket.world import SIZES, Pixels, Scene, caption, draw, random_scene

STRENGTHS, STEPS, GUIDANCES = (0.75, 1.0), (12, 30), (2.0, 8.0)
NOISE_ALONE = 0.15
"""Share of the walks that start from noise alone."""
FROM_CLUTTER = 0.1
"""Share of the init pictures that are busy; the others are scenes."""
SMALLEST, LARGEST = min(low for low, _ in SIZES.values()), max(high for _, high in SIZES.values())
"""Radii of the world."""
KEPT_FROM = 200
"""States with less noise than this timestep's are left out: what is seen so clearly is not to be moved."""


@dataclass(frozen=True, slots=True)
class States:
    """States of walks (count, 4, height, width), what the walk saw in each, where it should end, and what was asked."""

    latents: Tensor
    seen: Tensor
    timesteps: Tensor
    wanted: Tensor
    captions: list[str]


class Walker:
    """Draws with the checkpoint's autoencoder and text encoder, and with any UNet."""

    def __init__(self, vae: AutoencoderKL, tokenizer: CLIPTokenizer, encoder: CLIPTextModel) -> None:
        self._vae, self._tokenizer, self._encoder = vae, tokenizer, encoder
        self._scale = float(vae.config["scaling_factor"])

    @torch.no_grad()
    def walk(self, unet: nn.Module, side: int, count: int, rng: np.random.Generator) -> States:
        """Walk from `count` random pictures of this side to as many random prompts."""
        asked, captions = zip(*(asked_scene(rng) for _ in range(count)), strict=True)
        sampler, timesteps = _schedule(rng)
        text = encode_captions(self._tokenizer, self._encoder, [*captions, *[""] * count])
        guidance = float(rng.uniform(*GUIDANCES))
        latents = self._start(sampler, int(timesteps[0]), side, count, rng)
        states, seen = [], []
        for timestep in timesteps:
            said, unsaid = unet(torch.cat([latents, latents]), timestep, text).sample.chunk(2)
            step = sampler.step(unsaid + guidance * (said - unsaid), int(timestep), latents)
            states.append(latents)
            seen.append(step.pred_original_sample)
            latents = step.prev_sample
        made = self.decode(latents)
        wanted = self.encode([true_picture(scene, picture) for scene, picture in zip(asked, made, strict=True)])
        kept = int((timesteps >= KEPT_FROM).sum())
        return States(
            torch.cat(states[:kept]),
            torch.cat(seen[:kept]),
            timesteps[:kept].repeat_interleave(count),
            wanted.repeat(kept, 1, 1, 1),
            list(captions) * kept,
        )

    def _start(self, sampler: DDIMScheduler, timestep: int, side: int, count: int, rng: np.random.Generator) -> Tensor:
        pictures = [
            draw_clutter(rng, side) if rng.random() < FROM_CLUTTER else draw(random_scene(rng), side)
            for _ in range(count)
        ]
        latents = self.encode(pictures)
        noise = torch.randn_like(latents)
        noised = sampler.add_noise(latents, noise, torch.tensor([timestep]))
        alone = torch.from_numpy(rng.random(count) < NOISE_ALONE) & (timestep > 900)
        return torch.where(alone[:, None, None, None], noise, noised)

    def encode(self, pictures: list[Pixels]) -> Tensor:
        """Scaled latents (count, 4, side/8, side/8)."""
        return self._vae.encode(to_tensor(pictures)).latent_dist.mean * self._scale

    def decode(self, latents: Tensor) -> list[Pixels]:
        """Pictures (side, side, 3)."""
        made = (self._vae.decode(latents / self._scale).sample + 1) * 127.5
        return list(made.round().clamp(0, 255).permute(0, 2, 3, 1).numpy().astype(np.uint8))


def _schedule(rng: np.random.Generator) -> tuple[DDIMScheduler, Tensor]:
    """A random number of steps and a random strength's share of them, as image to image takes them."""
    sampler = new_sampler()
    steps = int(rng.integers(STEPS[0], STEPS[1] + 1))
    sampler.set_timesteps(steps)
    taken = max(1, int(steps * rng.uniform(*STRENGTHS)))
    return sampler, sampler.timesteps[steps - taken :]


def asked_scene(rng: np.random.Generator) -> tuple[Scene, str]:
    """A random sharp scene, and a caption that says both its colours."""
    while True:
        scene = replace(random_scene(rng), blurry=False, tint=(0,) * 6)
        text = caption(scene, rng)
        if f"{scene.colour} {scene.thing}" in text and f"{scene.ground} background" in text:
            return replace(scene, size=scene.size if scene.size in text else ""), text


def true_picture(asked: Scene, made: Pixels) -> Pixels:
    """The asked scene, drawn where the made picture shows its thing; as it was asked for where that shows nothing."""
    fit = best_fit(made, asked.thing)
    if fit is None:
        return draw(asked, len(made))
    low, high = SIZES[asked.size] if asked.size else (SMALLEST, LARGEST)
    radius = min(max(fit.radius, low), high)
    centre = (min(max(fit.centre[0], radius), 1 - radius), min(max(fit.centre[1], radius), 1 - radius))
    return draw(replace(asked, radius=radius, centre=centre, angle=fit.angle), len(made))
