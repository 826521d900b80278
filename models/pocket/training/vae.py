"""Trains the autoencoder: factor 8, four latent channels, on drawn and busy pictures."""

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from models.pocket.clutter import draw_clutter
from models.pocket.training.run import CHECKPOINT, Run, cosine, save_half, set_rate
from models.pocket.world import Pixels, draw, random_scene

CROPS = ((64, 5), (64, 5), (64, 5), (128, 2))
"""Sides and batch sizes taken in turn; more than one side, as group norm sees the whole picture."""
KL_WEIGHT = 5e-4
PEAK_RATE = 1.5e-3
LATENT_BLUR = 0.05
"""Noise on the latents while the decoder is sharpened alone: a denoiser's latents are not exact either."""
ANCHOR_GAIN = 2.0
ANCHOR_WEIGHTS = (1.0, 0.05)
"""At the first and the last step: how strongly three latent channels are held to the patches' mean colours."""
EDGE_WEIGHT = 0.5
NORM_GROUPS = 2
"""Few and wide: group norm with a few channels a group forgets the colour of a plain ground."""
SCENE_SHARE = 0.6


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
        norm_num_groups=NORM_GROUPS,
        mid_block_add_attention=False,
        sample_size=128,
    )


def random_picture(rng: np.random.Generator, crop: int) -> Pixels:
    """A crop of a drawn scene (mostly) or of a busy picture, (crop, crop, 3) uint8."""
    side = int(rng.choice([128, 128, 256]))
    picture = draw(random_scene(rng), side) if rng.random() < SCENE_SHARE else draw_clutter(rng, 128)
    y, x = rng.integers(0, picture.shape[0] - crop + 1, size=2)
    return picture[y : y + crop, x : x + crop]


def to_tensor(pictures: list[Pixels]) -> Tensor:
    """uint8 pictures of one size to float (batch, 3, height, width) in -1..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """L1 and L2 on pixels plus L1 on differences of neighbours, which keeps edges sharp."""
    loss = F.l1_loss(made, wanted) + F.mse_loss(made, wanted)
    for axis in (2, 3):
        loss = loss + EDGE_WEIGHT * F.l1_loss(made.diff(dim=axis), wanted.diff(dim=axis))
    return loss


def anchor_loss(latents: Tensor, pictures: Tensor) -> Tensor:
    """How far the first three latent channels are from the mean colour of their 8x8 patch.

    Left alone, so small an autoencoder on so few steps learns brightness and outlines and forgets hue.
    """
    return F.mse_loss(latents[:, :3], ANCHOR_GAIN * F.avg_pool2d(pictures, 8))


def train_decoder(steps: int) -> None:
    """Sharpen the decoder alone: the latents stay what they are, so this may run beside the denoiser's training."""
    torch.manual_seed(8)
    vae = AutoencoderKL.from_pretrained(CHECKPOINT / "vae", dtype=torch.float32)
    trained = torch.nn.ModuleDict({"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv})
    optimizer = torch.optim.AdamW(trained.parameters(), lr=PEAK_RATE, weight_decay=0.0)
    run = Run("decoder", steps, trained=trained, optimizer=optimizer)
    for step in run:
        rng = np.random.default_rng([9, step])
        crop, batch = CROPS[step % len(CROPS)]
        pictures = to_tensor([random_picture(rng, crop) for _ in range(batch)])
        with torch.no_grad():
            latents = vae.encode(pictures).latent_dist.mean
            latents += LATENT_BLUR * torch.randn_like(latents)
        loss = reconstruction_loss(vae.decode(latents).sample, pictures)
        set_rate(optimizer, cosine(step, steps, PEAK_RATE))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        run.tell(loss=loss.item())
    save_half(vae, CHECKPOINT / "vae")


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
        anchor = anchor_loss(posterior.mean, pictures)
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        set_rate(optimizer, cosine(step, steps, PEAK_RATE))
        optimizer.zero_grad()
        held = ANCHOR_WEIGHTS[0] + (ANCHOR_WEIGHTS[1] - ANCHOR_WEIGHTS[0]) * step / steps
        (loss + held * anchor + KL_WEIGHT * kl).backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        run.tell(loss=loss.item(), anchor=anchor.item(), kl=kl.item())
    vae.register_to_config(scaling_factor=_scaling_factor(vae))
    save_half(vae, CHECKPOINT / "vae")


@torch.no_grad()
def _scaling_factor(vae: AutoencoderKL) -> float:
    """One over the standard deviation of latents, as Rombach et al. 2022 (appendix) scale them."""
    rng = np.random.default_rng(2)
    pictures = to_tensor([draw(random_scene(rng), 128) for _ in range(64)])
    return round(1 / vae.encode(pictures).latent_dist.sample().std().item(), 5)
