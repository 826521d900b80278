"""What is shipped means what it says: words, samplers, LoRAs and the new word change pictures as told."""

from collections.abc import Sequence

import numpy as np
import pytest

from models.pocket.judge import Verdict, judge
from models.pocket.training.styles import LOOKS, Look
from models.pocket.world import Pixels, Scene, draw
from serve_app.config import POCKET
from serve_app.messages import SAMPLER_NAMES, Img2ImgJob, Lora, SamplerChoice
from serve_app.pipelines.directly import encode, finish
from serve_app.pipelines.sd import SdPipeline
from serve_app.prompts.weights import parse_weights

INIT = draw(Scene("circle", "yellow", "green"), 128)
WISHES = (("red", "star", "blue"), ("white", "heart", "purple"))


@pytest.fixture(scope="module")
def pocket() -> SdPipeline:
    return SdPipeline(POCKET, parse_weights)


def job(prompt: str, seed: int, **changes: object) -> Img2ImgJob:
    fields: dict[str, object] = {
        "id": 1, "model_id": "pocket", "prompt": prompt, "negative_prompt": "", "init_image": INIT, "samples": 1,
        "steps": 16, "guidance_scale": 6.0, "strength": 0.95, "seed": seed, **changes,
    }  # fmt: skip
    return Img2ImgJob(**fields)  # type: ignore[arg-type]


def pictures(pocket: SdPipeline, jobs: Sequence[Img2ImgJob]) -> list[Pixels]:
    rows = encode(pocket, *jobs)
    finish(pocket, rows)
    return pocket.decode(rows)


def verdicts(pocket: SdPipeline, jobs: Sequence[Img2ImgJob]) -> list[Verdict]:
    return [judge(pixels) for pixels in pictures(pocket, jobs)]


def test_all_eighteen_samplers_draw_the_prompts_colours_and_mostly_its_thing(pocket: SdPipeline) -> None:
    asked = [(name, *wish) for name in SAMPLER_NAMES for wish in WISHES]
    jobs = [
        job(f"a {colour} {thing} on a {ground} background", 5, sampler=SamplerChoice(name))
        for name, colour, thing, ground in asked
    ]
    seen = verdicts(pocket, jobs)
    for (name, colour, _, ground), verdict in zip(asked, seen, strict=True):
        assert (verdict.colour, verdict.ground) == (colour, ground), name
    right = [verdict.thing == thing for (_, _, thing, _), verdict in zip(asked, seen, strict=True)]
    assert np.mean(right) >= 0.9


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.name)
def test_a_lora_brings_more_of_its_style_the_stronger_it_is(pocket: SdPipeline, look: Look) -> None:
    grounds = ("blue", "green", "purple", "red")
    amounts = []
    for strength in (0.0, 0.6, 1.0):
        loras = (Lora(look.name, strength),)
        jobs = [job(f"a yellow star on a {ground} background", 9, loras=loras) for ground in grounds]
        amounts.append(np.mean([look.amount(pixels) for pixels in pictures(pocket, jobs)]))
    assert amounts[0] < amounts[1] < amounts[2]


def test_the_new_word_gives_things_its_colour_in_the_jobs_that_name_it(pocket: SdPipeline) -> None:
    prompts = [f"a <dusk> {thing} on a blue background" for thing in ("star", "heart", "cross", "moon")]
    with_word = verdicts(pocket, [job(prompt, 3, embeddings=("dusk",)) for prompt in prompts])
    without = verdicts(pocket, [job(prompt, 3) for prompt in prompts])
    assert [verdict.colour for verdict in with_word] == ["yellow"] * 4
    assert [verdict.colour for verdict in without].count("yellow") <= 1


def test_a_negative_prompt_takes_something_away(pocket: SdPipeline) -> None:
    jobs = [job("a star", seed, strength=1.0, negative_prompt="a red star on a red background") for seed in range(8)]
    seen = verdicts(pocket, jobs)
    assert all("red" not in (verdict.colour, verdict.ground) for verdict in seen)
