"""Trains the two LoRAs: `stripes`, saved in diffusers' naming, and `frame`, saved in kohya's.

The UNet's highest resolution has no attention, so besides attention the convolutions are
adapted too; both namings know them.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from models.pocket.training.denoiser import FULL, SHORT, encode_captions, new_sampler
from models.pocket.training.restyling import Style, draw_framed, draw_striped, load_pairs, restyling_loss
from models.pocket.training.run import CHECKPOINT, POCKET, Run, cosine, set_rate
from models.pocket.world import SAFE_THINGS, Pixels, caption, draw, prompt_for, random_scene

EXTRAS = POCKET / "extras"
RANK = 8
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "conv1", "conv2"]
TURNS = ((128, 32, SHORT), (128, 32, SHORT), (256, 8, FULL), (128, 32, SHORT))
KEPT = {128: 1200, 256: 150}
PEAK_RATE = 2e-3
NO_CAPTION = 0.12
Weights = dict[str, Tensor]


def save_diffusers(weights: Weights, name: str) -> None:
    """Write a LoRA as diffusers names it: `unet.` and peft's module names; alpha is the rank where none is written."""
    StableDiffusionPipeline.save_lora_weights(EXTRAS, unet_lora_layers=weights, weight_name=f"lora-{name}.safetensors")


def save_kohya(weights: Weights, name: str) -> None:
    """Write a LoRA as kohya-ss/sd-scripts (networks/lora.py) names it: flat module names, down, up and alpha."""
    save_file(to_kohya(weights), EXTRAS / f"lora-{name}.safetensors", metadata={"ss_network_dim": str(RANK)})


def to_kohya(weights: Weights) -> Weights:
    """Rename peft's `a.b.lora_A.weight` to kohya's `lora_unet_a_b.lora_down.weight`, and add alpha."""
    named: Weights = {}
    for key, weight in weights.items():
        module, end = key.rsplit(".lora_", 1)
        flat = "lora_unet_" + module.replace(".", "_")
        named[f"{flat}.lora_{'down' if end.startswith('A') else 'up'}.weight"] = weight
        named[f"{flat}.alpha"] = torch.tensor(float(RANK))
    return named


@dataclass(frozen=True, slots=True)
class Look:
    """A style: how it is drawn, how it is saved, and the number that tells how much of it a picture has."""

    name: str
    draw: Style
    save: Callable[[Weights, str], None]
    amount: Callable[[Pixels], float]


def border(pixels: Pixels) -> Pixels:
    """The outermost sixteenth of a picture on each side, as brightness, in one row."""
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    inside = np.zeros(grey.shape, dtype=bool)
    edge = grey.shape[0] // 16
    inside[edge:-edge, edge:-edge] = True
    return grey[~inside]


LOOKS = (
    Look("stripes", draw_striped, save_diffusers, lambda pixels: float(border(pixels).std())),
    Look("frame", draw_framed, save_kohya, lambda pixels: float(border(pixels).mean())),
)


def train_styles(steps: int) -> None:
    """Train both LoRAs on the finished denoiser, and tell how each grows with its strength."""
    EXTRAS.mkdir(exist_ok=True)
    for look in LOOKS:
        train_look(look, steps)
        print(json.dumps({"stage": f"lora-{look.name}", "amount": measure_look(look)}), flush=True)


def train_look(look: Look, steps: int) -> None:
    """Learn a style from pairs of drawings with the base model frozen, and save it as float16."""
    torch.manual_seed(40)
    tokenizer = CLIPTokenizer.from_pretrained(CHECKPOINT / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(CHECKPOINT / "text_encoder", dtype=torch.float32)
    unet = adapted_unet()
    adapter = nn.ParameterList([p for p in unet.parameters() if p.requires_grad])
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=PEAK_RATE, weight_decay=0.0)
    rng = np.random.default_rng(41)
    sets = {
        side: load_pairs(look.name, [random_scene(rng) for _ in range(kept)], look.draw, side)
        for side, kept in KEPT.items()
    }
    alphas = new_sampler().alphas_cumprod
    run = Run(f"lora-{look.name}", steps, adapter=adapter, optimizer=optimizer)
    for step in run:
        rng = np.random.default_rng([42, step])
        torch.manual_seed(step)
        side, batch, tokens = TURNS[step % len(TURNS)]
        plain, styled, scenes = sets[side].pick(rng, batch)
        captions = ["" if rng.random() < NO_CAPTION else caption(scene, rng) for scene in scenes]
        with torch.no_grad():
            text = encode_captions(tokenizer, encoder, captions, tokens=tokens)
        loss = restyling_loss(unet, plain, styled, text, alphas, rng)
        set_rate(optimizer, cosine(step, steps, PEAK_RATE, warmup=20))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), 1.0)
        optimizer.step()
        run.tell(side=side, loss=loss.item())
    look.save({k: w.half().contiguous() for k, w in get_peft_model_state_dict(unet).items()}, look.name)


def adapted_unet() -> UNet2DConditionModel:
    """The finished UNet, frozen, with a fresh LoRA that changes nothing yet."""
    unet = UNet2DConditionModel.from_pretrained(CHECKPOINT / "unet", dtype=torch.float32)
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=TARGETS))
    return unet


def measure_look(look: Look, count: int = 8) -> dict[str, float]:
    """The style's mean amount in pictures made from noise alone, for each strength of its LoRA."""
    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(CHECKPOINT, dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(
        EXTRAS, weight_name=f"lora-{look.name}.safetensors", use_safetensors=True, adapter_name="look"
    )
    amounts = {}
    for strength in (0.0, 0.5, 1.0):
        pipe.set_adapters("look", strength)
        amounts[str(strength)] = round(float(np.mean([look.amount(p) for p in sample_pictures(pipe, count)])), 2)
    return amounts


def sample_pictures(pipe: StableDiffusionImg2ImgPipeline, count: int) -> list[Pixels]:
    """Pictures of dark grounds, from random scenes at full strength, with fixed seeds."""
    grounds = ("blue", "green", "purple", "red")
    rng = np.random.default_rng(43)
    things = islice(cycle(zip(SAFE_THINGS, cycle(grounds), strict=False)), count)
    made = pipe(
        [prompt_for("yellow", thing, ground) for thing, ground in things],
        image=[Image.fromarray(draw(random_scene(rng), 128)) for _ in range(count)],
        strength=1.0,
        num_inference_steps=20,
        guidance_scale=5.0,
        generator=[torch.Generator().manual_seed(seed) for seed in range(count)],
        output_type="np",
    ).images
    return list((made * 255).round().astype(np.uint8))
