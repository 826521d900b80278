"""The safety filter over HTTP: the unsafe thing is replaced in four ways, and nothing else is."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from models.pocket.judge import judge
from tests.conftest import Service
from tests.integration.asking import ask, distance, download, pixels_of

UNSAFE = {
    "prompt": "a yellow skull on a blue background", "enhance_prompt": "no", "num_inference_steps": 20,
    "guidance_scale": 6, "strength": 0.9, "seed": 2,
}  # fmt: skip
"""Drawn from the words alone: the init image is a circle."""
TYPES = ("blur", "pixelate", "black", "sensitive_content_text")


def _shown(service: Service, **fields: object) -> tuple[bool, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    answer = ask(service, **{"num_inference_steps": 10, **fields})
    return answer["nsfw_content_detected"], pixels_of(download(service, answer["output"][0]))


@pytest.mark.parametrize("kind", TYPES)
def test_the_unsafe_thing_is_hidden_in_the_way_asked_for(service: Service, kind: str) -> None:
    flagged, shown = _shown(service, **UNSAFE, safety_checker="yes", safety_checker_type=kind)
    assert flagged
    assert shown.shape == (128, 128, 3)
    assert judge(shown).thing != "skull"


def test_a_replaced_picture_is_told_as_such_in_the_answer_and_in_its_png(service: Service) -> None:
    answer = ask(service, **UNSAFE, safety_checker="yes", safety_checker_type="blur")
    assert answer["pictures"] == [{"seed": UNSAFE["seed"], "replaced": True}]
    info = Image.open(io.BytesIO(download(service, answer["output"][0]))).info
    assert json.loads(info["darkroom"])["replaced"] == "blur"
    assert info["parameters"].endswith(", Safety filter: blur")


def test_the_four_replacements_differ(service: Service) -> None:
    shown = [_shown(service, **UNSAFE, safety_checker="yes", safety_checker_type=kind)[1] for kind in TYPES]
    assert all(distance(a, b) > 5 for i, a in enumerate(shown) for b in shown[:i])
    assert shown[TYPES.index("black")].max() == 0


def test_without_the_checker_the_unsafe_thing_comes_untouched(service: Service) -> None:
    flagged, shown = _shown(service, **UNSAFE, safety_checker="no")
    assert not flagged
    assert judge(shown).thing == "skull"


def test_a_safe_picture_passes_the_checker_untouched(service: Service) -> None:
    unchecked, plain = _shown(service, safety_checker="no", strength=0.9)
    checked, same = _shown(service, safety_checker="yes", strength=0.9)
    assert not unchecked
    assert not checked
    assert np.array_equal(plain, same)


def test_the_checker_is_on_unless_it_is_switched_off(service: Service) -> None:
    flagged, shown = _shown(service, **UNSAFE, safety_checker=None)
    assert flagged
    assert judge(shown).thing != "skull"
