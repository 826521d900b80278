"""Jobs as the answers see them, for tests."""

import json
from dataclasses import replace
from typing import Any

from jsonschema import Draft202012Validator

from serve_app.api.kinds import Schema
from serve_app.api.views import JobView, Picture, Used
from serve_app.api.wire import Img2ImgRequest, parse_img2img

LINKS = ("https://host/files/6ef3f81f-0000-4000-8000-000000000000-0.png",)
USED = Used(
    model_id="pocket",
    prompt="a red star, sharp focus",
    negative_prompt="blurry",
    sampler="DDIMScheduler",
    seed=42,
    width=512,
    height=384,
    evaluations=15,
)


def request(**fields: object) -> Img2ImgRequest:
    """A request that says no more than it must, but for what is named."""
    least = {"prompt": "a red star", "init_image": "https://example.com/a.png", "guidance_scale": 7, "strength": 1}
    return parse_img2img({**least, **fields}, model_required=False)


QUEUED = JobView(
    id=13443927,
    state="queued",
    version=3,
    request=request(),
    used=USED,
    file_prefix="6ef3f81f-0000-4000-8000-000000000000",
    pictures=(Picture(42, None),),
    links=LINKS,
    fetch_url="https://host/api/v4/dreambooth/fetch/13443927",
    created_at=1_700_000_000.0,
    started_at=None,
    ended_at=None,
    done=0,
    total=20,
    eta_s=13.0,
    queue_position=2,
    attempts=0,
    seconds=None,
    stages={},
    flagged=None,
    message=None,
    webhook_status="",
)
RUNNING = replace(QUEUED, state="running", version=7, started_at=1_700_000_001.5, done=8, queue_position=0)
SUCCEEDED = replace(
    RUNNING, state="success", version=9, done=20, ended_at=1_700_000_003.25, eta_s=0.0, seconds=1.83456, flagged=False,
    pictures=(Picture(42, False),), stages={"queue": 0.25, "engine": 1.83456},
)  # fmt: skip
FAILED = replace(
    RUNNING, state="failed", version=9, ended_at=1_700_000_003.25, eta_s=0.0, message="Image generation failed"
)
CANCELLED = replace(FAILED, state="cancelled", message=None)
ENDED = (SUCCEEDED, FAILED, CANCELLED)
UNENDED = (QUEUED, RUNNING)


def asking(view: JobView, **fields: object) -> JobView:
    """The same job of another request."""
    return replace(view, request=request(**fields))


def assert_valid(answer: object, schema: Schema) -> None:
    """Holds an answer, as it goes over the wire, against its JSON schema."""
    errors = [error.message for error in Draft202012Validator(schema).iter_errors(on_the_wire(answer))]
    assert errors == []


def on_the_wire(answer: object) -> Any:  # noqa: ANN401 (JSON may be anything)
    """The answer as a client decodes it."""
    return json.loads(json.dumps(answer, allow_nan=False))
