"""The denoiser's data: scenes, encoded once by the trained autoencoder and kept on disk."""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from models.pocket.clutter import draw_clutter
from models.pocket.training.run import CHECKPOINT, STATE
from models.pocket.training.vae import to_tensor
from models.pocket.world import Pixels, Scene, caption, draw, random_scene

CLUTTER_SHARE = 0.08
CLUTTER_CAPTIONS = ("", "a busy picture", "a photo")


@dataclass(frozen=True, slots=True)
class LatentSet:
    """Pictures of one size: scaled latents (count, 4, side/8, side/8) and what each shows (None: a busy picture)."""

    latents: Tensor
    scenes: list[Scene | None]

    def pick(self, rng: np.random.Generator, count: int) -> tuple[Tensor, list[str]]:
        """Pick `count` latents with a fresh caption each."""
        chosen = rng.integers(0, len(self.scenes), size=count)
        return self.latents[chosen].float(), [_caption(self.scenes[i], rng) for i in chosen]


def load_latents(side: int, count: int) -> LatentSet:
    """The set of this size, from disk or made now."""
    rng = np.random.default_rng([4, side])
    scenes = [None if rng.random() < CLUTTER_SHARE else random_scene(rng) for _ in range(count)]
    file = STATE / f"latents-{side}-{count}.pt"
    if not file.exists():
        torch.save(_encode(scenes, side), file)
    return LatentSet(torch.load(file, weights_only=True), scenes)


@torch.no_grad()
def _encode(scenes: list[Scene | None], side: int) -> Tensor:
    vae = AutoencoderKL.from_pretrained(CHECKPOINT / "vae")
    rng = np.random.default_rng([5, side])
    batches = [scenes[i : i + 32] for i in range(0, len(scenes), 32)]
    latents = [vae.encode(to_tensor([_draw(s, rng, side) for s in batch])).latent_dist.mean for batch in batches]
    return (torch.cat(latents) * vae.config.scaling_factor).half()


def _draw(scene: Scene | None, rng: np.random.Generator, side: int) -> Pixels:
    return draw_clutter(rng, side) if scene is None else draw(scene, side)


def _caption(scene: Scene | None, rng: np.random.Generator) -> str:
    return str(rng.choice(CLUTTER_CAPTIONS)) if scene is None else caption(scene, rng)
