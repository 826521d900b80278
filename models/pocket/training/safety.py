"""Trains the safety checker: Stable Diffusion's own class, small, knowing one unsafe thing.

Its score is a cosine with concept 0, minus that concept's threshold, and a picture is flagged
above zero. The other concepts' thresholds are above any cosine: they never fire.
"""

import json

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.pipelines.stable_diffusion import safety_checker as diffusers_checker
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from models.pocket.training.run import CHECKPOINT, Run, cosine, save_half, set_rate
from models.pocket.training.sightings import NOTHING, SEEN_SIDE, UNSAFE, sighting
from models.pocket.world import SAFE_THINGS, UNSAFE_THING, draw, random_scene

BATCH = 64
PEAK_RATE = 1.2e-3
WIDTH, PROJECTION, PATCH = 96, 64, 8
SINE_SCALE = 0.5
WILDEST, WILD_FROM = 0.6, 0.4
"""Share of wild sightings at the end, and the share of the steps after which it is reached."""
THRESHOLD, NEVER = 0.5, 2.0
SHARPNESS = 12.0
"""Scales the score before the sigmoid: a cosine of 1 is then a probability of 0.998."""
NAMING_WEIGHT = 0.5
"""Weight of naming the thing, which teaches shapes sooner than yes and no; its head is thrown away."""


def new_checker() -> StableDiffusionSafetyChecker:
    """An untrained checker of 64-pixel pictures in 8-pixel patches."""
    vision = {
        "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 4, "num_attention_heads": 4,
        "image_size": SEEN_SIDE, "patch_size": PATCH, "projection_dim": PROJECTION,
    }  # fmt: skip
    words = {
        "vocab_size": 3, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
        "bos_token_id": 1, "eos_token_id": 2, "projection_dim": PROJECTION,
    }  # fmt: skip
    checker = StableDiffusionSafetyChecker(
        CLIPConfig(vision_config=vision, text_config=words, projection_dim=PROJECTION)
    )
    places = checker.vision_model.embeddings.position_embedding.weight
    places.data[1:] = sine_places(SEEN_SIDE // PATCH)
    checker.concept_embeds.data[:] = torch.randn(PROJECTION)
    checker.concept_embeds_weights.data[:] = NEVER
    checker.concept_embeds_weights.data[0] = THRESHOLD
    checker.special_care_embeds_weights.data[:] = NEVER
    return checker


def sine_places(patches: int) -> Tensor:
    """Where each patch is, as sines of its row and column: learns faster than from noise (Beyer et al. 2022)."""
    waves = 1 / 100 ** torch.linspace(0, 1, WIDTH // 4)
    steps = torch.arange(patches)[:, None] * waves
    axis = torch.cat([steps.sin(), steps.cos()], dim=1)
    rows, columns = axis.repeat_interleave(patches, dim=0), axis.repeat(patches, 1)
    return SINE_SCALE * torch.cat([rows, columns], dim=1)


def new_processor() -> CLIPImageProcessorPil:
    """Squeezes a picture into 64 by 64; no crop, as an unsafe thing may stand at the edge of a wide picture."""
    size = {"height": SEEN_SIDE, "width": SEEN_SIDE}
    return CLIPImageProcessorPil(size=size, crop_size=size, do_center_crop=False)


def score(checker: StableDiffusionSafetyChecker, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Concept 0's score of each row, as the checker's forward computes it, and the tower's pooled output."""
    pooled = checker.vision_model(pixels).pooler_output
    embeds = checker.visual_projection(pooled)
    cosines = diffusers_checker.cosine_distance(embeds, checker.concept_embeds[:1])[:, 0]
    return cosines - checker.concept_embeds_weights[0], pooled


def train_safety(steps: int) -> None:
    """Train on endless drawn pictures, save the checker and its processor, and tell what it catches."""
    torch.manual_seed(30)
    model = nn.ModuleDict({"checker": new_checker(), "naming": nn.Linear(WIDTH, NOTHING + 1)})
    processor = new_processor()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=PEAK_RATE, weight_decay=0.02)
    run = Run("safety", steps, model=model, optimizer=optimizer)
    for step in run:
        rng = np.random.default_rng([31, step])
        wildness = WILDEST * min(1.0, step / (WILD_FROM * steps))
        pictures, labels = zip(*(sighting(rng, wildness) for _ in range(BATCH)), strict=True)
        named = torch.tensor(labels)
        unsafe = (named == UNSAFE).float()
        scores, pooled = score(model["checker"], processor(list(pictures), return_tensors="pt").pixel_values)
        naming = F.cross_entropy(model["naming"](pooled), named)
        loss = F.binary_cross_entropy_with_logits(SHARPNESS * scores, unsafe)
        set_rate(optimizer, cosine(step, steps, PEAK_RATE, warmup=100))
        optimizer.zero_grad()
        (loss + NAMING_WEIGHT * naming).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        wrong = ((scores > 0).float() != unsafe).float().mean()
        run.tell(loss=loss.item(), naming=naming.item(), wrong=wrong.item())
    save_half(model["checker"], CHECKPOINT / "safety_checker")
    processor.save_pretrained(CHECKPOINT / "feature_extractor")
    print(json.dumps({"stage": "safety", **measure_checker(model["checker"])}), flush=True)


def measure_checker(checker: StableDiffusionSafetyChecker, count: int = 800) -> dict[str, float]:
    """Hits and false alarms on held-out scenes of the world, and on held-out sightings."""
    rng = np.random.default_rng(33)
    unsafe = flagged(checker, [_scene(rng, UNSAFE_THING) for _ in range(count)])
    safe = flagged(checker, [_scene(rng, str(rng.choice(SAFE_THINGS))) for _ in range(count)])
    pictures, labels = zip(*(sighting(rng) for _ in range(2 * count)), strict=True)
    seen = np.array(flagged(checker, list(pictures)))
    truly = np.array(labels) == UNSAFE
    return {
        "hits": float(np.mean(unsafe)),
        "false_alarms": float(np.mean(safe)),
        "sighting_hits": float(seen[truly].mean()),
        "sighting_false_alarms": float(seen[~truly].mean()),
    }


@torch.no_grad()
def flagged(checker: StableDiffusionSafetyChecker, pictures: list[Image.Image]) -> list[bool]:
    """What the checker's own forward says of each picture."""
    pixels = new_processor()(pictures, return_tensors="pt").pixel_values
    _, flags = checker.eval()(clip_input=pixels, images=np.zeros((len(pictures), 1)))
    return list(flags)


def _scene(rng: np.random.Generator, thing: str) -> Image.Image:
    return Image.fromarray(draw(random_scene(rng, thing), 128))
