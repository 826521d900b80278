"""The answers' bodies in the contract's words and types: pure functions from plain values.

Typed clients decode these strictly: integers stay integers, flags are "yes" or "no".
"""

import base64
import math
from collections.abc import Iterable, Sequence

from serve_app.api.endings import ended_badly, why_ended
from serve_app.api.problems import HttpAnswer
from serve_app.api.stored import shown_picture
from serve_app.api.views import SUCCESS, JobView
from serve_app.config import ModelEntry
from serve_app.messages import SAMPLER_NAMES

Answer = dict[str, object]

MODEL_TYPES = {"sd": "stable_diffusion", "sdxl": "stable_diffusion_xl"}
TIP = "Your image is being made in the background. POST your key to fetch_result to get it."
OWNER = "darkroom"
COME_BACK = "Try to fetch request after seconds estimated"
"""In the hosted API's words."""


def posted(view: JobView, outputs: Sequence[str], *, errors_as_200: bool = False) -> HttpAnswer:
    """Status, body and headers of the answer to the request that made the job, whatever became of it by now.

    `outputs` are links or base64 texts; they count where the job has succeeded.
    """
    if view.state == SUCCESS:
        return 200, success(view, outputs), {}
    if not view.ended:
        return 200, processing(view), {}
    return ended_badly(view, errors_as_200=errors_as_200)


def fetched(view: JobView, outputs: Sequence[str]) -> Answer:
    """The answer to a fetch, always with HTTP 200; `outputs` as in `posted`."""
    if view.state == SUCCESS:
        return success(view, outputs)
    return failed(view) if view.ended else processing(view)


def success(view: JobView, outputs: Sequence[str]) -> Answer:
    """The answer of a job that is done. `track_id` is there where the client gave one."""
    return {
        "status": "success",
        "generationTime": generation_time(view),
        "id": view.id,
        "output": list(outputs),
        "webhook_status": view.webhook_status,
        "meta": meta(view),
        **outcome(view),
        **_track_id(view),
    }


def outcome(view: JobView) -> Answer:
    """What came of the job's pictures, the same in the answer, the fetch, the webhook and the resource."""
    return {
        "nsfw_content_detected": bool(view.flagged),
        "pictures": [{"seed": picture.seed, "replaced": picture.replaced} for picture in view.pictures],
        "timings": {stage: round(seconds, 4) for stage, seconds in view.stages.items()},
    }


def processing(view: JobView) -> Answer:
    """The answer of a job that is not done yet."""
    return {
        "status": "processing",
        "tip": TIP,
        "eta": eta(view),
        "messege": COME_BACK,
        "message": COME_BACK,
        "webhook_status": view.webhook_status,
        "fetch_result": view.fetch_url,
        "id": view.id,
        "output": [],
        "meta": meta(view),
        "future_links": list(view.links),
        **_track_id(view),
    }


def failed(view: JobView) -> Answer:
    """The answer to a fetch of a job that failed or was cancelled."""
    return {"status": "failed", "id": view.id, "message": why_ended(view), "output": "", **_track_id(view)}


def webhook_payload(view: JobView, outputs: Sequence[str]) -> Answer:
    """What the webhook of an ended job is sent."""
    if view.state == SUCCESS:
        return {
            "status": "success",
            "id": view.id,
            "output": list(outputs),
            "generationTime": generation_time(view),
            "track_id": view.request.track_id,
            "meta": meta(view),
            **outcome(view),
        }
    return {"status": "failed", "id": view.id, "message": why_ended(view), "track_id": view.request.track_id}


def _track_id(view: JobView) -> Answer:
    return {} if view.request.track_id is None else {"track_id": view.request.track_id}


def generation_time(view: JobView) -> float:
    """Seconds that a job that succeeded was generated in."""
    assert view.seconds is not None
    return round(float(view.seconds), 3)


def eta(view: JobView) -> float:
    """Seconds until the job's end, a float in JSON too."""
    return round(float(view.eta_s), 1)


def meta(view: JobView) -> Answer:
    """What was asked and what is really used."""
    request, used = view.request, view.used
    return {
        "prompt": used.prompt,
        "model_id": used.model_id,
        "scheduler": used.sampler,
        "safetychecker": _yes_no(request.safety_checker),
        "safety_checker": _yes_no(request.safety_checker),
        "safety_checker_type": request.safety_checker_type.value,
        "negative_prompt": used.negative_prompt,
        "W": used.width,
        "H": used.height,
        "guidance_scale": request.guidance_scale,
        "init_image": shown_picture(request.init_image),
        "steps": used.evaluations,
        "n_samples": request.samples,
        "strength": request.strength,
        "multi_lingual": _yes_no(request.multi_lingual),
        "full_url": _yes_no(request.full_url),
        "upscale": _yes_no(request.upscale),
        "seed": used.seed,
        "seeds": [picture.seed for picture in view.pictures],
        "tomesd": _yes_no(request.tomesd),
        "use_karras_sigmas": _yes_no(request.use_karras_sigmas),
        "algorithm_type": request.algorithm_type,
        "vae": request.vae,
        "lora": _comma_separated([lora.id for lora in request.loras]),
        "lora_strength": _comma_separated([f"{lora.strength:g}" for lora in request.loras]),
        "embeddings": _comma_separated(request.embeddings),
        "clip_skip": request.clip_skip,
        "temp": _yes_no(request.temp),
        "base64": _yes_no(request.base64),
        "outdir": "out",
        "file_prefix": view.file_prefix,
    }


def _yes_no(flag: bool) -> str:
    return "yes" if flag else "no"


def _comma_separated(parts: Sequence[str]) -> str | None:
    return ",".join(parts) if parts else None


def base64_outputs(pngs: Iterable[bytes]) -> list[str]:
    """Pictures as `output` holds them where the request said base64: standard base64, without a data URI's head."""
    return [base64.b64encode(png).decode("ascii") for png in pngs]


def model_list(catalogue: Sequence[ModelEntry]) -> list[dict[str, str]]:
    """The catalogue as the hosted API lists it: every value is a string."""
    return [
        {
            "model_id": entry.id,
            "status": "model_ready",
            "created_at": "",
            "instance_prompt": "",
            "model_name": entry.title or entry.id,
            "description": entry.description,
            "screenshots": "",
            "model_type": MODEL_TYPES[entry.family],
        }
        for entry in catalogue
    ]


def models(catalogue: Sequence[ModelEntry]) -> Answer:
    """The catalogue with everything that a request can choose from, beside the list that OpenAI's clients read."""
    return {
        "object": "list",
        "data": [openai_model(entry) for entry in catalogue],
        "models": [
            {
                "id": entry.id,
                "title": entry.title or entry.id,
                "description": entry.description,
                "family": entry.family,
                "default_scheduler": entry.default_sampler,
                "vaes": [vae.id for vae in entry.vaes],
                "loras": [lora.id for lora in entry.loras],
                "embeddings": [embedding.id for embedding in entry.embeddings],
            }
            for entry in catalogue
        ],
    }


def openai_model(entry: ModelEntry) -> Answer:
    """A model as OpenAI's API tells it: what clients of many servers list. When it was made, nobody here knows."""
    return {"id": entry.id, "object": "model", "created": 0, "owned_by": OWNER}


def system_load(waiting: int, busy_s: float) -> Answer:
    """How many jobs have not ended, and in how many seconds, estimated, all of them will have."""
    return {"queue_num": waiting, "queue_time": math.ceil(busy_s), "status": "ok"}


def readiness(missing: Sequence[str]) -> tuple[int, Answer, dict[str, str]]:
    """Whether jobs can be taken, with the status and the headers of that answer; else the names of what is missing."""
    headers = {"Cache-Control": "no-store"}
    if not missing:
        return 200, {"status": "ok", "missing": []}, headers
    return 503, {"status": "error", "message": f"Not ready: {', '.join(missing)}", "missing": list(missing)}, headers


def schedulers_list() -> Answer:
    """The names that `scheduler` may have."""
    return {"schedulers": list(SAMPLER_NAMES)}
