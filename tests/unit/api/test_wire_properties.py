"""Over all bodies: the reader answers with a request in range or with bad fields, never with a surprise."""

import json
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.api.fields import FIELDS
from serve_app.api.wire import Img2ImgRequest, parse_img2img
from serve_app.errors import InvalidFields
from serve_app.messages import SAMPLER_NAMES

LEAST: dict[str, object] = {"model_id": "pocket", "prompt": "a red star", "init_image": "https://example.com/a.png"}


def outcome(body: Mapping[str, object], *, model_required: bool) -> Img2ImgRequest | dict[str, list[str]]:
    """The request, or the bad fields."""
    try:
        return parse_img2img(body, model_required=model_required)
    except InvalidFields as error:
        return error.fields


NAMES = [name for field in FIELDS for name in (field.name, *field.aliases)]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.binary(max_size=4)
    | st.sampled_from(
        ["yes", "no", "null", "1", "0.5", "512", "-1", "1e400", "a,b", "0.1,0.2", "http://[", *SAMPLER_NAMES]
    )
)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
BODIES = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), VALUES, max_size=12)


def assert_in_range(request: Img2ImgRequest) -> None:
    assert request.prompt.strip()
    assert all(side is None or 64 <= side <= 1024 for side in (request.width, request.height))
    assert 1 <= request.samples <= 4
    assert 1 <= request.num_inference_steps <= 50
    assert 1 <= request.guidance_scale <= 20
    assert 0 <= request.strength <= 1
    assert request.seed is None or 0 <= request.seed < 2**32
    assert 1 <= request.clip_skip <= 8
    assert request.scheduler is None or request.scheduler in SAMPLER_NAMES
    json.dumps(request.model_dump(exclude={"init_image"}), allow_nan=False).encode()


@settings(max_examples=300, deadline=None)
@given(body=BODIES, complete=st.booleans(), model_required=st.booleans())
def test_any_body_parses_to_a_request_in_range_or_is_refused_by_field(
    body: dict[str, object], complete: bool, model_required: bool
) -> None:
    read = outcome({**body, **LEAST} if complete else body, model_required=model_required)
    if isinstance(read, Img2ImgRequest):
        assert_in_range(read)
    else:
        assert read
        assert read.keys() <= {field.name for field in FIELDS}
        assert all(sentence.endswith(".") and "{" not in sentence for (sentence,) in read.values())


FLAGS = st.booleans()
GOOD = st.fixed_dictionaries(
    {"prompt": st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=30)},
    optional={
        "width": st.integers(64, 1024),
        "samples": st.integers(1, 4),
        "num_inference_steps": st.integers(1, 50),
        "guidance_scale": st.floats(1, 20),
        "strength": st.floats(0, 1),
        "seed": st.integers(-1, 10**12),
        "tomesd": FLAGS,
        "base64": FLAGS,
        "safety_checker": FLAGS,
        "scheduler": st.sampled_from(SAMPLER_NAMES),
        "lora_strength": st.floats(-10, 10),
        "vae": st.none(),
    },
)


def as_form_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


@settings(max_examples=200, deadline=None)
@given(fields=GOOD)
def test_json_and_form_spellings_parse_equal(fields: dict[str, object]) -> None:
    body = {**LEAST, **fields}
    form = dict(
        parse_qsl(urlencode({name: as_form_text(value) for name, value in body.items()}), keep_blank_values=True)
    )
    assert outcome(form, model_required=True) == outcome(json.loads(json.dumps(body)), model_required=True)
