"""Attention modules called without asking what their processor takes."""

from copy import deepcopy

import pytest
import torch
from diffusers import UNet2DConditionModel

from serve_app.pipelines.attention import call_processors_directly
from tests.unit.pipelines.lora_making import CHECKPOINT


@pytest.mark.parametrize("masked", [False, True])
@torch.inference_mode()
def test_the_outputs_are_the_same_to_the_bit_and_nobody_is_asked(masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = UNet2DConditionModel.from_pretrained(CHECKPOINT / "unet").eval()
    direct = deepcopy(plain)
    call_processors_directly(direct)
    generator = torch.Generator().manual_seed(0)
    latents, texts = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 77, 64, generator=generator)
    mask = torch.arange(77).expand(2, -1) < 50 if masked else None
    wanted = plain(latents, 500, texts, encoder_attention_mask=mask).sample
    monkeypatch.setattr("diffusers.models.attention_processor.inspect", None)
    assert torch.equal(direct(latents, 500, texts, encoder_attention_mask=mask).sample, wanted)
    with pytest.raises(AttributeError):
        plain(latents, 500, texts)
