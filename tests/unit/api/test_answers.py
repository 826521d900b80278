"""Answers: the contract's keys and types, as strict clients decode them."""

import base64
import json
from dataclasses import replace

import pytest

from serve_app.api.answer_schemas import META, MODEL_LIST, MODELS, SCHEDULERS, SUCCESS, SYSTEM_LOAD
from serve_app.api.answers import (
    base64_outputs,
    meta,
    model_list,
    models,
    schedulers_list,
    success,
    system_load,
)
from serve_app.config import POCKET, ModelEntry
from serve_app.messages import SAMPLER_NAMES
from tests.unit.api.viewing import LINKS, SUCCEEDED, USED, asking, assert_valid

CONTRACT_META = {
    "seeds",
    "prompt",
    "model_id",
    "scheduler",
    "safetychecker",
    "safety_checker",
    "safety_checker_type",
    "negative_prompt",
    "W",
    "H",
    "guidance_scale",
    "init_image",
    "steps",
    "n_samples",
    "strength",
    "multi_lingual",
    "full_url",
    "upscale",
    "seed",
    "tomesd",
    "use_karras_sigmas",
    "algorithm_type",
    "vae",
    "lora",
    "lora_strength",
    "embeddings",
    "clip_skip",
    "temp",
    "base64",
    "outdir",
    "file_prefix",
}


def test_a_success_has_exactly_the_contracts_keys() -> None:
    answer = success(SUCCEEDED, LINKS)
    assert list(answer) == [
        "status",
        "generationTime",
        "id",
        "output",
        "webhook_status",
        "meta",
        "nsfw_content_detected",
        "pictures",
        "timings",
    ]
    assert answer["generationTime"] == 1.835
    assert answer["output"] == list(LINKS)
    assert meta(asking(SUCCEEDED)).keys() == CONTRACT_META
    assert_valid(answer, SUCCESS)


@pytest.mark.parametrize("name", ["W", "H", "steps", "n_samples", "seed", "clip_skip"])
def test_counts_in_meta_are_integers(name: str) -> None:
    assert type(meta(asking(SUCCEEDED, steps="7", samples="2"))[name]) is int


@pytest.mark.parametrize("name", ["guidance_scale", "strength"])
def test_scales_in_meta_are_floats_even_where_the_client_sent_integers(name: str) -> None:
    assert type(meta(asking(SUCCEEDED))[name]) is float


def test_steps_in_meta_are_the_evaluations_made_and_not_the_steps_asked_for() -> None:
    assert meta(asking(SUCCEEDED, steps=20))["steps"] == USED.evaluations == 15


def test_meta_tells_what_was_really_used() -> None:
    told = meta(asking(SUCCEEDED, prompt="asked", negative_prompt="asked too", width=520, seed=-1))
    assert told["prompt"] == USED.prompt
    assert told["negative_prompt"] == USED.negative_prompt
    assert (told["W"], told["H"], told["seed"], told["scheduler"]) == (512, 384, 42, "DDIMScheduler")


def test_flags_are_yes_or_no_and_echoed_ones_default_to_no() -> None:
    told = meta(asking(SUCCEEDED, tomesd=False, safety_checker="0", multi_lingual="yes", upscale=True))
    assert (told["tomesd"], told["safetychecker"], told["safety_checker"]) == ("no", "no", "no")
    assert (told["multi_lingual"], told["upscale"], told["full_url"]) == ("yes", "yes", "no")


def test_weights_are_echoed_as_texts_or_null() -> None:
    names = ("vae", "lora", "lora_strength", "embeddings", "algorithm_type")
    assert {name: meta(asking(SUCCEEDED))[name] for name in names} == dict.fromkeys(names)
    chosen = asking(
        SUCCEEDED, vae="pastel", lora="a,b", lora_strength="0.5,1", embeddings="dusk", algorithm_type="dpmsolver+++"
    )
    told = meta(chosen)
    assert [told[name] for name in names] == ["pastel", "a,b", "0.5,1", "dusk", "dpmsolver++"]
    assert_valid(told, META)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("HTTPS://example.com/a.png", "HTTPS://example.com/a.png"),
        ("data:image/png;base64,AAAA", "base64 image"),
        pytest.param("A" * 9999, "base64 image", id="bare-base64"),
        (b"\x89PNG", "uploaded file"),
    ],
)
def test_the_init_image_is_echoed_as_a_url_and_never_as_data(given: object, shown: str) -> None:
    assert meta(asking(SUCCEEDED, init_image=given))["init_image"] == shown


@pytest.mark.parametrize("track_id", [7, "7"])
def test_a_track_id_is_echoed_with_its_type(track_id: object) -> None:
    echoed = success(asking(SUCCEEDED, track_id=track_id), LINKS)["track_id"]
    assert echoed == track_id
    assert type(echoed) is type(track_id)


def test_a_success_tells_whether_a_picture_was_changed_and_how_far_its_webhook_is() -> None:
    answer = success(replace(SUCCEEDED, flagged=True, webhook_status="delivered"), LINKS)
    assert (answer["nsfw_content_detected"], answer["webhook_status"]) == (True, "delivered")


def test_base64_outputs_are_the_pictures_themselves() -> None:
    pngs = [b"\x89PNG one", b"\x89PNG two\xff"]
    answer = success(asking(SUCCEEDED, base64="yes"), base64_outputs(pngs))
    assert isinstance(answer["output"], list)
    assert [base64.b64decode(text, validate=True) for text in answer["output"]] == pngs
    assert_valid(answer, SUCCESS)


def test_the_model_list_is_a_bare_array_of_texts() -> None:
    listed = model_list([POCKET, ModelEntry(id="bare", source="x"), ModelEntry(id="large", source="x", family="sdxl")])
    assert [row["model_id"] for row in listed] == ["pocket", "bare", "large"]
    assert listed[1]["model_name"] == "bare"
    assert [row["model_type"] for row in listed] == ["stable_diffusion", "stable_diffusion", "stable_diffusion_xl"]
    assert_valid(listed, MODEL_LIST)


def test_the_catalogue_names_everything_a_request_can_choose() -> None:
    answer = models([POCKET])
    assert_valid(answer, MODELS)
    assert "pastel" in json.dumps(answer)
    assert "safetensors" not in json.dumps(answer), "paths of the server are nobody's business"


def test_the_schedulers_list_has_the_eighteen_names() -> None:
    assert schedulers_list() == {"schedulers": list(SAMPLER_NAMES)}
    assert_valid(schedulers_list(), SCHEDULERS)


def test_the_system_load_is_told_in_whole_numbers() -> None:
    answer = system_load(3, 12.1)
    assert answer == {"queue_num": 3, "queue_time": 13, "status": "ok"}
    assert_valid(answer, SYSTEM_LOAD)
