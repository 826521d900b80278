"""Answers: the contract's keys and types, as strict clients decode them."""

import json
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator

from serve_app.api.answer_schemas import META, MODEL_LIST, MODELS, SCHEDULERS, SUCCESS
from serve_app.api.answers import (
    Made,
    Used,
    image_links,
    meta,
    model_list,
    models,
    parameters_text,
    schedulers_list,
    success,
)
from serve_app.api.kinds import Schema
from serve_app.api.wire import Img2ImgRequest, parse_img2img
from serve_app.config import POCKET, ModelEntry
from serve_app.messages import SAMPLER_NAMES

USED = Used(
    model_id="pocket",
    prompt="a red star, sharp focus",
    negative_prompt="blurry",
    sampler="DDIMScheduler",
    seed=42,
    width=512,
    height=384,
)
MADE = Made(
    id=13443927,
    file_prefix="6ef3f81f-0000-4000-8000-000000000000",
    used=USED,
    seconds=1.83456,
    outputs=("https://host/files/a-0.png",),
    flagged=False,
)
CONTRACT_META = {
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


def request(**fields: object) -> Img2ImgRequest:
    least = {"prompt": "a red star", "init_image": "https://example.com/a.png", "guidance_scale": 7, "strength": 1}
    return parse_img2img({**least, **fields}, model_required=False)


def assert_valid(answer: object, schema: Schema) -> None:
    errors = [error.message for error in Draft202012Validator(schema).iter_errors(json.loads(json.dumps(answer)))]
    assert errors == []


def test_a_success_has_exactly_the_contracts_keys() -> None:
    answer = success(request(), MADE)
    assert list(answer) == [
        "status",
        "generationTime",
        "id",
        "output",
        "nsfw_content_detected",
        "webhook_status",
        "meta",
    ]
    assert answer["generationTime"] == 1.835
    assert meta(request(), MADE).keys() == CONTRACT_META
    assert_valid(answer, SUCCESS)


@pytest.mark.parametrize("name", ["W", "H", "steps", "n_samples", "seed", "clip_skip"])
def test_counts_in_meta_are_integers(name: str) -> None:
    assert type(meta(request(steps="7", samples="2"), MADE)[name]) is int


@pytest.mark.parametrize("name", ["guidance_scale", "strength"])
def test_scales_in_meta_are_floats_even_where_the_client_sent_integers(name: str) -> None:
    assert type(meta(request(), MADE)[name]) is float


def test_meta_tells_what_was_really_used() -> None:
    told = meta(request(prompt="asked", negative_prompt="asked too", width=520, seed=-1), MADE)
    assert told["prompt"] == USED.prompt
    assert told["negative_prompt"] == USED.negative_prompt
    assert (told["W"], told["H"], told["seed"], told["scheduler"]) == (512, 384, 42, "DDIMScheduler")


def test_flags_are_yes_or_no_and_echoed_ones_default_to_no() -> None:
    told = meta(request(tomesd=False, safety_checker="0", multi_lingual="yes", upscale=True), MADE)
    assert (told["tomesd"], told["safetychecker"], told["safety_checker"]) == ("no", "no", "no")
    assert (told["multi_lingual"], told["upscale"], told["full_url"]) == ("yes", "yes", "no")


def test_weights_are_echoed_as_texts_or_null() -> None:
    names = ("vae", "lora", "lora_strength", "embeddings", "algorithm_type")
    assert {name: meta(request(), MADE)[name] for name in names} == dict.fromkeys(names)
    chosen = request(vae="pastel", lora="a,b", lora_strength="0.5,1", embeddings="dusk", algorithm_type="dpmsolver+++")
    told = meta(chosen, MADE)
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
    assert meta(request(init_image=given), MADE)["init_image"] == shown


@pytest.mark.parametrize("track_id", [7, "7"])
def test_a_track_id_is_echoed_with_its_type(track_id: object) -> None:
    echoed = success(request(track_id=track_id), MADE)["track_id"]
    assert echoed == track_id
    assert type(echoed) is type(track_id)


@pytest.mark.parametrize("base", ["https://host:8000", "https://host:8000/"])
def test_links_stand_on_the_base_url_in_order(base: str) -> None:
    assert image_links(base, ["a-0.png", "a-1.png"]) == [
        "https://host:8000/files/a-0.png",
        "https://host:8000/files/a-1.png",
    ]


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


def test_the_parameters_text_is_what_web_uis_read() -> None:
    facts = "Steps: 20, Sampler: DDIMScheduler, CFG scale: 7, Seed: 42, Size: 512x384, Model: pocket"
    told = parameters_text(request(strength=0.6), USED)
    assert told == f"{USED.prompt}\nNegative prompt: blurry\n{facts}, Denoising strength: 0.6"
    told = parameters_text(request(strength=0.6, clip_skip=2), replace(USED, negative_prompt=""))
    assert told == f"{USED.prompt}\n{facts}, Denoising strength: 0.6, Clip skip: 2"
