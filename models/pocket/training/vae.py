"""Trains the autoencoder: factor 8, four latent channels, on drawn and busy pictures."""

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from models.pocket.clutter import draw_clutter
from models.pocket.training.run import CHECKPOINT, Run, cosine, save_half, set_rate
from models.pocket.world import Pixels, draw, random_scene

CROPS = ((64, 16), (64, 16), (64, 16), (128, 4))
"""Sides and batch sizes taken in turn; more than one side, as group norm sees the whole picture."""
KL_WEIGHT = 2e-3
EDGE_WEIGHT = 1.0


def new_vae() -> AutoencoderKL:
    """An untrained autoencoder; no attention in the middle, so that it treats every picture size alike."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=128,
    )


def random_picture(rng: np.random.Generator, crop: int) -> Pixels:
    """A crop of a drawn scene (half of the time) or of a busy picture, (crop, crop, 3) uint8."""
    side = int(rng.choice([128, 128, 256]))
    picture = draw(random_scene(rng), side) if rng.random() < 0.5 else draw_clutter(rng, 128)
    y, x = rng.integers(0, picture.shape[0] - crop + 1, size=2)
    return picture[y : y + crop, x : x + crop]


def to_tensor(pictures: list[Pixels]) -> Tensor:
    """uint8 pictures of one size to float (batch, 3, height, width) in -1..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """L1 on pixels plus L1 on differences of neighbours, which keeps edges sharp."""
    loss = F.l1_loss(made, wanted)
    for axis in (2, 3):
        loss = loss + EDGE_WEIGHT * F.l1_loss(made.diff(dim=axis), wanted.diff(dim=axis))
    return loss


def train_vae(steps: int) -> None:
    """Train, measure the latents' spread, and save with that scaling factor."""
    torch.manual_seed(0)
    vae = new_vae()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-3, weight_decay=0.0)
    run = Run("vae", steps, vae=vae, optimizer=optimizer)
    for step in run:
        rng = np.random.default_rng([1, step])
        crop, batch = CROPS[step % len(CROPS)]
        pictures = to_tensor([random_picture(rng, crop) for _ in range(batch)])
        posterior = vae.encode(pictures).latent_dist
        loss = reconstruction_loss(vae.decode(posterior.sample()).sample, pictures)
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        set_rate(optimizer, cosine(step, steps, 2e-3))
        optimizer.zero_grad()
        (loss + KL_WEIGHT * kl).backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        run.tell(loss=loss.item(), kl=kl.item())
    vae.register_to_config(scaling_factor=_scaling_factor(vae))
    save_half(vae, CHECKPOINT / "vae")


@torch.no_grad()
def _scaling_factor(vae: AutoencoderKL) -> float:
    """One over the standard deviation of latents, as Rombach et al. 2022 (appendix) scale them."""
    rng = np.random.default_rng(2)
    pictures = to_tensor([draw(random_scene(rng), 128) for _ in range(64)])
    return round(1 / vae.encode(pictures).latent_dist.sample().std().item(), 5)
