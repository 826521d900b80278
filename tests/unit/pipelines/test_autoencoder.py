"""Pictures through the VAE: what they become, alone and in company."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from serve_app.errors import GenerationFailed
from serve_app.pipelines.autoencoder import decode_latents, encode_pictures, lay_out
from tests.unit.pipelines.lora_making import CHECKPOINT


def test_a_decoder_that_was_laid_out_draws_the_same_pictures() -> None:
    plain = AutoencoderKL.from_pretrained(CHECKPOINT / "vae").eval()
    laid_out = lay_out(deepcopy(plain))
    assert laid_out.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    latents = torch.randn(3, 4, 9, 8, generator=torch.Generator().manual_seed(0))
    for one, other in zip(decode_latents(plain, latents), decode_latents(laid_out, latents), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("threads", [1, 2], indirect=True)
@torch.inference_mode()
def test_on_a_cpu_a_picture_is_encoded_to_the_same_bits_whoever_else_asked() -> None:
    vae = AutoencoderKL.from_pretrained(CHECKPOINT / "vae").eval()
    pictures = list(np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8))
    alone = [encode_pictures(vae, [picture])[0].parameters for picture in pictures]
    for one, other in zip(alone, encode_pictures(vae, pictures), strict=True):
        assert torch.equal(one, other.parameters)


def test_numbers_that_are_not_finite_are_no_picture() -> None:
    vae = AutoencoderKL.from_pretrained(CHECKPOINT / "vae").eval()
    latents = torch.zeros(2, 4, 8, 8)
    latents[1, 0, 3, 3] = torch.nan
    assert len(decode_latents(vae, latents[:1])) == 1
    with pytest.raises(GenerationFailed, match="not finite"):
        decode_latents(vae, latents)
