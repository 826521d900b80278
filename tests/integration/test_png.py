"""The texts inside a PNG make the same picture again, read by an independent program or in our own words."""

import io
import json
from typing import Any

import pytest
from PIL import Image
from sd_parsers import ParserManager

from serve_app.api.infotext import WEB_UI_MULTISTEP, WEB_UI_SAMPLERS
from tests.conftest import Service
from tests.integration.asking import ask, distance, download, pictures, pixels_of
from tests.integration.jobs import QUICK

NAMES = {name: sampler for sampler, name in WEB_UI_SAMPLERS.items()}
ALGORITHMS = {name: algorithm for algorithm, name in WEB_UI_MULTISTEP.items() if algorithm}
NASTY = 'a "red" star\non blue ★, <lora:frame:1>\nSteps: 3, Sampler: Euler, Seed: 1, (x:1.2)\nNegative prompt: y'


def request_of(png: bytes) -> dict[str, Any]:
    """A request for the picture that web UIs would make of its text."""
    info = ParserManager().parse(io.BytesIO(png))
    assert info is not None
    (sampler,) = info.samplers
    prompt, *loras = sampler.prompts[0].value.split("<lora:")
    worn = [lora.rstrip(">").split(":") for lora in loras]
    facts = sampler.parameters | info.metadata
    width, _, height = facts["Size"].partition("x")
    return {
        "prompt": prompt.strip(),
        "negative_prompt": sampler.negative_prompts[0].value if sampler.negative_prompts else "",
        "enhance_prompt": "no",
        "scheduler": "DPMSolverMultistepScheduler"
        if sampler.name in ALGORITHMS
        else NAMES.get(sampler.name, sampler.name),
        "algorithm_type": ALGORITHMS.get(sampler.name),
        "use_karras_sigmas": "yes" if facts.get("scheduler") == "Karras" else "no",
        "num_inference_steps": facts["steps"],
        "guidance_scale": facts["cfg_scale"],
        "seed": facts["seed"],
        "width": width,
        "height": height,
        "strength": facts["Denoising strength"],
        "vae": facts.get("VAE"),
        "clip_skip": facts.get("Clip skip"),
        "lora_model": ",".join(name for name, _ in worn) or None,
        "lora_strength": ",".join(strength for _, strength in worn) or None,
        "embeddings_model": facts.get("Embeddings"),
    }


@pytest.mark.parametrize(
    "asked",
    [
        {"lora_model": "stripes,frame", "lora_strength": "0.8,0.4", "vae": "pastel", "clip_skip": 2, "samples": 3,
         "scheduler": "DPMSolverMultistepScheduler", "seed": 2**32 - 1},
        {"scheduler": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": "no",
         "guidance_scale": 1, "negative_prompt": "", "enhance_prompt": "no", "samples": 2},
        {"scheduler": "DEISMultistepScheduler", "prompt": NASTY, "negative_prompt": "a, \"b\"\nSteps: 2",
         "embeddings_model": "dusk", "strength": 0.75},
        {"prompt": "a dusk star", "embeddings_model": "dusk", "strength": 0},
    ],
    ids=["worn", "solver", "typed", "untouched"],
)  # fmt: skip
def test_a_pictures_own_text_makes_it_again(service: Service, asked: dict[str, Any]) -> None:
    answer = ask(service, **QUICK | asked)
    *_, last = (download(service, link) for link in answer["output"])
    recipe = json.loads(Image.open(io.BytesIO(last)).info["darkroom"])
    assert (recipe["request"]["seed"], recipe["replaced"]) == (answer["pictures"][-1]["seed"], None)
    assert answer["meta"]["seeds"] == [picture["seed"] for picture in answer["pictures"]]
    for fields in (request_of(last), recipe["request"]):
        (again,) = pictures(service, **fields)
        assert distance(again, pixels_of(last)) < 0.5, fields
