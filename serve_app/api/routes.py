"""The paths of the service: what the ingress serves and the OpenAPI document describes."""

PREFIXES = {
    "/api/v4/dreambooth": True,
    "/api/v3/dreambooth": True,
    "/api/v3": False,
    "/api/v6/images": True,
    "/api/v1/enterprise": True,
    "/api/v1/enterprise/images": True,
    "/api/v6/realtime": False,
    "/api/v1/enterprise/realtime": False,
    "/api/v7/images": False,
}
"""Each address of the main job's API, and whether it requires a model_id.

The first five are the contract's; the next are where `modelslab-py` goes with `Community(enterprise=True)` and with
`Realtime`; the last is where `modelslab-cli` goes, which sends no model unless it is told one. All are one handler,
and a job made through one is fetched through any other.
"""
IMG2IMG_PATHS = {
    **{f"{prefix}/img2img": model_required for prefix, model_required in PREFIXES.items()},
    "/api/v7/images/image-to-image": False,
}
FETCH_PATHS = tuple(f"{prefix}/fetch" for prefix in PREFIXES)
"""The id stands in the body, as `request_id`."""
FETCH_ID_PATHS = tuple(f"{prefix}/fetch/{{id}}" for prefix in PREFIXES)
MODEL_LIST_PATHS = ("/api/v4/dreambooth/model_list", "/api/v3/dreambooth/model_list")
SCHEDULERS_PATH = "/api/v1/enterprise/schedulers_list"
SYSTEM_LOAD_PATH = "/api/v3/system_load"
HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"
MODELS_PATH = "/v1/models"
MODEL_PATH = "/v1/models/{id}"
JOB_PATH = "/v1/jobs/{id}"
JOB_EVENTS_PATH = "/v1/jobs/{id}/events"
JOB_TICKET_PATH = "/v1/jobs/{id}/ticket"
FILES_PATH = "/files"


def fetch_url(base_url: str, img2img_path: str, job_id: int) -> str:
    """Where the client that posted to `img2img_path`, one of IMG2IMG_PATHS, fetches its job."""
    return f"{base_url.rstrip('/')}{img2img_path.rpartition('/')[0]}/fetch/{job_id}"


def job_url(base_url: str, job_id: int) -> str:
    """The job's own resource."""
    return base_url.rstrip("/") + JOB_PATH.format(id=job_id)


def job_events_url(base_url: str, job_id: int) -> str:
    """The stream of the job's events."""
    return base_url.rstrip("/") + JOB_EVENTS_PATH.format(id=job_id)
