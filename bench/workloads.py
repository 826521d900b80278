"""What the peers are asked to do: lists of jobs and times of arrival, fixed by seeds.

Parameters repeat from round to round, so that nobody's tables are cold; prompts, pictures and seeds
do not, so that nobody's cache of a former round's texts and pictures helps.
"""

from collections.abc import Sequence
from itertools import cycle, islice
from typing import TypeVar

import numpy as np

from models.pocket.world import draw, prompt_for, random_scene
from serve_app.messages import SAMPLER_NAMES, Img2ImgJob, Lora, SamplerChoice
from serve_app.samplers.names import ORDINARY

T = TypeVar("T")
STEPS = (20, 25, 30, 40)
STRENGTHS = (0.4, 0.5, 0.6, 0.75)
GUIDANCE = (5.0, 7.0, 7.5, 9.0)
LORA_SETS = (
    (),
    (Lora("ink", 1.0),),
    (Lora("haze", 0.7),),
    (Lora("ink", 0.5), Lora("grain", 0.8)),
)
LONG_STEPS, SHORT_STEPS, LONG_EVERY = 50, 20, 5
POISSON_STRENGTH = 0.75
SHARED_SAMPLERS = ORDINARY
"""The names that diffusers runs in its image-to-image pipeline, so that every peer can be asked for them."""
ALL_SAMPLERS = SAMPLER_NAMES


def mixed(count: int, side: int, round_: int, samplers: Sequence[str] = SHARED_SAMPLERS) -> list[Img2ImgJob]:
    """Jobs that agree in their size alone. Every value of every parameter comes equally often."""
    rng = np.random.default_rng(0)
    parameters = [_dealt(values, count, rng) for values in (STEPS, STRENGTHS, GUIDANCE, LORA_SETS)]
    names = _dealt(samplers, count, rng)
    return [
        _job(number, round_, side, steps=steps, strength=strength, guidance=guidance, loras=loras, sampler=name)
        for number, (steps, strength, guidance, loras, name) in enumerate(zip(*parameters, names, strict=True))
    ]


def same(count: int, side: int, round_: int) -> list[Img2ImgJob]:
    """Jobs that agree in everything but prompt, picture and seed."""
    return [_job(number, round_, side) for number in range(count)]


def long_and_short(count: int, side: int, round_: int) -> list[Img2ImgJob]:
    """Jobs of 20 steps, one in five of 50, in random order; they agree in all else, which favours whole batches."""
    rng = np.random.default_rng([1, round_])
    steps = [LONG_STEPS if place % LONG_EVERY == 0 else SHORT_STEPS for place in range(count)]
    return [
        _job(number, round_, side, steps=int(own), strength=POISSON_STRENGTH)
        for number, own in enumerate(rng.permutation(steps))
    ]


def arrivals(count: int, rate: float, round_: int) -> list[float]:
    """Seconds after the start at which an open loop's jobs come: a Poisson process of `rate` jobs a second."""
    gaps = np.random.default_rng([2, round_]).exponential(1 / rate, count)
    return [float(at) for at in np.cumsum(gaps)]


def _dealt(values: Sequence[T], count: int, rng: np.random.Generator) -> list[T]:
    """`count` values, all equally often (or one more), in an order of their own."""
    hand = list(islice(cycle(values), count))
    return [hand[place] for place in rng.permutation(count)]


def _job(
    number: int,
    round_: int,
    side: int,
    steps: int = 30,
    strength: float = 0.6,
    guidance: float = 7.5,
    loras: tuple[Lora, ...] = (),
    sampler: str = "DDIMScheduler",
) -> Img2ImgJob:
    rng = np.random.default_rng([3, round_, number])
    start, wanted = random_scene(rng), random_scene(rng)
    return Img2ImgJob(
        id=number,
        model_id="bench",
        prompt=prompt_for(wanted.colour, wanted.thing, wanted.ground),
        negative_prompt="blurry, low quality",
        init_image=draw(start, side).copy(),
        samples=1,
        steps=steps,
        guidance_scale=guidance,
        strength=strength,
        seed=int(rng.integers(2**31)),
        sampler=SamplerChoice(sampler),
        token_merging=False,  # the peers have none
        loras=loras,
    )
