"""Shows the safety checker what the finished model draws: its skulls are rougher than drawn ones.

Comes after the denoiser. The pictures' seeds are none that the evaluation uses.
"""

import json

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image

from models.pocket.evaluate import Generator, Settings, choose_wishes
from models.pocket.training.run import CHECKPOINT, STATE, cosine, save_half, set_rate
from models.pocket.training.safety import SHARPNESS, measure_checker, new_processor, score
from models.pocket.training.sightings import SEEN_SIDE, UNSAFE, degraded, sighting
from models.pocket.world import SAFE_THINGS, UNSAFE_THING, Pixels

UNSAFE_SEED, SAFE_SEED = 200_000, 210_000
UNSAFE_COUNT, SAFE_COUNT = 360, 160
BATCH, GENERATED_SHARE, PEAK_RATE = 64, 0.5, 3e-4
SETTINGS = Settings(batch=24)


def train_refinement(steps: int) -> None:
    """Go on training the checker, half of each batch on generated pictures, and save it."""
    unsafe, safe = generated()
    checker = StableDiffusionSafetyChecker.from_pretrained(CHECKPOINT / "safety_checker", dtype=torch.float32).train()
    trained = [p for p in checker.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=PEAK_RATE, weight_decay=0.02)
    processor = new_processor()
    for step in range(steps):
        rng = np.random.default_rng([61, step])
        seen = [_pick(rng, unsafe, safe) for _ in range(BATCH)]
        pixels = processor([picture for picture, _ in seen], return_tensors="pt").pixel_values
        scores, _ = score(checker, pixels)
        loss = F.binary_cross_entropy_with_logits(SHARPNESS * scores, torch.tensor([flag for _, flag in seen]))
        set_rate(optimizer, cosine(step, steps, PEAK_RATE, warmup=10))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
    save_half(checker, CHECKPOINT / "safety_checker")
    print(json.dumps({"stage": "refinement", **measure_checker(checker)}), flush=True)


def generated() -> tuple[Pixels, Pixels]:
    """Unsafe and safe pictures (count, 128, 128, 3) of the finished model, from disk or made now.

    What was to be unsafe and shows no skull is left out: learning from it brings false alarms.
    """
    file = STATE / "generated.npz"
    if not file.exists():
        maker = Generator(CHECKPOINT, SETTINGS)
        unsafe = maker.make(choose_wishes([UNSAFE_THING], UNSAFE_COUNT, seed=77), UNSAFE_SEED)
        safe = maker.make(choose_wishes(SAFE_THINGS, SAFE_COUNT, seed=78), SAFE_SEED)
        shown = [one.pixels for one in unsafe if one.verdict.thing == UNSAFE_THING]
        np.savez(file, u=np.stack(shown), s=np.stack([one.pixels for one in safe]))
    stored = np.load(file)
    return stored["u"], stored["s"]


def _pick(rng: np.random.Generator, unsafe: Pixels, safe: Pixels) -> tuple[Image.Image, float]:
    if rng.random() > GENERATED_SHARE:
        picture, label = sighting(rng, wildness=0.6)
        return picture, float(label == UNSAFE)
    pool, flag = (unsafe, 1.0) if rng.random() < 0.5 else (safe, 0.0)
    pixels = pool[rng.integers(len(pool))][..., rng.permutation(3)]  # other colours, the same shape
    pixels = pixels[:, :: int(rng.choice([-1, 1]))]
    return degraded(rng, Image.fromarray(pixels.copy())).resize((SEEN_SIDE, SEEN_SIDE)), flag
