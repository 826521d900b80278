"""Requests in the records: everything that answers tell, and never a picture's data."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings

from serve_app.api.answers import meta, processing, webhook_payload
from serve_app.api.stored import load_request, stored_request
from serve_app.api.wire import Img2ImgRequest
from tests.unit.api.test_wire_properties import BODIES, LEAST, outcome
from tests.unit.api.viewing import LINKS, QUEUED, SUCCEEDED, request


@settings(max_examples=200, deadline=None)
@given(body=BODIES)
def test_a_request_comes_back_as_it_was_but_for_the_data_of_its_picture(body: dict[str, object]) -> None:
    read = outcome({**body, **LEAST}, model_required=True)
    if isinstance(read, Img2ImgRequest):
        assert load_request(stored_request(read)) == read


def test_everything_that_can_be_asked_comes_back() -> None:
    asked = request(
        model_id="pocket", negative_prompt="ein Käfer 🐞", width=512, height=64, samples=4, steps=7, seed=2**32 - 1,
        scheduler="LCMScheduler", use_karras_sigmas="no", algorithm_type="dpmsolver+++", clip_skip=2, tomesd="no",
        vae="pastel", lora="a,b", lora_strength="0.1,-1.5", embeddings="dusk,dawn", enhance_prompt="no",
        safety_checker="no", safety_checker_type="blur", base64="yes", temp="yes", webhook="https://example.com/hook",
        track_id=2**62, instant_response="yes", multi_lingual="yes", full_url="yes", upscale="yes", strength=0.1,
    )  # fmt: skip
    assert load_request(stored_request(asked)) == asked


@pytest.mark.parametrize("track_id", [7, "7", None])
def test_a_track_id_keeps_its_type_in_the_records(track_id: object) -> None:
    kept = load_request(stored_request(request(track_id=track_id))).track_id
    assert kept == track_id
    assert type(kept) is type(track_id)


@pytest.mark.parametrize(
    "picture",
    [
        "https://example.com/a.png?signed=1",
        "HTTP://example.com/ä.png",
        "data:image/png;base64," + "A" * 9999,
        pytest.param("A" * 9999, id="bare-base64"),
        b"\x89PNG" * 2500,
    ],
)
def test_answers_from_the_records_are_the_answers_from_the_request(picture: object) -> None:
    asked = request(init_image=picture, track_id="7", webhook="https://example.com/hook")
    kept = load_request(stored_request(asked))
    waiting, done = replace(QUEUED, request=asked), replace(SUCCEEDED, request=asked)
    assert processing(replace(QUEUED, request=kept)) == processing(waiting)
    assert webhook_payload(replace(SUCCEEDED, request=kept), LINKS) == webhook_payload(done, LINKS)
    assert meta(replace(QUEUED, request=load_request(stored_request(kept)))) == meta(waiting)


@pytest.mark.parametrize("picture", ["data:image/png;base64," + "A" * 9999, "A" * 9999, b"A" * 9999])
def test_no_data_of_a_picture_is_kept(picture: object) -> None:
    text = stored_request(request(init_image=picture))
    assert "AAAA" not in text
    assert len(text) < 2000
    assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize("text", ["", "{}", "null", '{"prompt": 7}'])
def test_what_is_no_stored_request_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Img2ImgRequest"):
        load_request(text)
