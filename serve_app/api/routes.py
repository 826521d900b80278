"""The paths of the service: what the ingress serves and the OpenAPI document describes."""

IMG2IMG_PATHS = {
    "/api/v4/dreambooth/img2img": True,
    "/api/v3/dreambooth/img2img": True,
    "/api/v3/img2img": False,
    "/api/v6/images/img2img": True,
    "/api/v1/enterprise/img2img": True,
}
"""Each path of the main job, and whether it requires a model_id."""
MODEL_LIST_PATHS = ("/api/v4/dreambooth/model_list", "/api/v3/dreambooth/model_list")
SCHEDULERS_PATH = "/api/v1/enterprise/schedulers_list"
HEALTH_PATH = "/healthz"
MODELS_PATH = "/v1/models"
FILES_PATH = "/files"
