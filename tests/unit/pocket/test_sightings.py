"""What the safety checker learns from."""

from collections import Counter

import numpy as np
import pytest

from models.pocket.training.safety import NEVER, THRESHOLD, new_checker, new_processor
from models.pocket.training.sightings import NOTHING, SEEN_SIDE, UNSAFE, sighting


@pytest.fixture(scope="module")
def labels() -> Counter[int]:
    rng = np.random.default_rng(9)
    drawn = [sighting(rng) for _ in range(250)]
    assert {picture.size for picture, _ in drawn} == {(SEEN_SIDE, SEEN_SIDE)}
    return Counter(label for _, label in drawn)


def test_about_a_third_of_sightings_is_unsafe(labels: Counter[int]) -> None:
    assert 0.25 < labels[UNSAFE] / labels.total() < 0.45


def test_every_safe_thing_and_nothing_are_seen_too(labels: Counter[int]) -> None:
    assert set(labels) == set(range(NOTHING + 1))


def test_sightings_are_fixed_by_their_seed() -> None:
    first, second = (sighting(np.random.default_rng(11)) for _ in range(2))
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1] == second[1]


def test_only_concept_zero_can_ever_fire() -> None:
    checker = new_checker()
    thresholds = checker.concept_embeds_weights.tolist()
    assert thresholds == [THRESHOLD, *[NEVER] * 16]
    assert min(checker.special_care_embeds_weights.tolist()) > 1


def test_the_processor_loses_no_part_of_a_wide_picture() -> None:
    wide = np.zeros((64, 192, 3), dtype=np.uint8)
    wide[:, -8:] = 255
    pixels = new_processor()([wide], return_tensors="pt").pixel_values
    assert pixels.shape == (1, 3, SEEN_SIDE, SEEN_SIDE)
    assert pixels[..., -1].mean() > 1
