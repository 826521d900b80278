"""A safety checker belongs to a model: each entry names its own, or says that it has none."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from serve_app.api.wire import check_against, parse_img2img
from serve_app.config import POCKET, PROJECT, AppConfig, ModelEntry, config_of
from serve_app.config.wording import shown
from serve_app.errors import ConfigError, InvalidFields
from serve_app.preflight import examine_args
from serve_app.preflight.models import hub_notes, model_faults
from tests.unit.preflight.making import diffusers_folder, put

BODY = {"prompt": "a", "init_image": "aGk=", "model_id": "m"}


def told(folder: Path, **entry: object) -> list[str]:
    source = str(diffusers_folder(folder / "model"))
    config = config_of({"catalogue": [{"id": "m", "source": source, **entry}]})
    return [shown(fault) for fault in model_faults(config)]


def asked(entry: ModelEntry, body: Mapping[str, object]) -> None:
    check_against(parse_img2img({**BODY, **body}, model_required=True), entry)


def test_a_model_that_says_nothing_of_its_checker_does_not_start(tmp_path: Path) -> None:
    (fault,) = told(tmp_path)
    assert fault.startswith("catalogue[0].safety: ")
    assert "safety: none" in fault


def test_on_a_cluster_neither() -> None:
    problems = examine_args({"catalogue": [{"id": "m", "source": "/not/on/this/node"}]}).problems
    assert [line.split(": ")[0] for line in problems] == ["catalogue[0].safety"]


@pytest.mark.parametrize("safety", ["none", "None"])
def test_a_model_that_says_it_has_none_starts(tmp_path: Path, safety: str) -> None:
    assert told(tmp_path, safety=safety) == []


def test_the_pocket_model_has_its_own() -> None:
    assert AppConfig().catalogue[0].checker == PROJECT / "models/pocket/checkpoint"
    unsaid = config_of({"catalogue": [{"id": "mine", "source": POCKET.source}]}).catalogue[0]
    assert unsaid.checker == POCKET.checker


@pytest.mark.parametrize("missing", ["safety_checker/model.safetensors", "feature_extractor/preprocessor_config.json"])
def test_a_checker_that_cannot_be_loaded_is_told_before_the_start(tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "checker"
    put(folder / "safety_checker/config.json", b"{}")
    put(folder / "safety_checker/model.safetensors", {"a": (1,)})
    put(folder / "feature_extractor/preprocessor_config.json", b"{}")
    assert told(tmp_path, safety=str(folder)) == []
    (folder / missing).unlink()
    (fault,) = told(tmp_path, safety=str(folder))
    assert fault.startswith("catalogue[0].safety: ")


def test_the_pocket_checker_of_another_model_is_remarked_upon(tmp_path: Path) -> None:
    source = str(diffusers_folder(tmp_path))
    config = config_of({"catalogue": [{"id": "m", "source": source, "safety": POCKET.source}]})
    assert "is no check of other models" in " ".join(shown(note) for note in hub_notes(config))


@pytest.mark.parametrize("old", ["safety_checker", "safety_folder"])
def test_the_old_setting_says_where_it_went(old: str) -> None:
    with pytest.raises(ConfigError, match=rf"postprocess\.{old}: is gone.*catalogue\[N\]\.safety"):
        config_of({"postprocess": {old: "models/pocket/checkpoint"}})


@pytest.mark.parametrize("body", [{}, {"safety_checker": "yes"}, {"safety_checker": True}, {"safety_checker": ""}])
def test_a_request_that_asks_for_a_check_of_an_unchecked_model_is_refused_by_name(body: dict[str, object]) -> None:
    with pytest.raises(InvalidFields) as refused:
        asked(ModelEntry(id="m", source="x", safety="none"), body)
    (sentence,) = refused.value.fields["safety_checker"]
    assert "must be no" in sentence
    assert "model m" in sentence


def test_a_request_that_asks_for_none_is_taken() -> None:
    asked(ModelEntry(id="m", source="x", safety="none"), {"safety_checker": "no"})
    asked(POCKET, {"safety_checker": "yes"})
