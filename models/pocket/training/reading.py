"""Teaches the text encoder to tell the world's words apart, beside what the UNet teaches it.

A thing is a fifth of the picture, so the denoising loss alone moves its word's embedding very little:
after 2500 steps another thing moved the embeddings five times less than another colour did.
"""

import re

import torch
from torch import Tensor, nn

from models.pocket.world import COLOURS, THINGS

UNSAID = -100
"""The class that cross entropy leaves out."""
SHARPNESS = 2.0
READING_WEIGHT = 0.2
_ATTRIBUTES = (tuple(THINGS), tuple(COLOURS), tuple(COLOURS))
_THING = re.compile(rf"(?:\b({'|'.join(COLOURS)}) )?\b({'|'.join(THINGS)})\b")
_GROUND = re.compile(rf"\b({'|'.join(COLOURS)}) background")


def said(caption: str) -> tuple[int, int, int]:
    """Places of the thing, its colour and the ground in the world's tables; UNSAID for what is not said."""
    thing, ground = _THING.search(caption), _GROUND.search(caption)
    words = (thing and thing[2], thing and thing[1], ground and ground[1])
    thing_at, colour_at, ground_at = (
        names.index(word) if word else UNSAID for names, word in zip(_ATTRIBUTES, words, strict=True)
    )
    return thing_at, colour_at, ground_at


def word_directions(width: int) -> Tensor:
    """One fixed direction for each word of each attribute, orthonormal: (words, width)."""
    count = sum(map(len, _ATTRIBUTES))
    drawn = torch.randn(width, count, generator=torch.Generator().manual_seed(8))
    return torch.linalg.qr(drawn).Q.T


def reading_loss(text: Tensor, captions: list[str], directions: Tensor) -> Tensor:
    """Cross entropy of naming thing, colour and ground from the mean of text embeddings (batch, tokens, width)."""
    logits = SHARPNESS * text.mean(dim=1) @ directions.T
    labels = torch.tensor([said(caption) for caption in captions])
    loss = logits.new_zeros(())
    for part, label in zip(logits.split([len(names) for names in _ATTRIBUTES], dim=1), labels.T, strict=True):
        known = label != UNSAID
        if known.any():
            loss = loss + nn.functional.cross_entropy(part[known], label[known])
    return READING_WEIGHT * loss
