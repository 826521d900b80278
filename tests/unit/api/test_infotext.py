"""What a PNG says of its picture: read as web UIs read it, and exact in our own words."""

import inspect
import json

import diffusers
import pytest
from sd_parsers.data import PromptInfo
from sd_parsers.parsers import AUTOMATIC1111Parser
from transformers import AutoTokenizer

from serve_app.api.infotext import MERGING_RATIO, WITH_KARRAS, png_texts
from serve_app.api.views import Used
from serve_app.api.wire import parse_img2img
from serve_app.config import POCKET
from serve_app.messages import SAMPLER_NAMES
from serve_app.pipelines.latent import TOKEN_MERGING_RATIO
from serve_app.samplers.names import UNUSUAL
from tests.unit.api.viewing import USED, request

TYPED = (
    "a red star,\non a blue background",
    'a "red" star, (blue:1.3) \\(x\\)',
    "a red star\nSteps: 5, Sampler: Euler, Seed: 7, CFG scale: 3",
    "Steps: 5, Sampler: Euler, Seed: 7",
    "a star <lora:stripes:1> and <hypernet:x:0.5>",
    "Negative prompt: none, a star\nNegative prompt: blue",
    "a red star ★ 星 🌟",
    "a\n\nstar",
)


def used(prompt: str = USED.prompt, negative: str = USED.negative_prompt, sampler: str = USED.sampler) -> Used:
    return Used("pocket", prompt, negative, sampler, 2**32 - 1, 512, 384, 14)


def read(parameters: str) -> PromptInfo:
    """As an independent program reads it."""
    return AUTOMATIC1111Parser().parse({"parameters": parameters})


def test_each_picture_tells_its_own_seed() -> None:
    texts = [png_texts(request(samples=3), used(), sample) for sample in range(3)]
    assert [read(text.parameters).samplers[0].parameters["seed"] for text in texts] == ["4294967295", "0", "1"]
    assert [json.loads(text.recipe)["request"]["seed"] for text in texts] == [4294967295, 0, 1]


def test_everything_that_makes_the_picture_stands_in_the_words_of_web_uis() -> None:
    asked = request(
        steps=12, strength=0.35, guidance_scale=7.25, clip_skip=2, vae="pastel", lora_model="stripes,frame",
        lora_strength="0.8,-0.25", embeddings_model="dusk", scheduler="DPMSolverMultistepScheduler",
        algorithm_type="sde-dpmsolver++",
    )  # fmt: skip
    text = png_texts(asked, used(sampler="DPMSolverMultistepScheduler"), 0, merged=True).parameters
    assert text == (
        "a red star, sharp focus <lora:stripes:0.8><lora:frame:-0.25>\n"
        "Negative prompt: blurry\n"
        "Steps: 12, Sampler: DPM++ 2M SDE, Schedule type: Karras, CFG scale: 7.25, Seed: 4294967295, Size: 512x384, "
        "Model: pocket, VAE: pastel, Denoising strength: 0.35, Clip skip: 2, Token merging ratio: 0.5, "
        "Algorithm type: sde-dpmsolver++, Embeddings: dusk"
    )


def test_what_was_not_asked_for_is_left_out() -> None:
    text = png_texts(request(tomesd="no", use_karras_sigmas="no"), used(negative=""), 0).parameters
    facts = "Steps: 20, Sampler: DDIM, CFG scale: 7, Seed: 4294967295, Size: 512x384, Model: pocket"
    assert text == f"a red star, sharp focus\n{facts}, Denoising strength: 1"


@pytest.mark.parametrize(
    ("sampler", "algorithm", "name"),
    [
        ("EulerAncestralDiscreteScheduler", None, "Euler a"),
        ("DPMSolverMultistepScheduler", None, "DPM++ 2M"),
        ("DPMSolverMultistepScheduler", "dpmsolver+++", "DPM++ 2M"),
        ("DPMSolverMultistepScheduler", "dpmsolver", "DPMSolverMultistepScheduler"),
        ("PNDMScheduler", "dpmsolver", "PLMS"),
        ("DEISMultistepScheduler", None, "DEISMultistepScheduler"),
        ("KarrasVeScheduler", None, "KarrasVeScheduler"),
    ],
)
def test_a_sampler_that_web_uis_lack_keeps_our_name(sampler: str, algorithm: str | None, name: str) -> None:
    texts = png_texts(request(algorithm_type=algorithm), used(sampler=sampler), 0)
    assert read(texts.parameters).samplers[0].name == name
    assert json.loads(texts.recipe)["request"]["scheduler"] == sampler


@pytest.mark.parametrize("typed", TYPED)
def test_what_a_user_typed_is_read_as_nothing_but_words(typed: str) -> None:
    texts = png_texts(request(), used(typed, typed), 0)
    (sampler,) = read(texts.parameters).samplers
    assert (sampler.name, sampler.parameters["seed"], sampler.parameters["steps"]) == ("DDIM", "4294967295", "20")
    assert texts.parameters.index("\nSteps:") == texts.parameters.rindex("\nSteps:"), "one line of parameters"
    assert "<lora:" not in texts.parameters
    tokenizer = AutoTokenizer.from_pretrained(f"{POCKET.source}/tokenizer")
    for told in (sampler.prompts[0].value, sampler.negative_prompts[0].value):
        assert tokenizer(told).input_ids == tokenizer(typed).input_ids, "the very tokens"
    recipe = json.loads(texts.recipe)["request"]
    assert (recipe["prompt"], recipe["negative_prompt"]) == (typed, typed)


def test_a_recipe_is_a_request_that_asks_for_the_very_same() -> None:
    asked = request(
        samples=4, lora_model="stripes", lora_strength="0.30000000000000004", guidance_scale=1, strength=0,
        enhance_prompt="yes", embeddings_model="dusk", scheduler="DEISMultistepScheduler", use_karras_sigmas="no",
    )  # fmt: skip
    recipe = json.loads(png_texts(asked, used(sampler="DEISMultistepScheduler"), 1).recipe)["request"]
    again = parse_img2img(recipe | {"init_image": asked.init_image}, model_required=True)
    own = {"prompt": USED.prompt, "negative_prompt": USED.negative_prompt, "width": 512, "height": 384, "samples": 1}
    assert again == asked.model_copy(update={**own, "model_id": "pocket", "seed": 0, "enhance_prompt": False})


def test_a_replaced_picture_says_so() -> None:
    texts = png_texts(request(safety_checker_type="pixelate"), used(), 0)
    assert texts.replaced_parameters == f"{texts.parameters}, Safety filter: pixelate"
    assert [json.loads(text)["replaced"] for text in (texts.recipe, texts.replaced_recipe)] == [None, "pixelate"]


def test_the_schedule_is_told_of_those_samplers_that_have_one() -> None:
    ordinary = [name for name in SAMPLER_NAMES if name not in UNUSUAL]
    having = [
        name
        for name in ordinary
        if "use_karras_sigmas" in inspect.signature(getattr(diffusers, name).__init__).parameters
    ]
    assert sorted(WITH_KARRAS) == sorted(having)
    assert float(MERGING_RATIO) == TOKEN_MERGING_RATIO
