"""Pictures through the VAE: neither its layout in memory nor who shares a call changes what they become."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from serve_app.pipelines.autoencoder import decode_latents, encode_pictures, lay_out
from tests.unit.pipelines.lora_making import CHECKPOINT
from tests.unit.pipelines.marks import needs_x86


def test_a_decoder_that_was_laid_out_draws_the_same_pictures() -> None:
    plain = AutoencoderKL.from_pretrained(CHECKPOINT / "vae").eval()
    laid_out = lay_out(deepcopy(plain))
    assert laid_out.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    latents = torch.randn(3, 4, 9, 8, generator=torch.Generator().manual_seed(0))
    for one, other in zip(decode_latents(plain, latents), decode_latents(laid_out, latents), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


@needs_x86
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("threads", [1], indirect=True)
@pytest.mark.parametrize(("height", "width", "most"), [(64, 64, 9), (72, 64, 7), (96, 96, 4), (128, 128, 3)])
@torch.inference_mode()
def test_who_shares_a_call_changes_no_bit(height: int, width: int, most: int) -> None:
    """Also where more come than a call takes, so that one is left over."""
    vae = lay_out(AutoencoderKL.from_pretrained(CHECKPOINT / "vae").eval())
    pictures = list(np.random.default_rng(0).integers(0, 256, (most, height, width, 3), dtype=np.uint8))
    latents = torch.randn(most, 4, height // 8, width // 8, generator=torch.Generator().manual_seed(0))
    encoded = [encode_pictures(vae, [picture])[0].parameters for picture in pictures]
    decoded = [decode_latents(vae, each[None])[0] for each in latents]
    for number in range(2, most + 1):
        for one, other in zip(encoded, encode_pictures(vae, pictures[:number]), strict=False):
            assert torch.equal(one, other.parameters)
        for drawn, again in zip(decoded, decode_latents(vae, latents[:number]), strict=False):
            assert np.array_equal(drawn, again)
