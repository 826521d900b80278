"""Trains the UNet on for the shapes of things: at the noise where an outline is decided, and where it is refined.

Before, a drawn thing noised to a signal as strong as the noise came back with two of three outlines right: such
noise had been seen in a sixth of the rows. The text encoder and the autoencoder stay what they are, so clip skip,
textual inversions and the other autoencoder do, too.
"""

import copy

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from models.pocket.training.denoiser import (
    EARLY_EXIT,
    FULL,
    NO_CAPTION,
    SHORT,
    encode_captions,
    follow,
    new_sampler,
    v_loss,
)
from models.pocket.training.latents import load_latents
from models.pocket.training.run import CHECKPOINT, Run, cosine, save_half, set_rate

KEPT = {128: 5000, 256: 1600}
"""Side in pixels: pictures kept."""
TURNS = ((128, 48, SHORT), (256, 16, SHORT), (128, 48, SHORT), (256, 16, FULL), (128, 32, FULL), (256, 16, SHORT))
"""Side, batch size, tokens."""
PEAK_RATE, KEEP = 5e-4, 0.998
MIDDLE, MIDDLE_SHARE = {128: (0.03, 0.6), 256: (0.05, 0.75)}, 0.7
"""This share of the rows takes its timestep from within these shares of the schedule, the others from all of it."""
FAINT_FULL, FAINT_NONE, FAINT_SHARE = 0.15, 0.3, 0.5
"""As in `denoiser`, but for less noise: an outline that is only half seen may be drawn as its caption says."""


def timesteps_for(side: int, count: int, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Shares of the schedule, spread evenly within each part: (count,)."""
    low, high = MIDDLE[side]
    spread = (rng.permutation(count) + rng.random(count)) / count
    middle = rng.random(count) < MIDDLE_SHARE
    return np.where(middle, low + (high - low) * spread, spread)


def shaping_loss(
    unet: nn.Module, latents: Tensor, text: Tensor, alphas_cumprod: Tensor, spread: Tensor, rng: np.random.Generator
) -> Tensor:
    """The v loss, as in `denoiser`, at the given shares of the schedule."""
    ramp = ((FAINT_NONE - spread) / (FAINT_NONE - FAINT_FULL)).clamp(0, 1) * FAINT_SHARE
    strays = torch.from_numpy(rng.random(len(latents))) < ramp
    text = torch.where(strays[:, None, None], text[torch.from_numpy(rng.permutation(len(latents)))], text)
    return v_loss(unet, latents, text, alphas_cumprod, (spread * len(alphas_cumprod)).long(), rng)


def train_shaping(steps: int) -> None:
    """Go on from the checkpoint's UNet, keep an average of the weights, and save that average."""
    tokenizer = CLIPTokenizer.from_pretrained(CHECKPOINT / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(CHECKPOINT / "text_encoder", dtype=torch.float32).requires_grad_(False)
    unet = UNet2DConditionModel.from_pretrained(CHECKPOINT / "unet", dtype=torch.float32)
    unet.to(memory_format=torch.channels_last)
    average = copy.deepcopy(unet)
    optimizer = torch.optim.AdamW(unet.parameters(), betas=(0.9, 0.99), weight_decay=0.01)
    sets = {side: load_latents(side, kept) for side, kept in KEPT.items()}
    alphas = new_sampler().alphas_cumprod
    run = Run("shaping", steps, model=unet, average=average, optimizer=optimizer)
    for step in run:
        rng = np.random.default_rng([17, step])
        torch.manual_seed(step)
        side, batch, tokens = TURNS[step % len(TURNS)]
        latents, captions = sets[side].pick(rng, batch)
        captions = ["" if rng.random() < NO_CAPTION else text for text in captions]
        layer = int(rng.integers(1, 8)) if rng.random() < EARLY_EXIT else -1
        text = encode_captions(tokenizer, encoder, captions, layer, tokens)
        spread = torch.from_numpy(timesteps_for(side, batch, rng))
        loss = shaping_loss(unet, latents, text, alphas, spread, rng)
        set_rate(optimizer, cosine(step, steps, PEAK_RATE))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        follow(average, unet, min(KEEP, (step + 1) / (step + 10)))
        run.tell(side=side, loss=loss.item())
    save_half(average, CHECKPOINT / "unet")
