"""Keys and values of texts that are made once: the same outputs, fewer products, a bound on what they hold."""

from collections.abc import Sequence

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from serve_app.pipelines.cross_attention import PROJECTIONS, CrossAttentionKv
from serve_app.pipelines.text import stack_text
from tests.unit.pipelines.lora_making import CHECKPOINT


def text_bytes(unet: UNet2DConditionModel) -> int:
    """Of the keys and values of 77 tokens in float32."""
    return 77 * 4 * sum(m.out_features for name, m in unet.named_modules() if name.endswith(PROJECTIONS))


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(CHECKPOINT / "unet").eval()


@pytest.fixture
def fresh() -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(CHECKPOINT / "unet").eval()


def texts(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(len(lengths))
    return [torch.randn(length, 64, generator=generator) for length in lengths]


@torch.inference_mode()
def called(unet: UNet2DConditionModel, embeds: Sequence[Tensor], kv: CrossAttentionKv | None = None) -> Tensor:
    latents = torch.randn(len(embeds), 4, 8, 8, generator=torch.Generator().manual_seed(1))
    stacked, mask = stack_text(embeds)
    arguments = {"encoder_hidden_states": stacked, "encoder_attention_mask": mask, "return_dict": False}
    if kv is None:
        return unet(latents, 500.0, **arguments)[0]
    with kv.giving(embeds):
        return unet(latents, 500.0, **arguments)[0]


def counted(kv: CrossAttentionKv) -> list[int]:
    """Grows with each product that is made for a text."""
    made: list[int] = []
    first = kv._makers[0]

    def make(text: Tensor) -> Tensor:
        made.append(len(text))
        return first(text)

    kv._makers[0] = make
    return made


@pytest.mark.parametrize("lengths", [(77,), (77, 77, 77), (77, 154, 77), (154, 77)], ids=str)
def test_the_outputs_are_those_of_texts_that_are_projected_in_each_call(
    unet: UNet2DConditionModel, fresh: UNet2DConditionModel, lengths: tuple[int, ...]
) -> None:
    kv, embeds = CrossAttentionKv(fresh, 2**25), texts(*lengths)
    for some in (embeds, embeds[::-1], embeds[:1], embeds):
        wanted = called(unet, some)
        assert (called(fresh, some, kv) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_a_text_is_projected_once_whatever_its_place(fresh: UNet2DConditionModel) -> None:
    kv, (one, two, three) = CrossAttentionKv(fresh, 2**25), texts(77, 77, 77)
    made = counted(kv)
    for some in ([one, two], [one, two], [two, one, one], [three, two]):
        called(fresh, some, kv)
    assert len(made) == 3


def test_texts_are_told_apart_by_identity_even_where_an_address_comes_again(
    unet: UNet2DConditionModel, fresh: UNet2DConditionModel
) -> None:
    kv = CrossAttentionKv(fresh, 2**20)
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):  # each is let go, and the next may lie where it lay
        text = torch.randn(77, 64, generator=generator)
        wanted = called(unet, [text])
        assert (called(fresh, [text], kv) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_they_hold_no_more_than_their_budget(fresh: UNet2DConditionModel) -> None:
    budget = 3 * text_bytes(fresh)
    kv = CrossAttentionKv(fresh, budget)
    for embeds in (texts(77, 77), texts(77, 77, 77), texts(77)):
        called(fresh, embeds, kv)
        assert 0 < kv.used_bytes <= budget


@pytest.mark.parametrize("texts_that_fit", [0, 2])
def test_a_call_that_would_hold_more_makes_its_own(
    unet: UNet2DConditionModel, fresh: UNet2DConditionModel, texts_that_fit: int
) -> None:
    kv, embeds = CrossAttentionKv(fresh, texts_that_fit * text_bytes(fresh)), texts(77, 77, 77)
    assert torch.equal(called(fresh, embeds, kv), called(unet, embeds))
    assert kv.used_bytes == 0


def test_outside_a_call_that_is_given_them_the_modules_make_their_own(
    unet: UNet2DConditionModel, fresh: UNet2DConditionModel
) -> None:
    kv, embeds = CrossAttentionKv(fresh, 2**25), texts(77)
    called(fresh, texts(77, 77), kv)
    assert torch.equal(called(fresh, embeds), called(unet, embeds))
