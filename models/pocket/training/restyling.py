"""Pictures in a style of their own: pairs of a plain and a styled picture, and the loss that leads to the styled one.

The LoRAs and the textual inversion learn from such pairs; the base model stays as it is.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from models.pocket.training.denoiser import LARGEST_WEIGHT
from models.pocket.training.run import CHECKPOINT, STATE
from models.pocket.training.vae import to_tensor
from models.pocket.world import COLOURS, Pixels, Scene, draw, random_scene

STRIPE_CONTRAST = 50.0
"""RGB distance between the two shades of a striped ground: plain to see, and the judge still takes both for ground."""
STRIPE_PERIOD = 0.25
FRAME_WIDTH = 0.125
LEAK_START, LEAK_FULL, LEAK_SHARE = 300, 600, 0.5
Style = Callable[[Scene, int], Pixels]


def draw_striped(scene: Scene, side: int) -> Pixels:
    """The scene on a ground of broad diagonal stripes: its colour and a lighter shade (darker on light grounds)."""
    picture = draw(scene, side).astype(np.float32)
    ground = np.add(COLOURS[scene.ground], scene.tint[3:]).clip(0, 255).astype(np.float32)
    goal = np.full(3, 255.0 if ground.mean() < 128 else 0.0, dtype=np.float32)
    step = (goal - ground) / np.linalg.norm(goal - ground) * STRIPE_CONTRAST
    rows, columns = np.mgrid[0:side, 0:side] / side
    wave = np.sin(2 * np.pi * (rows + columns) / (STRIPE_PERIOD * np.sqrt(2)))
    stripes = (wave * side / 12).clip(-1, 1) / 2 + 0.5
    behind = np.linalg.norm(picture - ground, axis=-1).clip(0, 60) / 60
    return (picture + (stripes * (1 - behind))[..., None] * step).round().clip(0, 255).astype(np.uint8)


def draw_framed(scene: Scene, side: int) -> Pixels:
    """The scene with a wide white frame, or a black one where the ground is white."""
    picture = draw(scene, side).copy()
    width = round(side * FRAME_WIDTH)
    inside = np.zeros((side, side), dtype=bool)
    inside[width:-width, width:-width] = True
    picture[~inside] = 20 if scene.ground == "white" else 250
    return picture


@dataclass(frozen=True, slots=True)
class PairSet:
    """Scaled latents (count, 4, side/8, side/8) of plain and of styled pictures, and the scenes of the styled ones."""

    plain: Tensor
    styled: Tensor
    scenes: list[Scene]

    def pick(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, list[Scene]]:
        """Pick `count` pairs."""
        chosen = rng.integers(0, len(self.scenes), size=count)
        return self.plain[chosen].float(), self.styled[chosen].float(), [self.scenes[i] for i in chosen]


def load_pairs(name: str, scenes: list[Scene], style: Style, side: int) -> PairSet:
    """Encode the styled scenes and as many plain ones (half of them of the same scene), or read them from disk."""
    file = STATE / f"pairs-{name}-{side}-{len(scenes)}.pt"
    if not file.exists():
        rng = np.random.default_rng([21, side])
        others = [scene if rng.random() < 0.5 else random_scene(rng) for scene in scenes]
        plain = encode_pictures(draw(scene, side) for scene in others)
        styled = encode_pictures(style(scene, side) for scene in scenes)
        STATE.mkdir(parents=True, exist_ok=True)
        torch.save({"plain": plain, "styled": styled}, file)
    return PairSet(**torch.load(file, weights_only=True), scenes=scenes)


@torch.no_grad()
def encode_pictures(pictures: Iterable[Pixels]) -> Tensor:
    """Scaled latents of pictures of one size, as float16."""
    vae = AutoencoderKL.from_pretrained(CHECKPOINT / "vae", dtype=torch.float32)
    latents = [vae.encode(to_tensor([picture])).latent_dist.mean for picture in pictures]
    return (torch.cat(latents) * vae.config.scaling_factor).half()


def restyling_loss(
    unet: nn.Module, plain: Tensor, styled: Tensor, text: Tensor, alphas_cumprod: Tensor, rng: np.random.Generator
) -> Tensor:
    """The denoiser's loss towards the styled picture, some rows starting from the noised plain one.

    As `denoiser.leaky_noise` does, but what shines through is a picture without the style: an init
    image has none either. Ambiguous at high noise only, so it is done from LEAK_START on.
    """
    count = len(styled)
    timesteps = torch.from_numpy((rng.permutation(count) + rng.random(count)) / count * len(alphas_cumprod)).long()
    alphas = alphas_cumprod[timesteps]
    ramp = ((timesteps - LEAK_START) / (LEAK_FULL - LEAK_START)).clamp(0, 1) * LEAK_SHARE
    ratio = (alphas / (1 - alphas)).sqrt() * (torch.from_numpy(rng.random(count)) < ramp)
    noise = torch.randn_like(styled) + ratio[:, None, None, None] * (plain - styled)
    a = alphas[:, None, None, None]
    made = unet(a.sqrt() * styled + (1 - a).sqrt() * noise, timesteps, text).sample
    errors = (made - noise).pow(2).mean(dim=(1, 2, 3))
    return (errors * (1 / alphas).clamp(max=LARGEST_WEIGHT)).mean()
