"""What the stage for shapes trains on: mostly the noise at which outlines are decided."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.pocket.training.denoiser import new_sampler
from models.pocket.training.shaping import MIDDLE, MIDDLE_SHARE, shaping_loss, timesteps_for


class Echo(nn.Module):
    """A UNet that answers with its own weight, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> "Echo":
        self.asked, self.asked_at = text, timesteps
        self.sample = self.weight.expand_as(latents)
        return self


@pytest.mark.parametrize("side", MIDDLE)
def test_most_rows_take_their_noise_from_the_middle_and_the_others_from_everywhere(side: int) -> None:
    spread = timesteps_for(side, 4000, np.random.default_rng(0))
    low, high = MIDDLE[side]
    inside = ((spread >= low) & (spread < high)).mean()
    assert inside == pytest.approx(MIDDLE_SHARE + (1 - MIDDLE_SHARE) * (high - low), abs=0.03)
    assert spread.min() >= 0
    assert 0.99 < spread.max() < 1


@pytest.mark.parametrize(("noise", "strays"), [(0.01, True), (0.6, False)])
def test_other_captions_come_to_what_is_seen_clearly_alone(noise: float, strays: bool) -> None:
    unet, text = Echo(), torch.arange(64.0)[:, None, None].expand(64, 2, 4)
    latents, alphas = torch.zeros(64, 4, 8, 8), new_sampler().alphas_cumprod
    spread = torch.full((64,), noise)
    loss = shaping_loss(unet, latents, text, alphas, spread, np.random.default_rng(1))
    assert torch.isfinite(loss)
    assert torch.equal(unet.asked, text) is not strays
