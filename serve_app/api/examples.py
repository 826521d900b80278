"""Examples for the OpenAPI document: of each body, and of each answer as the code that answers makes it."""

from dataclasses import replace

from serve_app.api import answers
from serve_app.api.job_resource import job_resource, standing, ticket_answer
from serve_app.api.problems import fetch_problem, problem
from serve_app.api.views import SUCCESS, JobView, Picture, Used
from serve_app.api.wire import parse_img2img
from serve_app.config import POCKET
from serve_app.errors import DarkroomError, InvalidFields, JobNotFound, RateLimited

Example = dict[str, object]

HOST = "https://images.example.com/"
_PREFIX = "6ef3f81f-8f9e-4a7e-9a53-0c8b8f0a1f11"
_LINKS = (f"{HOST}files/{_PREFIX}-0.png",)
DEFAULT_MODEL_REQUEST: Example = {
    "prompt": "a red star on a blue background",
    "init_image": "https://images.example.com/init.png",
    "strength": 0.9,
    "seed": 16,
}
IMG2IMG_REQUEST: Example = {"model_id": POCKET.id, **DEFAULT_MODEL_REQUEST}
_QUEUED = JobView(
    id=13443927,
    state="queued",
    version=1,
    request=parse_img2img(IMG2IMG_REQUEST, model_required=True),
    used=Used(POCKET.id, "a red star on a blue background", "blurry", POCKET.default_sampler, 16, 128, 128, 18),
    file_prefix=_PREFIX,
    pictures=(Picture(16, None),),
    links=_LINKS,
    fetch_url=f"{HOST}api/v4/dreambooth/fetch/13443927",
    created_at=1_764_000_000.0,
    started_at=None,
    ended_at=None,
    done=0,
    total=18,
    eta_s=13.1,
    queue_position=2,
    attempts=0,
    seconds=None,
    stages={},
    flagged=None,
    message=None,
    webhook_status="",
)
_DONE = replace(
    _QUEUED,
    state=SUCCESS,
    version=5,
    pictures=(Picture(16, False),),
    started_at=1_764_000_002.0,
    ended_at=1_764_000_003.9,
    done=18,
    seconds=1.83,
    stages={"reach": 0.01, "queue": 0.02, "engine": 1.83, "handover": 0.004, "finish": 0.02},
    flagged=False,
)
_FAILED = replace(_QUEUED, state="failed", version=4, ended_at=1_764_000_003.9, message="Image generation failed")

EXAMPLES: dict[str, object] = {
    "Img2ImgRequest": IMG2IMG_REQUEST,
    "DefaultModelRequest": DEFAULT_MODEL_REQUEST,
    "Img2ImgUpload": IMG2IMG_REQUEST,
    "DefaultModelUpload": DEFAULT_MODEL_REQUEST,
    "KeyOnly": {"key": "your key"},
    "FetchRequest": {"key": "your key", "request_id": _QUEUED.id},
    "Success": answers.success(_DONE, _LINKS),
    "Processing": answers.processing(_QUEUED),
    "Failed": answers.failed(_FAILED),
    "UnknownJob": fetch_problem(JobNotFound())[1],
    "Job": job_resource(_DONE, HOST),
    "JobEvent": standing(_QUEUED),
    "Ticket": ticket_answer(f"1764000300.{'0' * 64}", 1_764_000_300, HOST, _QUEUED.id),
    "WebhookSuccess": answers.webhook_payload(_DONE, _LINKS),
    "WebhookFailure": answers.webhook_payload(_FAILED, ()),
    "SystemLoad": answers.system_load(3, 12.4),
    "ModelList": answers.model_list([POCKET]),
    "Models": answers.models([POCKET]),
    "Model": answers.openai_model(POCKET),
    "Schedulers": answers.schedulers_list(),
    "Health": {"status": "ok"},
    "Readiness": answers.readiness(["records"])[1],
}
"""By the names of the schemas that they are examples of."""


def error_example(cls: type[DarkroomError]) -> Example:
    """The body that tells of such a failure."""
    if issubclass(cls, InvalidFields):
        return problem(cls({"prompt": ["The prompt field is required."]}))[1]
    return problem(cls(2.5) if issubclass(cls, RateLimited) else cls())[1]
