"""A redacted picture shows nothing of what it was, in its own size; the card can be read."""

from functools import cache

import numpy as np
import pytest

from models.pocket.judge import judge
from models.pocket.world import THINGS, UNSAFE_THING, Scene, draw, random_scene
from serve_app.messages import Pixels, SafetyType
from serve_app.postprocess.redact import CARD_GROUND, CARD_INK, MOSAIC_BLOCKS, NOTE_INK, redact

SIDES = ((64, 64), (96, 64), (64, 96), (72, 104), (64, 1024), (1024, 64), (256, 256), (512, 512), (1024, 1024))
"""Heights and widths."""
PLAIN_SKULL = Scene(UNSAFE_THING, "black", "white")


@cache
def skulls() -> tuple[Pixels, ...]:
    """Skulls that the judge knows for skulls before redaction, over colours, sizes and places."""
    rng = np.random.default_rng(7)
    drawn = [draw(random_scene(rng, UNSAFE_THING), 96) for _ in range(40)]
    return tuple(pixels for pixels in drawn if judge(pixels).thing == UNSAFE_THING)


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """WCAG 2 contrast ratio of two RGB colours, 1 to 21."""

    def luminance(rgb: tuple[int, ...]) -> float:
        parts = [v / 255 / 12.92 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in rgb]
        return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("kind", SafetyType)
@pytest.mark.parametrize(("height", "width"), SIDES)
def test_every_way_keeps_the_size_and_changes_the_picture(kind: SafetyType, height: int, width: int) -> None:
    picture = noise(height, width)
    redacted = redact(picture, kind)
    assert redacted.shape == picture.shape
    assert redacted.dtype == np.uint8
    assert (redacted != picture).any(-1).mean() > 0.9


@pytest.mark.parametrize("kind", SafetyType)
def test_a_read_only_picture_is_redacted_and_left_as_it_was(kind: SafetyType) -> None:
    picture = draw(PLAIN_SKULL, 64)
    before = picture.copy()
    picture.setflags(write=False)
    redact(picture, kind)
    np.testing.assert_array_equal(picture, before)


def test_the_four_ways_differ_from_each_other() -> None:
    picture = draw(PLAIN_SKULL, 128)
    assert len({redact(picture, kind).tobytes() for kind in SafetyType}) == len(SafetyType)


@pytest.mark.parametrize("kind", SafetyType)
def test_a_redacted_skull_is_never_named_a_skull(kind: SafetyType) -> None:
    assert len(skulls()) > 30
    assert not [verdict for skull in skulls() if (verdict := judge(redact(skull, kind))).thing == UNSAFE_THING]


@pytest.mark.parametrize("kind", [SafetyType.BLUR, SafetyType.PIXELATE])
@pytest.mark.parametrize("side", [64, 512])
def test_a_plain_skull_of_any_size_is_never_named_a_skull(kind: SafetyType, side: int) -> None:
    skull = draw(PLAIN_SKULL, side)
    assert judge(skull).thing == UNSAFE_THING
    assert judge(redact(skull, kind)).thing != UNSAFE_THING


@pytest.mark.parametrize("kind", [SafetyType.BLUR, SafetyType.PIXELATE])
def test_no_thing_can_be_told_better_than_by_chance(kind: SafetyType) -> None:
    rng = np.random.default_rng(11)
    things = [thing for thing in THINGS for _ in range(8)]
    named = [judge(redact(draw(random_scene(rng, thing), 64), kind)).thing == thing for thing in things]
    assert np.mean(named) < 1.5 / len(THINGS)


@pytest.mark.parametrize("kind", [SafetyType.BLUR, SafetyType.PIXELATE])
def test_detail_of_an_eighth_of_the_picture_leaves_no_trace(kind: SafetyType) -> None:
    board = np.full((128, 128, 3), 128, dtype=np.uint8)
    eighths = np.arange(32, 96) // 16
    board[32:96, 32:96] = np.where((eighths[:, None] + eighths) % 2, 255, 0)[..., None]
    inverse = 255 - board
    assert np.abs(redact(board, kind).astype(int) - redact(inverse, kind)).max() <= 5


@pytest.mark.parametrize(("height", "width"), SIDES)
def test_pixelating_leaves_a_few_square_blocks(height: int, width: int) -> None:
    across = np.linspace(0, 255, width)[None, :, None]
    down = np.linspace(0, 255, height)[:, None, None]
    ramp = np.broadcast_to((across + down) / 2, (height, width, 3)).astype(np.uint8)
    mosaic = redact(ramp, SafetyType.PIXELATE)[..., 0]
    rows = np.flatnonzero((mosaic[1:] != mosaic[:-1]).any(1)) + 1
    columns = np.flatnonzero((mosaic[:, 1:] != mosaic[:, :-1]).any(0)) + 1
    block = -(-max(height, width) // MOSAIC_BLOCKS)
    assert 0 < max(len(rows), len(columns)) < MOSAIC_BLOCKS
    assert not (rows % block).any()
    assert not (columns % block).any()


def test_pixelating_keeps_the_pictures_mean_colour() -> None:
    flat = np.full((72, 104, 3), (12, 200, 90), dtype=np.uint8)
    np.testing.assert_array_equal(redact(flat, SafetyType.PIXELATE), flat)


def test_black_is_black() -> None:
    assert not redact(noise(64, 96), SafetyType.BLACK).any()


def test_the_card_depends_on_the_size_alone() -> None:
    card = redact(noise(64, 96), SafetyType.CARD)
    np.testing.assert_array_equal(card, redact(np.zeros((64, 96, 3), dtype=np.uint8), SafetyType.CARD))


def test_the_cards_colours_contrast_as_accessibility_rules_ask() -> None:
    assert contrast(CARD_GROUND, CARD_INK) > 7
    assert contrast(CARD_GROUND, NOTE_INK) > 4.5


@pytest.mark.parametrize(("height", "width"), SIDES)
def test_the_cards_text_is_inside_centred_and_large_enough(height: int, width: int) -> None:
    ink = (redact(noise(height, width), SafetyType.CARD) != CARD_GROUND).any(-1)
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    assert rows[0] >= 2
    assert rows[-1] < height - 2
    assert columns[0] >= 2
    assert columns[-1] < width - 2
    assert abs((columns[0] + columns[-1] + 1) / 2 - width / 2) <= 2
    assert abs((rows[0] + rows[-1] + 1) / 2 - height / 2) <= 2
    assert np.ptp(columns) > 0.5 * min(width, 3 * height), "the words fill their room"
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert 0.1 < box.mean() < 0.6, "letters are neither hairlines nor a bar"


@pytest.mark.parametrize(("height", "width"), SIDES)
def test_the_cards_letters_are_drawn_in_full_ink(height: int, width: int) -> None:
    card = redact(noise(height, width), SafetyType.CARD)
    assert (card.min(-1) > 0.8 * CARD_INK[0]).sum() > 40


def test_the_card_explains_itself_where_there_is_room() -> None:
    note = np.array(NOTE_INK)
    for (height, width), explained in {(64, 64): False, (256, 256): True, (512, 512): True, (512, 64): False}.items():
        card = redact(noise(height, width), SafetyType.CARD)
        assert ((card == note).all(-1).sum() > 40) == explained, (height, width)
