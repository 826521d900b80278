"""Trains the UNet on for the shapes of things: at the noise where an outline is decided, and on its own guided walks.

Before, a drawn thing noised to a signal as strong as the noise came back with two of three outlines right, since such
noise had been seen in a sixth of the rows; and what guidance adds was trained by no row at all. The text encoder and
the autoencoder stay what they are, so clip skip, textual inversions and the other autoencoder do, too.
"""

import copy
from collections import deque

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from models.pocket.training.denoiser import (
    EARLY_EXIT,
    FULL,
    LARGEST_WEIGHT,
    NO_CAPTION,
    SHORT,
    encode_captions,
    follow,
    new_sampler,
    thing_weights,
    v_loss,
)
from models.pocket.training.latents import load_latents
from models.pocket.training.run import CHECKPOINT, Run, cosine, save_half, set_rate
from models.pocket.training.walks import States, Walker
from models.pocket.world import BLURRY_WORDS

KEPT = {128: 5000, 256: 1600}
"""Side in pixels: pictures kept."""
TURNS = (
    (128, 40, SHORT), (128, 24, None), (256, 12, None), (128, 24, None), (256, 12, SHORT), (256, 12, None),
)  # fmt: skip
"""Side, batch size, and tokens of a noised scene's caption; None: states of walks, each with and without its caption,
which is as large as the real pipeline has it."""
PEAK_RATE, KEEP = 4e-4, 0.997
MIDDLE, MIDDLE_SHARE = {128: (0.03, 0.6), 256: (0.05, 0.75)}, 0.7
"""This share of the rows takes its timestep from within these shares of the schedule, the others from all of it."""
FAINT_FULL, FAINT_NONE, FAINT_SHARE = 0.15, 0.3, 0.5
"""As in `denoiser`, but for less noise: an outline that is only half seen may be drawn as its caption says."""
WALKS, WALKS_AT_ONCE, WALK_EVERY = {128: 16, 256: 16}, {128: 32, 256: 12}, {128: 40, 256: 50}
"""Side: batches of walks kept, the walks of each, and the steps after which the oldest gives way to a new one."""
FIRST_WALKS = 5
GUIDANCES = (1.0, 8.0)
FRESH_NOISE = 0.4
"""Share of the states that are taken apart: what the walk saw, under new noise, as samplers that add noise have it."""
NEGATIVE_SHARE = 0.15
"""Share of the states whose guidance leads away from a negative prompt instead of from none."""


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


def walks_loss(
    unet: nn.Module, states: States, text: Tensor, negative: Tensor, alphas_cumprod: Tensor, guidance: Tensor
) -> Tensor:
    """The v loss of the guided epsilon, a row's guidance its own: (count,).

    The wished epsilon leads from where the walk is to the true picture, whatever noise the walk began with. The larger
    the guidance the larger are both parts' errors, so each row is divided by it.
    """
    alphas, scale = alphas_cumprod[states.timesteps], guidance[:, None, None, None]
    a = alphas[:, None, None, None]
    wished = (states.latents - a.sqrt() * states.wanted) / (1 - a).sqrt()
    twice = torch.cat([states.latents, states.latents]), torch.cat([states.timesteps, states.timesteps])
    said, unsaid = unet(*twice, torch.cat([text, negative])).sample.chunk(2)
    made = unsaid + scale * (said - unsaid)
    errors = ((made - wished).pow(2) * thing_weights(states.wanted)).mean(dim=(1, 2, 3))
    return (errors * (1 / alphas).clamp(max=LARGEST_WEIGHT) / guidance).mean()


class Album:
    """The latest walks of one size."""

    def __init__(self, walker: Walker, side: int) -> None:
        self._walker, self._side = walker, side
        self._walks: deque[States] = deque(maxlen=WALKS[side])

    def refresh(self, unet: nn.Module, rng: np.random.Generator) -> None:
        """Make the first walks, or one batch more in the place of the oldest."""
        for _ in range(1 if self._walks else FIRST_WALKS):
            self._walks.append(self._walker.walk(unet, self._side, WALKS_AT_ONCE[self._side], rng))

    def pick(self, rng: np.random.Generator, count: int, alphas_cumprod: Tensor) -> States:
        """States of walks at random; some under new noise."""
        chosen = [_at_random(self._walks, rng) for _ in range(count)]
        latents, seen, timesteps, wanted = (
            torch.stack([getattr(states, name)[i] for states, i in chosen])
            for name in ("latents", "seen", "timesteps", "wanted")
        )
        a = alphas_cumprod[timesteps][:, None, None, None]
        fresh = torch.from_numpy(rng.random(count) < FRESH_NOISE)[:, None, None, None]
        latents = torch.where(fresh, a.sqrt() * seen + (1 - a).sqrt() * torch.randn_like(seen), latents)
        return States(latents, seen, timesteps, wanted, [states.captions[i] for states, i in chosen])


def _at_random(walks: deque[States], rng: np.random.Generator) -> tuple[States, int]:
    states = walks[int(rng.integers(len(walks)))]
    return states, int(rng.integers(len(states.captions)))


class Shaping:
    """One step's loss, of noised scenes or of walks."""

    def __init__(self, unet: UNet2DConditionModel, average: UNet2DConditionModel) -> None:
        self._unet, self._average = unet, average
        self._tokenizer = CLIPTokenizer.from_pretrained(CHECKPOINT / "tokenizer")
        encoder = CLIPTextModel.from_pretrained(CHECKPOINT / "text_encoder", dtype=torch.float32)
        self._encoder = encoder.requires_grad_(False)
        vae = AutoencoderKL.from_pretrained(CHECKPOINT / "vae", torch_dtype=torch.float32)
        walker = Walker(vae, self._tokenizer, self._encoder)
        self._albums = {side: Album(walker, side) for side in KEPT}
        self._scenes = {side: load_latents(side, kept) for side, kept in KEPT.items()}
        self._alphas = new_sampler().alphas_cumprod
        self._begun = False

    def walk(self, step: int, rng: np.random.Generator) -> None:
        """Make new walks where it is time for some."""
        for side, album in self._albums.items():
            if not self._begun or step % WALK_EVERY[side] == 0:
                album.refresh(self._average, rng)
        self._begun = True

    def scenes(self, side: int, batch: int, tokens: int, rng: np.random.Generator) -> Tensor:
        """The loss of noised scenes."""
        latents, captions = self._scenes[side].pick(rng, batch)
        captions = ["" if rng.random() < NO_CAPTION else text for text in captions]
        text = self._encoded(captions, rng, tokens)
        spread = torch.from_numpy(timesteps_for(side, batch, rng))
        return shaping_loss(self._unet, latents, text, self._alphas, spread, rng)

    def walks(self, side: int, batch: int, rng: np.random.Generator) -> Tensor:
        """The loss of walks' states."""
        states = self._albums[side].pick(rng, batch, self._alphas)
        negatives = [str(rng.choice(BLURRY_WORDS)) if rng.random() < NEGATIVE_SHARE else "" for _ in range(batch)]
        text, negative = self._encoded([*states.captions, *negatives], rng, FULL).chunk(2)
        guidance = torch.from_numpy(rng.uniform(*GUIDANCES, size=batch)).float()
        return walks_loss(self._unet, states, text, negative, self._alphas, guidance)

    def _encoded(self, captions: list[str], rng: np.random.Generator, tokens: int) -> Tensor:
        layer = int(rng.integers(1, 8)) if rng.random() < EARLY_EXIT else -1
        return encode_captions(self._tokenizer, self._encoder, captions, layer, tokens)


def train_shaping(steps: int) -> None:
    """Go on from the checkpoint's UNet, keep an average of the weights, and save that average."""
    unet = UNet2DConditionModel.from_pretrained(CHECKPOINT / "unet", torch_dtype=torch.float32)
    unet.to(memory_format=torch.channels_last)
    average = copy.deepcopy(unet).requires_grad_(False)
    optimizer = torch.optim.AdamW(unet.parameters(), betas=(0.9, 0.99), weight_decay=0.01)
    run = Run("shaping", steps, model=unet, average=average, optimizer=optimizer)
    shaping = Shaping(unet, average)
    for step in run:
        rng = np.random.default_rng([17, step])
        torch.manual_seed(step)
        shaping.walk(step, rng)
        side, batch, tokens = TURNS[step % len(TURNS)]
        loss = shaping.scenes(side, batch, tokens, rng) if tokens else shaping.walks(side, batch, rng)
        set_rate(optimizer, cosine(step, steps, PEAK_RATE))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        follow(average, unet, min(KEEP, (step + 1) / (step + 10)))
        run.tell(side=side, walks=float(tokens is None), loss=loss.item())
    save_half(average, CHECKPOINT / "unet")
