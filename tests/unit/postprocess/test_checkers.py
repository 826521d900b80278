"""Each model has its own safety checker, or says that it has none; nothing passes for checked that was not."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from models.pocket.world import Scene, draw
from serve_app.config import POCKET, PROJECT
from serve_app.errors import ConfigError, SafetyCheckFailed
from serve_app.postprocess.safety import NoChecker, checked_flags, load_checkers

FOLDER = PROJECT / POCKET.source
SKULL = np.stack([draw(Scene("skull", "black", "white"), 64)])


def test_models_that_name_one_folder_share_one_loaded_checker() -> None:
    loaded = load_checkers({"a": FOLDER, "b": FOLDER})
    assert loaded["a"] is loaded["b"]
    assert checked_flags(loaded["a"], SKULL) == (True,)


def test_a_checker_that_cannot_be_loaded_stops_the_start_and_names_its_model(tmp_path: Path) -> None:
    shutil.copytree(FOLDER / "safety_checker", tmp_path / "safety_checker")
    (tmp_path / "safety_checker" / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="'second'"):
        load_checkers({"first": FOLDER, "second": tmp_path})


def test_a_model_without_a_checker_lets_no_picture_through_that_is_to_be_checked() -> None:
    with pytest.raises(SafetyCheckFailed):
        checked_flags(NoChecker(), SKULL)
