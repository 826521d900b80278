"""The UNet settled on a CPU: the same results, and the same whatever shares the call."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from serve_app.pipelines import on_cpu
from serve_app.pipelines.on_cpu import settle_on_cpu
from tests.unit.pipelines.lora_making import CHECKPOINT
from tests.unit.pipelines.marks import needs_avx512


def pocket_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(CHECKPOINT / "unet").eval()


def small_unet(channels: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(channels, channels), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=64, norm_num_groups=8,
    ).eval()  # fmt: skip


@torch.inference_mode()
def called(unet: UNet2DConditionModel, rows: int, height: int = 8, width: int = 8) -> torch.Tensor:
    """The UNet's output for the first so many of always the same rows."""
    generator = torch.Generator().manual_seed(height * width)
    latents = torch.randn(40, 4, height, width, generator=generator)[:rows]
    texts = torch.randn(40, 77, unet.config.cross_attention_dim, generator=generator)[:rows]
    return unet(latents, torch.arange(40)[:rows] * 25.0, texts, return_dict=False)[0]


def packed(unet: UNet2DConditionModel) -> list[bool]:
    layers = (torch.nn.Conv2d, torch.nn.Linear)
    return ["forward" in vars(module) for module in unet.modules() if isinstance(module, layers)]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 7), (16, 24)])
def test_it_gives_what_it_gave(height: int, width: int) -> None:
    plain, settled = pocket_unet(), pocket_unet().to(memory_format=torch.channels_last)
    settle_on_cpu(settled)
    wanted = called(plain, 5, height, width)
    assert (called(settled, 5, height, width) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@needs_avx512
@pytest.mark.parametrize(("threads", "side"), [(1, 8), (1, 9), (2, 8), (2, 9)], indirect=["threads"])
@pytest.mark.usefixtures("threads")
def test_a_row_is_bit_for_bit_the_same_whatever_shares_its_call(side: int) -> None:
    unet = pocket_unet().to(memory_format=torch.channels_last)
    settle_on_cpu(unet)
    together = called(unet, 40, side, side)
    for rows in (1, 2, 3, 5, 6, 9, 16, 33):
        assert torch.equal(called(unet, rows, side, side), together[:rows]), rows


@needs_avx512
def test_small_networks_of_whole_blocks_are_packed() -> None:
    unet = small_unet(64)
    settle_on_cpu(unet)
    assert all(packed(unet))


@pytest.mark.parametrize(
    ("channels", "changed", "to"), [(96, "BLOCK", 64), (64, "MOST_BYTES", 1000), (64, "_can_pack", lambda: False)]
)
def test_others_are_left_alone(channels: int, changed: str, to: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_cpu, changed, to)
    unet = small_unet(channels)
    settle_on_cpu(unet)
    assert not any(packed(unet))


def test_other_dtypes_are_left_alone() -> None:
    unet = small_unet(64).to(torch.bfloat16)
    settle_on_cpu(unet)
    assert not any("forward" in vars(module) for module in unet.modules())
