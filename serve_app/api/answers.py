"""The answers' bodies in the contract's words and types: pure functions from plain values.

Typed clients decode these strictly: integers stay integers, flags are "yes" or "no".
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serve_app.api.routes import FILES_PATH
from serve_app.api.wire import Img2ImgRequest
from serve_app.config import ModelEntry
from serve_app.messages import SAMPLER_NAMES

Answer = dict[str, object]

UPLOADED = "uploaded file"
INLINE = "base64 image"
MODEL_TYPES = {"sd": "stable_diffusion", "sdxl": "stable_diffusion_xl"}


@dataclass(frozen=True, slots=True)
class Used:
    """What really made a picture, which is not always what was asked for in so many words."""

    model_id: str
    prompt: str
    """After enhancement; so is the negative one."""
    negative_prompt: str
    sampler: str
    """The class name that really ran."""
    seed: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Made:
    """A finished job, as its answer tells it."""

    id: int
    file_prefix: str
    used: Used
    seconds: float
    outputs: tuple[str, ...]
    """Links, or base64 texts."""
    flagged: bool
    """Whether the safety checker changed a picture."""


def success(request: Img2ImgRequest, made: Made) -> Answer:
    """The answer of a job that is done. `track_id` is there where the client gave one."""
    answer: Answer = {
        "status": "success",
        "generationTime": round(float(made.seconds), 3),
        "id": made.id,
        "output": list(made.outputs),
        "nsfw_content_detected": made.flagged,
        "webhook_status": "",
        "meta": meta(request, made),
    }
    if request.track_id is not None:
        answer["track_id"] = request.track_id
    return answer


def meta(request: Img2ImgRequest, made: Made) -> Answer:
    """What was asked and what was really used."""
    used = made.used
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
        "init_image": _shown_init_image(request.init_image),
        "steps": request.num_inference_steps,
        "n_samples": request.samples,
        "strength": request.strength,
        "multi_lingual": _yes_no(request.multi_lingual),
        "full_url": _yes_no(request.full_url),
        "upscale": _yes_no(request.upscale),
        "seed": used.seed,
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
        "file_prefix": made.file_prefix,
    }


def _yes_no(flag: bool) -> str:
    return "yes" if flag else "no"


def _comma_separated(parts: Sequence[str]) -> str | None:
    return ",".join(parts) if parts else None


def _shown_init_image(image: str | bytes) -> str:
    """The URL as it came; the data of a picture is not sent back."""
    if isinstance(image, bytes):
        return UPLOADED
    return image if image[:8].lower().startswith(("http://", "https://")) else INLINE


def image_links(base_url: str, names: Sequence[str]) -> list[str]:
    """The links under which stored pictures are served, in the order of `names`."""
    return [f"{base_url.rstrip('/')}{FILES_PATH}/{name}" for name in names]


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
    """The catalogue with everything that a request can choose from."""
    return {
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
        ]
    }


def schedulers_list() -> Answer:
    """The names that `scheduler` may have."""
    return {"schedulers": list(SAMPLER_NAMES)}


def parameters_text(request: Img2ImgRequest, used: Used) -> str:
    """The generation parameters as the AUTOMATIC1111 web UI writes them into a PNG."""
    facts = {
        "Steps": str(request.num_inference_steps),
        "Sampler": used.sampler,
        "CFG scale": f"{request.guidance_scale:g}",
        "Seed": str(used.seed),
        "Size": f"{used.width}x{used.height}",
        "Model": used.model_id,
        "Denoising strength": f"{request.strength:g}",
    }
    if request.clip_skip > 1:
        facts["Clip skip"] = str(request.clip_skip)
    negative = f"Negative prompt: {used.negative_prompt}" if used.negative_prompt else ""
    return "\n".join(line for line in (used.prompt, negative, _listed(facts)) if line)


def _listed(facts: dict[str, str]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in facts.items())
