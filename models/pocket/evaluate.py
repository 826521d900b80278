"""`python -m models.pocket.evaluate`: generates with fixed seeds, judges by pixels, prints one JSON object.

The main series runs diffusers' own img2img pipeline on the checkpoint's folder, and knows nothing of the service.
The series for each sampler runs the served pipeline, because diffusers' own cannot run four of the eighteen.
"""

import argparse
import json
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

from models.pocket.judge import Verdict, judge, true_overlap
from models.pocket.world import COLOURS, SAFE_THINGS, UNSAFE_THING, Pixels, draw, prompt_for, random_scene
from serve_app.config import POCKET
from serve_app.messages import SAMPLER_NAMES, Img2ImgJob, SamplerChoice
from serve_app.pipelines import directly
from serve_app.pipelines.sd import SdPipeline
from serve_app.prompts.weights import parse_weights

CHECKPOINT = Path(__file__).parent / "checkpoint"
MAIN_SAMPLER = "DDIMScheduler"
UNSAFE_COUNT = 32
PER_SAMPLER, SAMPLER_STEPS = 128, 40
"""Five points are six pictures of so many, and each of the eighteen has come to its end by so many steps."""
SHAPE_SIDES = (128, 256)
"""Pixels on a side at which shapes are measured."""
TRUE_SHAPE = 0.85
"""The overlap with the true silhouette from which a shape counts as right. The autoencoder's reconstruction of a
drawn star, than which no denoiser can be better, has 0.88 to 0.94."""
Shares = dict[str, float | None]
FIRST_SEED, UNSAFE_SEED, SAMPLER_SEED, INIT_SEED = 1000, 5000, 9000, 70000
"""Picture n of a series is made with the series' first seed plus n; its init picture with INIT_SEED more."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a picture was asked to show."""

    thing: str
    colour: str
    ground: str


@dataclass(frozen=True, slots=True)
class Settings:
    """How pictures are made; side in pixels."""

    side: int = 128
    steps: int = 20
    strength: float = 0.9
    guidance: float = 6.0
    batch: int = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """A generated picture beside what it was asked to show and what the judge sees in it."""

    wish: Wish
    pixels: Pixels
    verdict: Verdict


def choose_wishes(things: Sequence[str], count: int, seed: int) -> list[Wish]:
    """Combinations of thing, colour and ground drawn without replacement; all of them before any comes again."""
    every = [Wish(t, c, g) for t in things for c in COLOURS for g in COLOURS if c != g]
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(every)) for _ in range(1 + count // len(every))])
    return [every[i] for i in order[:count]]


def shares(wishes: Sequence[Wish], verdicts: Sequence[Verdict]) -> Shares:
    """Shares of pictures whose ground colour, thing colour and thing are as wished."""
    pairs = list(zip(wishes, verdicts, strict=True))
    return {
        "ground": share([wish.ground == verdict.ground for wish, verdict in pairs]),
        "colour": share([wish.colour == verdict.colour for wish, verdict in pairs]),
        "thing": share([wish.thing == verdict.thing for wish, verdict in pairs]),
    }


def has_true_shape(wish: Wish, pixels: Pixels) -> bool:
    """Whether the picture's silhouette overlaps that of the wished thing, and not just of any, enough."""
    return true_overlap(pixels, wish.thing) >= TRUE_SHAPE


def share(answers: Sequence[bool]) -> float | None:
    """The share of true answers; None of no answers."""
    return round(sum(answers) / len(answers), 4) if answers else None


class Generator:
    """The checkpoint's img2img pipeline without its safety step, one sampler at a time."""

    def __init__(self, checkpoint: Path, settings: Settings) -> None:
        self._settings = settings
        self.pipe = StableDiffusionImg2ImgPipeline.from_pretrained(checkpoint, dtype=torch.float32)
        self.pipe.set_progress_bar_config(disable=True)
        self.checker, self.pipe.safety_checker = self.pipe.safety_checker, None
        self._schedule = self.pipe.scheduler.config

    def make(
        self, wishes: Sequence[Wish], first_seed: int, sampler: str = MAIN_SAMPLER, side: int | None = None
    ) -> list[Sample]:
        """One judged picture for each wish, from a random safe scene that does not know the wish."""
        self.pipe.scheduler = getattr(diffusers, sampler).from_config(self._schedule)
        size = self._settings.batch
        made: list[Pixels] = []
        for start in range(0, len(wishes), size):
            made.extend(self._batch(wishes[start : start + size], first_seed + start, side or self._settings.side))
        return [Sample(wish, pixels, judge(pixels)) for wish, pixels in zip(wishes, made, strict=True)]

    def _batch(self, wishes: Sequence[Wish], seed: int, side: int) -> Iterator[Pixels]:
        seeds = range(seed, seed + len(wishes))
        pictures = self.pipe(
            [prompt_for(wish.colour, wish.thing, wish.ground) for wish in wishes],
            image=[init_picture(INIT_SEED + s, side) for s in seeds],
            strength=self._settings.strength,
            num_inference_steps=self._settings.steps,
            guidance_scale=self._settings.guidance,
            generator=[torch.Generator().manual_seed(s) for s in seeds],
            output_type="np",
        ).images
        yield from (pictures * 255).round().astype(np.uint8)

    def flagged(self, samples: Sequence[Sample]) -> list[bool]:
        """What the checkpoint's safety checker says of each picture."""
        if not samples:
            return []
        pictures = [Image.fromarray(sample.pixels) for sample in samples]
        pixels = self.pipe.feature_extractor(pictures, return_tensors="pt").pixel_values
        _, flags = self.checker(clip_input=pixels, images=np.zeros((len(pictures), 1)))
        return [bool(flag) for flag in flags]


class Served:
    """The pipeline as it is served, without the service around it."""

    def __init__(self, checkpoint: Path, settings: Settings) -> None:
        self._settings = settings
        self._pipeline = SdPipeline(POCKET.model_copy(update={"source": str(checkpoint.absolute())}), parse_weights)

    def make(self, wishes: Sequence[Wish], first_seed: int, sampler: str) -> list[Sample]:
        """As `Generator.make`, all wishes in one batch."""
        seeds = range(first_seed, first_seed + len(wishes))
        jobs = [self._job(wish, seed, sampler) for wish, seed in zip(wishes, seeds, strict=True)]
        rows = directly.encode(self._pipeline, *jobs)
        directly.finish(self._pipeline, rows)
        pictures = self._pipeline.decode(rows)
        return [Sample(wish, pixels, judge(pixels)) for wish, pixels in zip(wishes, pictures, strict=True)]

    def _job(self, wish: Wish, seed: int, sampler: str) -> Img2ImgJob:
        settings = self._settings
        return Img2ImgJob(
            id=seed, model_id=POCKET.id, prompt=prompt_for(wish.colour, wish.thing, wish.ground), negative_prompt="",
            init_image=np.asarray(init_picture(INIT_SEED + seed, settings.side)), samples=1, steps=settings.steps,
            guidance_scale=settings.guidance, strength=settings.strength, seed=seed, sampler=SamplerChoice(sampler),
            token_merging=False,
        )  # fmt: skip


def init_picture(seed: int, side: int) -> Image.Image:
    """A random safe scene."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(draw(random_scene(rng, str(rng.choice(SAFE_THINGS))), side))


def evaluate(
    maker: Generator,
    served: Served,
    count: int,
    unsafe_count: int,
    per_sampler: int,
    shape_count: int,
    out: Path | None,
) -> dict[str, object]:
    """All figures; optionally a sheet of the main series and the unsafe one."""
    safe = maker.make(choose_wishes(SAFE_THINGS, count, seed=1), FIRST_SEED)
    unsafe = maker.make(choose_wishes([UNSAFE_THING], unsafe_count, seed=2), UNSAFE_SEED)
    confirmed = [sample for sample in unsafe if sample.verdict.thing == UNSAFE_THING]
    if out:
        contact_sheet([*safe, *unsafe]).save(out)
    asked = choose_wishes(SAFE_THINGS, per_sampler, seed=3)
    return {
        **_figures(safe),
        "shapes": {side: _shape_share(maker, shape_count, side) for side in SHAPE_SIDES if shape_count},
        "samplers": {name: _figures(served.make(asked, SAMPLER_SEED, name)) for name in SAMPLER_NAMES if asked},
        "unsafe_hits": share(maker.flagged(confirmed)),
        "unsafe_hits_raw": share(maker.flagged(unsafe)),
        "unsafe_confirmed": len(confirmed),
        "unsafe_count": len(unsafe),
        "false_alarms": share(maker.flagged(safe)),
        "count": count,
        "per_sampler": per_sampler,
        "shape_count": shape_count,
        "seeds": {"safe": FIRST_SEED, "unsafe": UNSAFE_SEED, "samplers": SAMPLER_SEED, "init": INIT_SEED},
    }


def _figures(samples: Sequence[Sample]) -> Shares:
    named = shares([sample.wish for sample in samples], [sample.verdict for sample in samples])
    return {**named, "shape": _true_shapes(samples)}


def _true_shapes(samples: Sequence[Sample]) -> float | None:
    return share([has_true_shape(sample.wish, sample.pixels) for sample in samples])


def _shape_share(maker: Generator, count: int, side: int) -> float | None:
    """Made with the wishes and seeds of the main series, but of this size."""
    return _true_shapes(maker.make(choose_wishes(SAFE_THINGS, count, seed=1), FIRST_SEED, side=side))


def contact_sheet(samples: Sequence[Sample], columns: int = 16, tile: int = 96) -> Image.Image:
    """All pictures in rows; a red bar below those in which something is not as wished."""
    rows = -(-len(samples) // columns)
    sheet = Image.new("RGB", (columns * (tile + 4), rows * (tile + 10)), "white")
    for place, sample in enumerate(samples):
        x, y = place % columns * (tile + 4), place // columns * (tile + 10)
        sheet.paste(Image.fromarray(sample.pixels).resize((tile, tile)), (x, y))
        seen = Wish(str(sample.verdict.thing), str(sample.verdict.colour), str(sample.verdict.ground))
        if seen != sample.wish:
            sheet.paste((220, 0, 0), (x, y + tile + 1, x + tile, y + tile + 6))
    return sheet


def parse_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    usual = Settings()
    parser = argparse.ArgumentParser(prog="python -m models.pocket.evaluate", description=__doc__)
    parser.add_argument("--count", type=int, default=128, help="pictures of safe things (128)")
    parser.add_argument("--unsafe-count", type=int, default=UNSAFE_COUNT, help="pictures of the unsafe thing (32)")
    parser.add_argument("--per-sampler", type=int, default=PER_SAMPLER, help="pictures for each sampler (128; 0: none)")
    parser.add_argument("--sampler-steps", type=int, default=SAMPLER_STEPS, help="steps of those (40)")
    parser.add_argument("--shape-count", type=int, default=128, help="pictures at 128 and at 256 px (128; 0: none)")
    parser.add_argument("--side", type=int, default=usual.side, help="picture side in pixels (128)")
    parser.add_argument("--steps", type=int, default=usual.steps, help="sampling steps (20)")
    parser.add_argument("--strength", type=float, default=usual.strength, help="img2img strength (0.9)")
    parser.add_argument("--guidance", type=float, default=usual.guidance, help="guidance scale (6)")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="a diffusers folder")
    parser.add_argument("--out", type=Path, help="write the pictures to this PNG")
    parser.add_argument("--quick", action="store_true", help="16 safe, 8 unsafe, 2 a sampler, 8 a size, 12 steps")
    arguments = parser.parse_args(words)
    if arguments.quick:
        arguments.count, arguments.unsafe_count, arguments.per_sampler = 16, 8, 2
        arguments.shape_count = 8
        arguments.steps = arguments.sampler_steps = 12
    return arguments


def main() -> None:
    """Run the evaluation that the command line asks for."""
    warnings.simplefilter("ignore", FutureWarning)
    diffusers.logging.set_verbosity_error()
    arguments = parse_arguments()
    settings = Settings(arguments.side, arguments.steps, arguments.strength, arguments.guidance)
    started = time.monotonic()
    maker = Generator(arguments.checkpoint, settings)
    served = Served(arguments.checkpoint, replace(settings, steps=arguments.sampler_steps))
    counts = (arguments.count, arguments.unsafe_count, arguments.per_sampler, arguments.shape_count)
    figures = evaluate(maker, served, *counts, arguments.out)
    made_with = {
        "sampler": MAIN_SAMPLER,
        "side": settings.side,
        "steps": settings.steps,
        "sampler_steps": arguments.sampler_steps,
        "strength": settings.strength,
        "guidance": settings.guidance,
        "init": "a random safe scene",
    }
    print(json.dumps({**figures, **made_with, "seconds": round(time.monotonic() - started)}))


if __name__ == "__main__":
    main()
