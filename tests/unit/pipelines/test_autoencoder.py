"""The decoder's layout in memory changes its speed alone."""

from copy import deepcopy

import numpy as np
import torch
from diffusers import AutoencoderKL

from serve_app.pipelines.autoencoder import decode_latents, lay_out
from tests.unit.pipelines.lora_making import CHECKPOINT


def test_a_decoder_that_was_laid_out_draws_the_same_pictures() -> None:
    plain = AutoencoderKL.from_pretrained(CHECKPOINT / "vae").eval()
    laid_out = lay_out(deepcopy(plain))
    assert laid_out.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    latents = torch.randn(3, 4, 9, 8, generator=torch.Generator().manual_seed(0))
    for one, other in zip(decode_latents(plain, latents), decode_latents(laid_out, latents), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
