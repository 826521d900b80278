"""The texts inside a PNG: its generation parameters in the words that web UIs read, and in our own to make it again.

Web UIs (AUTOMATIC1111's, whose `infotext_utils.py` sets the format) have no escapes. So where a prompt spells something
that they would take for more than words, a blank is put in, which no tokenizer sees: `< lora:`, `Negative  prompt:`.
"""

import json
import re

from serve_app.api.views import Used
from serve_app.api.wire import Img2ImgRequest
from serve_app.messages import PngTexts, seed_of

NO_WORDS = (
    (re.compile(r"<(?=\w+:)"), "< "),  # an extra network
    (re.compile(r"Negative prompt:"), "Negative  prompt:"),
    (re.compile(r"^(\s*Steps):", re.MULTILINE), r"\1 :"),  # the line of parameters
)
WEB_UI_SAMPLERS = {
    "DDIMScheduler": "DDIM",
    "PNDMScheduler": "PLMS",
    "LMSDiscreteScheduler": "LMS",
    "EulerDiscreteScheduler": "Euler",
    "EulerAncestralDiscreteScheduler": "Euler a",
    "DPMSolverMultistepScheduler": "DPM++ 2M",
    "HeunDiscreteScheduler": "Heun",
    "KDPM2DiscreteScheduler": "DPM2",
    "KDPM2AncestralDiscreteScheduler": "DPM2 a",
    "UniPCMultistepScheduler": "UniPC",
    "LCMScheduler": "LCM",
}
"""The web UI's names of those that it has; the others keep ours."""
MULTISTEP = "DPMSolverMultistepScheduler"
WEB_UI_MULTISTEP = {None: "DPM++ 2M", "dpmsolver++": "DPM++ 2M", "sde-dpmsolver++": "DPM++ 2M SDE"}
"""Which of them it has by algorithm_type."""
SOLVERS = "DPMSolver"
"""What the names of those begin with that have an algorithm_type."""
WITH_KARRAS = (
    "LMSDiscreteScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler", "DPMSolverSinglestepScheduler", "KDPM2AncestralDiscreteScheduler",
    "UniPCMultistepScheduler", "DEISMultistepScheduler",
)  # fmt: skip
"""Those on which use_karras_sigmas acts; a test holds this against diffusers."""
MERGING_RATIO = "0.5"
"""`pipelines.latent.TOKEN_MERGING_RATIO`."""


def png_texts(request: Img2ImgRequest, used: Used, sample: int, *, merged: bool = False) -> PngTexts:
    """What the PNG of one sample says, and what it says where the safety filter replaced the picture.

    `merged` is whether tokens really were.
    """
    facts = _facts(request, used, seed_of(used.seed, sample), merged)
    hidden = {"Safety filter": request.safety_checker_type.value}
    return PngTexts(
        parameters=_infotext(request, used, facts),
        recipe=_recipe(request, used, sample, None),
        replaced_parameters=_infotext(request, used, facts | hidden),
        replaced_recipe=_recipe(request, used, sample, request.safety_checker_type.value),
    )


def _infotext(request: Img2ImgRequest, used: Used, facts: dict[str, str]) -> str:
    loras = "".join(f"<lora:{lora.id}:{_number(lora.strength)}>" for lora in request.loras)
    prompt = " ".join(part for part in (_words(used.prompt), loras) if part)
    negative = f"Negative prompt: {_words(used.negative_prompt)}" if used.negative_prompt else ""
    listed = ", ".join(f"{name}: {_quoted(value)}" for name, value in facts.items())
    return "\n".join(line for line in (prompt, negative, listed) if line)


def _facts(request: Img2ImgRequest, used: Used, seed: int, merged: bool) -> dict[str, str]:
    algorithm = request.algorithm_type if used.sampler.startswith(SOLVERS) else None
    facts = {
        "Steps": str(request.num_inference_steps),
        "Sampler": _sampler(used.sampler, algorithm),
        "Schedule type": _schedule(request, used),
        "CFG scale": _number(request.guidance_scale),
        "Seed": str(seed),
        "Size": f"{used.width}x{used.height}",
        "Model": used.model_id,
        "VAE": request.vae,
        "Denoising strength": _number(request.strength),
        "Clip skip": str(request.clip_skip) if request.clip_skip > 1 else None,
        "Token merging ratio": MERGING_RATIO if merged else None,
        "Algorithm type": algorithm,
        "Embeddings": " ".join(request.embeddings) or None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _sampler(name: str, algorithm: str | None) -> str:
    return WEB_UI_MULTISTEP.get(algorithm, name) if name == MULTISTEP else WEB_UI_SAMPLERS.get(name, name)


def _schedule(request: Img2ImgRequest, used: Used) -> str | None:
    if used.sampler not in WITH_KARRAS:
        return None
    return "Karras" if request.use_karras_sigmas else "Uniform"


def _words(prompt: str) -> str:
    """A prompt that the web UI reads as nothing but words."""
    for pattern, instead in NO_WORDS:
        prompt = pattern.sub(instead, prompt)
    return prompt.strip()


def _number(value: float) -> str:
    """The shortest text that reads back as this very number; whole ones without a point."""
    return str(int(value)) if value == int(value) else repr(value)


def _quoted(value: str) -> str:
    """As the web UI quotes what its commas and colons would cut."""
    return json.dumps(value, ensure_ascii=False) if re.search(r"[,:\n]", value) else value


def _recipe(request: Img2ImgRequest, used: Used, sample: int, replaced: str | None) -> str:
    """JSON: `request` are fields that make the very picture again, beside the init image; prompts as they were used."""
    fields = {
        "model_id": used.model_id,
        "prompt": used.prompt,
        "negative_prompt": used.negative_prompt,
        "enhance_prompt": "no",
        "width": used.width,
        "height": used.height,
        "samples": 1,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
        "strength": request.strength,
        "seed": seed_of(used.seed, sample),
        "scheduler": used.sampler,
        "use_karras_sigmas": _yes_no(request.use_karras_sigmas),
        "algorithm_type": request.algorithm_type,
        "clip_skip": request.clip_skip,
        "tomesd": _yes_no(request.tomesd),
        "vae": request.vae,
        "lora_model": ",".join(lora.id for lora in request.loras) or None,
        "lora_strength": ",".join(_number(lora.strength) for lora in request.loras) or None,
        "embeddings_model": ",".join(request.embeddings) or None,
        "safety_checker": _yes_no(request.safety_checker),
        "safety_checker_type": request.safety_checker_type.value,
    }
    told = {"request": {name: value for name, value in fields.items() if value is not None}, "replaced": replaced}
    return json.dumps(told, ensure_ascii=False)


def _yes_no(flag: bool) -> str:
    return "yes" if flag else "no"
