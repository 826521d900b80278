"""The diffusers checker: its verdicts, and that every way it can break is a failed check, never a pass."""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from models.pocket.world import Scene, draw
from serve_app.errors import SafetyCheckFailed
from serve_app.messages import Pixels
from serve_app.postprocess.safety import CHECKER_LOGGER, DiffusersSafetyChecker

SIDE = 32
UNSAFE = draw(Scene("skull", "black", "white"), 64)
SAFE = draw(Scene("star", "red", "blue"), 64)
NEVER = 2.0
"""A threshold over every cosine."""
WEIGHTS = Path("safety_checker") / "model.safetensors"


def tiny_config() -> CLIPConfig:
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return CLIPConfig(
        text_config={**shape, "vocab_size": 16, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1},
        vision_config={**shape, "image_size": SIDE, "patch_size": 8},
        projection_dim=8,
    )


@torch.no_grad()
def teach(model: StableDiffusionSafetyChecker, processor: CLIPImageProcessorPil) -> None:
    """Set the concepts so that UNSAFE is over the first one's threshold and SAFE is under it."""
    clip_input = processor([Image.fromarray(UNSAFE), Image.fromarray(SAFE)], return_tensors="pt").pixel_values
    embeds = torch.nn.functional.normalize(model.visual_projection(model.vision_model(clip_input)[1]))
    concept = torch.nn.functional.normalize(embeds[0] - embeds[1], dim=0)
    model.concept_embeds[0] = concept
    model.concept_embeds_weights.fill_(NEVER)
    model.special_care_embeds_weights.fill_(NEVER)
    model.concept_embeds_weights[0] = (embeds @ concept).mean()


@pytest.fixture(scope="module")
def taught_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder with a checker of random weights that knows UNSAFE from SAFE."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoint")
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    model = StableDiffusionSafetyChecker(tiny_config()).eval()
    teach(model, processor)
    model.save_pretrained(folder / "safety_checker")
    processor.save_pretrained(folder / "feature_extractor")
    return folder


@pytest.fixture(scope="module")
def checker(taught_folder: Path) -> DiffusersSafetyChecker:
    checker = DiffusersSafetyChecker(taught_folder)
    checker.load()
    return checker


@pytest.fixture
def own_folder(taught_folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder that a test may damage."""
    for file in taught_folder.rglob("*.*"):
        copy = tmp_path / file.relative_to(taught_folder)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_bytes())
    return tmp_path


@pytest.fixture
def checker_log() -> Iterator[list[str]]:
    """What the checker's logger lets through."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(CHECKER_LOGGER)
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def change_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    """Replace weights by name, or take them away where the change is None."""
    weights = load_file(folder / WEIGHTS)
    for name, change in changes.items():
        del weights[name.replace("__", ".")]
        if change is not None:
            weights[name.replace("__", ".")] = change
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def stack(*pictures: Pixels) -> Pixels:
    return np.stack(pictures)


def test_each_picture_gets_its_own_verdict(checker: DiffusersSafetyChecker) -> None:
    assert checker.flags(stack(UNSAFE, SAFE)) == (True, False)
    assert checker.flags(stack(SAFE, SAFE, UNSAFE, SAFE)) == (False, False, True, False)


def test_pictures_are_judged_and_not_changed(checker: DiffusersSafetyChecker) -> None:
    pixels = stack(UNSAFE, SAFE)
    pixels.setflags(write=False)
    assert checker.flags(pixels) == (True, False)
    np.testing.assert_array_equal(pixels, stack(UNSAFE, SAFE))


@pytest.mark.parametrize(("height", "width"), [(64, 96), (8, 8), (3, 3), (64, 1024)])
def test_any_size_is_judged(checker: DiffusersSafetyChecker, height: int, width: int) -> None:
    assert len(checker.flags(np.zeros((2, height, width, 3), dtype=np.uint8))) == 2


def test_the_models_note_about_black_images_is_not_logged_and_other_words_are(
    checker: DiffusersSafetyChecker, checker_log: list[str]
) -> None:
    assert checker.flags(stack(UNSAFE)) == (True,)
    assert checker_log == []
    logging.getLogger(CHECKER_LOGGER).warning("something else")
    assert checker_log == ["something else"]


def test_the_model_loads_on_first_use_where_nobody_loaded_it(taught_folder: Path) -> None:
    assert DiffusersSafetyChecker(str(taught_folder)).flags(stack(UNSAFE, SAFE)) == (True, False)


def test_threads_are_set_on_load(taught_folder: Path) -> None:
    before = torch.get_num_threads()
    try:
        DiffusersSafetyChecker(taught_folder, threads=before + 1).load()
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_half_precision_weights_judge_alike(own_folder: Path) -> None:
    halves = {name: weight.half() for name, weight in load_file(own_folder / WEIGHTS).items()}
    save_file(halves, own_folder / WEIGHTS, metadata={"format": "pt"})
    assert DiffusersSafetyChecker(own_folder).flags(stack(UNSAFE, SAFE)) == (True, False)


def test_weights_under_the_names_of_older_files_are_read(own_folder: Path) -> None:
    weights = load_file(own_folder / WEIGHTS)
    older = {name.replace("vision_model.", "vision_model.vision_model.", 1): v for name, v in weights.items()}
    older["vision_model.vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    save_file(older, own_folder / WEIGHTS, metadata={"format": "pt"})
    settings = own_folder / "feature_extractor" / "preprocessor_config.json"
    renamed = json.loads(settings.read_text()) | {"feature_extractor_type": "CLIPFeatureExtractor"}
    settings.write_text(json.dumps(renamed))
    assert DiffusersSafetyChecker(own_folder).flags(stack(UNSAFE, SAFE)) == (True, False)


def refusal(folder: Path) -> SafetyCheckFailed:
    checker = DiffusersSafetyChecker(folder)
    with pytest.raises(SafetyCheckFailed) as on_load:
        checker.load()
    with pytest.raises(SafetyCheckFailed):
        checker.flags(stack(SAFE))
    assert on_load.value.__cause__ is not None
    return on_load.value


@pytest.mark.parametrize("missing", ["safety_checker", "feature_extractor", "."])
def test_an_absent_checker_refuses(own_folder: Path, missing: str) -> None:
    shutil.rmtree(own_folder / missing)
    assert "no safety checker" in refusal(own_folder).detail


def test_a_truncated_weights_file_refuses(own_folder: Path) -> None:
    weights = own_folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:1000])
    refusal(own_folder)


def test_weights_as_a_pickle_are_not_read(own_folder: Path) -> None:
    weights = load_file(own_folder / WEIGHTS)
    (own_folder / WEIGHTS).unlink()
    torch.save(weights, own_folder / "safety_checker" / "pytorch_model.bin")
    refusal(own_folder)


def test_a_weight_that_is_missing_is_not_made_up(own_folder: Path) -> None:
    change_weights(own_folder, visual_projection__weight=None)
    assert "visual_projection.weight" in refusal(own_folder).detail


def test_a_weight_of_the_wrong_shape_refuses(own_folder: Path) -> None:
    change_weights(own_folder, concept_embeds=torch.ones(17, 5))
    refusal(own_folder)


@pytest.mark.parametrize("name", ["concept_embeds", "concept_embeds_weights", "visual_projection__weight"])
def test_weights_that_are_not_finite_refuse(own_folder: Path, name: str) -> None:
    broken = load_file(own_folder / WEIGHTS)[name.replace("__", ".")]
    broken.flatten()[0] = torch.nan
    change_weights(own_folder, **{name: broken})
    refusal(own_folder)


@pytest.mark.parametrize("scale", [1e38, 0.0])
def test_scores_that_mean_nothing_are_a_failed_check(own_folder: Path, scale: float) -> None:
    weight = load_file(own_folder / WEIGHTS)["visual_projection.weight"]
    change_weights(own_folder, visual_projection__weight=weight.sign() * scale)
    checker = DiffusersSafetyChecker(own_folder)
    checker.load()
    with pytest.raises(SafetyCheckFailed, match="not finite"):
        checker.flags(stack(SAFE))


@pytest.mark.parametrize("failure", [RuntimeError("out of memory"), IndexError("shape"), MemoryError()])
def test_a_model_that_raises_is_a_failed_check_from_its_error(
    taught_folder: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(StableDiffusionSafetyChecker, "forward", broken)
    with pytest.raises(SafetyCheckFailed) as caught:
        DiffusersSafetyChecker(taught_folder).flags(stack(SAFE))
    assert caught.value.__cause__ is failure


@pytest.mark.parametrize("verdicts", [[], [False], [False, False, False]])
def test_a_model_that_miscounts_is_a_failed_check(
    taught_folder: Path, monkeypatch: pytest.MonkeyPatch, verdicts: list[bool]
) -> None:
    monkeypatch.setattr(StableDiffusionSafetyChecker, "forward", lambda *_, **__: ([], verdicts))
    with pytest.raises(SafetyCheckFailed, match="2 pictures"):
        DiffusersSafetyChecker(taught_folder).flags(stack(SAFE, SAFE))
