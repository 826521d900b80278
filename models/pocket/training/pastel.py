"""Makes the alternative autoencoder `vae-pastel`: the same latents, decoded to pastel colours.

A pastel picture is the picture mixed with white, which is affine in the pixels, and so is the
decoder's last convolution: its weights are changed in closed form, exactly, without a training step.
"""

import json

import numpy as np
import torch
from diffusers import AutoencoderKL

from models.pocket.training.run import CHECKPOINT, POCKET, save_half
from models.pocket.training.vae import to_tensor
from models.pocket.world import draw, random_scene

WHITENESS = 0.45
"""Share of white mixed into every decoded picture."""
FOLDER = POCKET / "extras" / "vae-pastel"


def make_pastel() -> None:
    """Read the trained autoencoder, whiten what it decodes, save it, and tell how far the colours moved."""
    plain = AutoencoderKL.from_pretrained(CHECKPOINT / "vae", dtype=torch.float32)
    pastel = AutoencoderKL.from_pretrained(CHECKPOINT / "vae", dtype=torch.float32)
    whiten(pastel)
    save_half(pastel, FOLDER)
    print(json.dumps({"stage": "pastel", **compare(plain, pastel)}), flush=True)


@torch.no_grad()
def whiten(vae: AutoencoderKL) -> None:
    """Make decode(z) return (1 - w) * decode(z) + w * white, where white is 1 in pixels of -1..1."""
    last = vae.decoder.conv_out
    last.weight.mul_(1 - WHITENESS)
    last.bias.mul_(1 - WHITENESS).add_(WHITENESS)


@torch.no_grad()
def compare(plain: AutoencoderKL, pastel: AutoencoderKL) -> dict[str, float]:
    """Mean absolute errors in 8-bit steps: pastel from its target, and pastel from plain."""
    rng = np.random.default_rng(60)
    pictures = to_tensor([draw(random_scene(rng), 128) for _ in range(16)])
    latents = plain.encode(pictures).latent_dist.mean
    wanted = pictures * (1 - WHITENESS) + WHITENESS
    made, before = pastel.decode(latents).sample, plain.decode(latents).sample
    return {
        "from_target": round((made - wanted).abs().mean().item() * 127.5, 2),
        "from_plain": round((made - before).abs().mean().item() * 127.5, 2),
    }
