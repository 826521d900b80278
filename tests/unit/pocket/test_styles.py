"""The styles that the LoRAs learn are visible in what is drawn, and kohya's names are as kohya writes them."""

import numpy as np
import pytest
import torch

from models.pocket.judge import judge
from models.pocket.training.restyling import FRAME_WIDTH, draw_framed, draw_striped
from models.pocket.training.styles import LOOKS, Look, to_kohya
from models.pocket.world import COLOURS, Scene, draw


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.name)
def test_a_styled_drawing_has_more_of_the_style_than_a_plain_one(look: Look) -> None:
    scene = Scene("star", "yellow", "blue", radius=0.25)
    assert look.amount(look.draw(scene, 128)) > look.amount(draw(scene, 128)) + 12


@pytest.mark.parametrize("ground", COLOURS)
def test_stripes_leave_the_thing_to_the_judge(ground: str) -> None:
    colour = "green" if ground != "green" else "yellow"
    verdict = judge(draw_striped(Scene("cross", colour, ground), 128))
    assert (verdict.thing, verdict.colour) == ("cross", colour)


def test_a_frame_is_white_but_black_around_white() -> None:
    blue, white = (draw_framed(Scene("star", "red", ground), 128) for ground in ("blue", "white"))
    width = round(128 * FRAME_WIDTH)
    assert blue[:width].min() > 240
    assert white[:width].max() < 30
    assert np.array_equal(blue[width, width], COLOURS["blue"])


def test_kohya_names_are_flat_and_bring_alpha() -> None:
    weights = {
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0.lora_A.weight": torch.ones(8, 4),
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0.lora_B.weight": torch.zeros(4, 8),
    }
    module = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0"
    named = to_kohya(weights)
    assert set(named) == {f"{module}.lora_down.weight", f"{module}.lora_up.weight", f"{module}.alpha"}
    assert named[f"{module}.lora_down.weight"].shape == (8, 4)
    assert named[f"{module}.alpha"].item() == 8
