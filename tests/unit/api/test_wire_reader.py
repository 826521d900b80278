"""The wire reader: lenient in spelling, strict in range, and never surprised."""

from collections.abc import Mapping

import pytest

from serve_app.api.fields import FIELDS
from serve_app.api.wire import Img2ImgRequest, parse_img2img
from serve_app.errors import InvalidFields
from serve_app.messages import SAMPLER_NAMES, Lora, SafetyType

LEAST: dict[str, object] = {"model_id": "pocket", "prompt": "a red star", "init_image": "https://example.com/a.png"}


def parse(**fields: object) -> Img2ImgRequest:
    return parse_img2img({**LEAST, **fields}, model_required=True)


def refusals(body: Mapping[str, object]) -> dict[str, list[str]]:
    with pytest.raises(InvalidFields) as caught:
        parse_img2img(body, model_required=True)
    return caught.value.fields


def refusal(field: str, value: object) -> str:
    fields = refusals({**LEAST, field: value})
    assert list(fields) == [field]
    (sentence,) = fields[field]
    return sentence


def test_what_is_not_given_takes_the_contracts_defaults() -> None:
    request = parse()
    assert request.model_dump(exclude=set(LEAST)) == {
        "negative_prompt": "",
        "width": None,
        "height": None,
        "samples": 1,
        "num_inference_steps": 20,
        "guidance_scale": 7.5,
        "strength": 0.7,
        "seed": None,
        "scheduler": None,
        "use_karras_sigmas": True,
        "algorithm_type": None,
        "clip_skip": 1,
        "tomesd": True,
        "vae": None,
        "loras": (),
        "embeddings": (),
        "enhance_prompt": True,
        "safety_checker": True,
        "safety_checker_type": SafetyType.CARD,
        "base64": False,
        "temp": False,
        "webhook": None,
        "track_id": None,
        "instant_response": False,
        "multi_lingual": False,
        "full_url": False,
        "upscale": False,
    }


@pytest.mark.parametrize("nothing", [None, "", "null", "  "])
def test_every_field_reads_nothings_as_not_given(nothing: object) -> None:
    optional = [field.name for field in FIELDS if field.name not in LEAST]
    assert parse(**dict.fromkeys(optional, nothing)) == parse()


@pytest.mark.parametrize("nothing", [None, "", "null"])
def test_required_fields_are_missed_all_at_once_in_the_vendors_words(nothing: object) -> None:
    assert refusals(dict.fromkeys(LEAST, nothing)) == {
        "model_id": ["The model id field is required."],
        "prompt": ["The prompt field is required."],
        "init_image": ["The init image field is required."],
    }


def test_a_route_without_models_does_not_require_one_but_takes_it() -> None:
    body = {name: value for name, value in LEAST.items() if name != "model_id"}
    assert parse_img2img(body, model_required=False).model_id is None
    assert parse_img2img(LEAST, model_required=False).model_id == "pocket"


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("width", "512", 512),
        ("width", "512.0", 512),
        ("height", 512.0, 512),
        ("height", " 64 ", 64),
        ("samples", "4", 4),
        ("num_inference_steps", "50", 50),
        ("clip_skip", "2", 2),
        ("guidance_scale", "7.5", 7.5),
        ("guidance_scale", 20, 20.0),
        ("strength", "0", 0.0),
        ("strength", "1e-1", 0.1),
        ("strength", ".5", 0.5),
    ],
)
def test_numbers_arrive_as_numbers_or_as_strings(field: str, text: object, value: float) -> None:
    read = getattr(parse(**{field: text}), field)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("yes", ["yes", "YES", "true", "True", "1", " yes ", 1, True])
@pytest.mark.parametrize("no", ["no", "No", "false", "FALSE", "0", 0, False])
def test_flags_arrive_in_seven_spellings(yes: object, no: object) -> None:
    on, off = (
        ("base64", "temp", "instant_response"),
        ("tomesd", "safety_checker", "enhance_prompt", "use_karras_sigmas"),
    )
    request = parse(**dict.fromkeys(on, yes), **dict.fromkeys(off, no))
    assert all(getattr(request, name) is True for name in on)
    assert all(getattr(request, name) is False for name in off)


@pytest.mark.parametrize(
    ("alias", "name", "value"),
    [
        ("prompt_strength", "strength", 0.3),
        ("steps", "num_inference_steps", 7),
        ("clipskip", "clip_skip", 2),
        ("lora", "lora_model", "stripes"),
        ("embeddings", "embeddings_model", "dusk"),
    ],
)
def test_an_alias_means_the_field_and_gives_way_to_it(alias: str, name: str, value: object) -> None:
    assert parse(**{alias: value}) == parse(**{name: value})
    assert parse(**{alias: value}) != parse()
    assert parse(**{alias: "junk", name: value}) == parse(**{name: value})
    assert parse(**{alias: value, name: ""}) == parse(**{name: value})


def test_a_bad_alias_is_told_under_the_fields_own_name() -> None:
    assert refusals({**LEAST, "steps": 51}) == {
        "num_inference_steps": ["The num inference steps must be between 1 and 50."]
    }


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (-1, None),
        ("-1", None),
        (None, None),
        (0, 0),
        ("0", 0),
        (2**32 - 1, 2**32 - 1),
        (2**32, 0),
        (123456789012, 123456789012 % 2**32),
        ("123456789012", 123456789012 % 2**32),
        (123456789012.0, 123456789012 % 2**32),
        (10**400, 10**400 % 2**32),
    ],
)
def test_seeds_are_taken_modulo_two_to_the_32_and_minus_one_is_random(given: object, used: int | None) -> None:
    assert parse(seed=given).seed == used


@pytest.mark.parametrize("track_id", [7, "7", "order-7", 0, -3, 2**40])
def test_a_track_id_keeps_its_type(track_id: object) -> None:
    read = parse(track_id=track_id).track_id
    assert read == track_id
    assert type(read) is type(track_id)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("none", None),
        ("dpmsolver+++", "dpmsolver++"),
        ("dpmsolver++", "dpmsolver++"),
        ("sde-dpmsolver++", "sde-dpmsolver++"),
    ],
)
def test_the_vendors_algorithm_name_is_read_as_the_librarys(given: str, used: str | None) -> None:
    assert parse(algorithm_type=given).algorithm_type == used


@pytest.mark.parametrize("name", SAMPLER_NAMES)
def test_all_eighteen_schedulers_are_known(name: str) -> None:
    assert parse(scheduler=name).scheduler == name


@pytest.mark.parametrize(
    ("models", "strengths", "loras"),
    [
        ("stripes", None, (Lora("stripes", 1.0),)),
        ("stripes", 0.5, (Lora("stripes", 0.5),)),
        ("stripes, frame", "0.5", (Lora("stripes", 0.5), Lora("frame", 0.5))),
        ("stripes,frame,", "0.5, -0.2", (Lora("stripes", 0.5), Lora("frame", -0.2))),
        (None, "0.5,0.8", ()),
        (",", None, ()),
    ],
)
def test_loras_pair_with_strengths_and_one_strength_serves_all(
    models: object, strengths: object, loras: tuple[Lora, ...]
) -> None:
    assert parse(lora_model=models, lora_strength=strengths).loras == loras


def test_lora_counts_must_agree() -> None:
    body = {**LEAST, "lora_model": "stripes,frame,third", "lora_strength": "1,2"}
    assert refusals(body) == {
        "lora_strength": ["The lora strength must contain one number, or as many as the lora model."]
    }


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("width", "wide", "The width must be an integer."),
        ("width", 512.5, "The width must be an integer."),
        ("width", True, "The width must be an integer."),
        ("width", [512], "The width must be an integer."),
        ("width", "1_000", "The width must be an integer."),
        ("width", "٥١٢", "The width must be an integer."),
        ("width", 63, "The width must be between 64 and 1024."),
        ("height", "1025", "The height must be between 64 and 1024."),
        ("height", 10**400, "The height must be between 64 and 1024."),
        pytest.param("height", "9" * 5000, "The height must be an integer.", id="endless-number"),
        ("samples", 5, "The samples must be between 1 and 4."),
        ("samples", 0, "The samples must be between 1 and 4."),
        ("num_inference_steps", 51, "The num inference steps must be between 1 and 50."),
        ("guidance_scale", "high", "The guidance scale must be a number."),
        ("guidance_scale", False, "The guidance scale must be a number."),
        ("guidance_scale", float("nan"), "The guidance scale must be a number."),
        ("guidance_scale", "nan", "The guidance scale must be a number."),
        ("guidance_scale", "1e999", "The guidance scale must be a number."),
        ("guidance_scale", 10**400, "The guidance scale must be a number."),
        ("guidance_scale", 0.99, "The guidance scale must be between 1 and 20."),
        ("guidance_scale", 20.01, "The guidance scale must be between 1 and 20."),
        ("strength", float("inf"), "The strength must be a number."),
        ("strength", -0.01, "The strength must be between 0 and 1."),
        ("strength", 1.01, "The strength must be between 0 and 1."),
        ("seed", -2, "The seed must be at least -1."),
        ("seed", "x", "The seed must be an integer."),
        ("scheduler", "UniPC_Multistep", "The selected scheduler is invalid."),
        ("scheduler", 7, "The selected scheduler is invalid."),
        ("algorithm_type", "euler", "The selected algorithm type is invalid."),
        ("safety_checker_type", "mosaic", "The selected safety checker type is invalid."),
        ("clip_skip", 9, "The clip skip must be between 1 and 8."),
        ("tomesd", "maybe", "The tomesd field must be yes or no."),
        ("temp", 2, "The temp field must be yes or no."),
        pytest.param("temp", 10**5000, "The temp field must be yes or no.", id="endless-flag"),
        ("prompt", 7, "The prompt must be a string."),
        ("prompt", ["a", "b"], "The prompt must be a string."),
        pytest.param("prompt", "x" * 8001, "The prompt may not be greater than 8000 characters.", id="long-prompt"),
        pytest.param(
            "negative_prompt",
            "x" * 8001,
            "The negative prompt may not be greater than 8000 characters.",
            id="long-negative",
        ),
        ("prompt", "half a \ud83d pair", "The prompt format is invalid."),
        ("prompt", "a\x00b", "The prompt format is invalid."),
        ("model_id", 7, "The model id must be a string."),
        ("init_image", {}, "The init image must be a string."),
        ("lora_model", "a,,b", "The lora model format is invalid."),
        ("lora_model", "a,a", "The lora model field has a duplicate value."),
        ("lora_strength", "0.5,,0.5", "The lora strength must be a number."),
        ("lora_strength", "11", "The lora strength must be between -10 and 10."),
        ("webhook", "ftp://example.com", "The webhook must be a valid URL."),
        ("webhook", "http://", "The webhook must be a valid URL."),
        ("webhook", "http://[", "The webhook must be a valid URL."),
        ("webhook", "http://example.com:99999", "The webhook must be a valid URL."),
        ("webhook", "http://example.com/\r\nX: y", "The webhook must be a valid URL."),
        ("track_id", 1.5, "The track id must be a string or an integer."),
        ("track_id", True, "The track id must be a string or an integer."),
        ("track_id", 2**63, "The track id may not be greater than 64 bits."),
    ],
)
def test_what_cannot_be_meant_is_refused_in_the_vendors_words(field: str, value: object, sentence: str) -> None:
    assert refusal(field, value) == sentence


def test_all_bad_fields_are_told_at_once() -> None:
    body = {
        "prompt": "",
        "width": "x",
        "samples": 9,
        "tomesd": "?",
        "lora_model": 3,
        "init_image": "x",
        "model_id": "y",
    }
    assert set(refusals(body)) == {"prompt", "width", "samples", "tomesd", "lora_model"}


def test_unknown_and_echoed_fields_never_fail_a_request() -> None:
    junk = {"panorama": [], "self_attention": {"a": 1}, "instant_response": float("nan"), "\ud800": "\ud800"}
    assert not parse(**junk).instant_response
    request = parse(**junk, multi_lingual="yes", full_url={}, upscale="2")
    assert (request.multi_lingual, request.full_url, request.upscale) == (True, False, False)


def test_an_uploaded_files_bytes_are_kept_and_an_empty_file_is_none() -> None:
    assert parse(init_image=b"\x89PNG").init_image == b"\x89PNG"
    assert refusal("init_image", b"") == "The init image field is required."


def test_a_list_of_one_picture_is_that_picture_and_of_several_is_refused_by_name() -> None:
    least = {"prompt": "a star", "init_image": ["https://example.com/a.png"]}
    assert parse_img2img(least, model_required=False).init_image == "https://example.com/a.png"
    for several in ([], ["https://example.com/a.png", "https://example.com/b.png"]):
        with pytest.raises(InvalidFields) as caught:
            parse_img2img({**least, "init_image": several}, model_required=False)
        assert caught.value.fields == {"init_image": ["The init image must be one image."]}
