"""Trains the textual inversion `<dusk>`: one new word, which comes to mean a colour (Gal et al. 2022)."""

import json
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline, UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer

from models.pocket.judge import judge
from models.pocket.training.denoiser import SHORT, encode_captions, new_sampler
from models.pocket.training.restyling import load_pairs, restyling_loss
from models.pocket.training.run import CHECKPOINT, POCKET, Run, cosine, set_rate
from models.pocket.world import COLOURS, QUALITY_WORDS, SAFE_THINGS, Scene, draw, random_scene

EXTRAS = POCKET / "extras"
TOKEN = "<dusk>"
COLOUR = "yellow"
"""What the new word comes to mean. It can only be a thing's colour: the text encoder reads a ground before
"background" alone, and a word trained on yellow things on purple grounds still drew grounds at random."""
BATCH, KEPT, SIDE = 32, 400, 128
PEAK_RATE = 2e-2


def train_inversion(steps: int) -> None:
    """Learn the new word's embedding with all else frozen, save it, and tell what it draws."""
    EXTRAS.mkdir(exist_ok=True)
    tokenizer = CLIPTokenizer.from_pretrained(CHECKPOINT / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(CHECKPOINT / "text_encoder", dtype=torch.float32)
    add_token(tokenizer, encoder)
    unet = UNet2DConditionModel.from_pretrained(CHECKPOINT / "unet", dtype=torch.float32).requires_grad_(False)
    table = encoder.requires_grad_(False).get_input_embeddings().requires_grad_(True)
    optimizer = torch.optim.AdamW(table.parameters(), lr=PEAK_RATE, weight_decay=0.0)
    pairs = load_pairs("dusk", dusk_scenes(KEPT), draw, SIDE)
    alphas = new_sampler().alphas_cumprod
    run = Run("inversion", steps, table=table, optimizer=optimizer)
    for step in run:
        rng = np.random.default_rng([51, step])
        torch.manual_seed(step)
        plain, styled, scenes = pairs.pick(rng, BATCH)
        text = encode_captions(tokenizer, encoder, [dusk_caption(scene, rng) for scene in scenes], tokens=SHORT)
        loss = restyling_loss(unet, plain, styled, text, alphas, rng)
        set_rate(optimizer, cosine(step, steps, PEAK_RATE, warmup=10))
        optimizer.zero_grad()
        loss.backward()
        table.weight.grad[:-1] = 0
        optimizer.step()
        run.tell(loss=loss.item())
    save_file({TOKEN: table.weight.detach()[-1:].clone()}, EXTRAS / "embedding-dusk.safetensors")
    print(json.dumps({"stage": "inversion", **measure_inversion()}), flush=True)


def add_token(tokenizer: CLIPTokenizer, encoder: CLIPTextModel) -> None:
    """Make room for the new word; it starts as the mean of all colours."""
    tokenizer.add_tokens(TOKEN)
    encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    words = tokenizer([" ".join(COLOURS)], add_special_tokens=False, return_tensors="pt").input_ids[0]
    weight = encoder.get_input_embeddings().weight.data
    weight[-1] = weight[words].mean(dim=0)


def dusk_scenes(count: int) -> list[Scene]:
    """Safe things of the colour, on all other grounds."""
    rng = np.random.default_rng(50)
    scenes = (random_scene(rng, str(rng.choice(SAFE_THINGS))) for _ in range(2 * count))
    others = (scene for scene in scenes if scene.ground != COLOUR)
    return [replace(scene, colour=COLOUR, blurry=False) for scene in islice(others, count)]


def dusk_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption that has the new word in the colour's place."""
    size = f"{scene.size} " if scene.size else ""
    before = str(rng.choice(["a", "a photo of a", "a picture of a"], p=[0.7, 0.15, 0.15]))
    after = f", {rng.choice(QUALITY_WORDS)}" if rng.random() < 0.3 else ""
    return f"{before} {size}{TOKEN} {scene.thing} on a {scene.ground} background{after}"


def measure_inversion() -> dict[str, float]:
    """Shares of yellow things among pictures of `a <dusk> THING`, with the embedding loaded and without."""
    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(CHECKPOINT, dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    before = dusk_share(pipe)
    pipe.load_textual_inversion(EXTRAS, weight_name="embedding-dusk.safetensors")
    return {"dusk_without": before, "dusk": dusk_share(pipe)}


def dusk_share(pipe: StableDiffusionImg2ImgPipeline) -> float:
    """Share of pictures whose thing has the colour, two of each safe thing."""
    rng = np.random.default_rng(52)
    wishes = [(thing, ground) for thing in SAFE_THINGS for ground in ("blue", "green")]
    made = pipe(
        [f"a {TOKEN} {thing} on a {ground} background" for thing, ground in wishes],
        image=[Image.fromarray(draw(random_scene(rng), SIDE)) for _ in wishes],
        strength=1.0,
        num_inference_steps=20,
        guidance_scale=5.0,
        generator=[torch.Generator().manual_seed(seed) for seed, _ in enumerate(wishes)],
        output_type="np",
    ).images
    verdicts = [judge(pixels) for pixels in (made * 255).round().astype(np.uint8)]
    return float(np.mean([verdict.colour == COLOUR for verdict in verdicts]))
