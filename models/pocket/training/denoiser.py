"""Trains the UNet and the text encoder together, from nothing, on encoded scenes and their captions."""

import copy
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from models.pocket.training.latents import load_latents
from models.pocket.training.reading import reading_loss, word_directions
from models.pocket.training.run import CHECKPOINT, STATE, Run, cosine, save_half, set_rate

KEPT = {128: 10000, 256: 1500, 512: 200}
"""Side in pixels: pictures kept."""
SHORT, FULL = 28, 77
EARLY_TURNS = ((128, 64, SHORT), (128, 64, SHORT), (128, 64, SHORT), (128, 24, FULL))
LATE_TURNS = (
    (128, 48, SHORT), (256, 12, FULL), (128, 48, SHORT), (128, 24, FULL), (256, 12, SHORT), (512, 3, FULL),
)  # fmt: skip
LARGE_TURNS = ((256, 16, SHORT), (256, 16, SHORT), (128, 48, SHORT), (256, 16, FULL), (256, 16, SHORT), (512, 3, SHORT))
LARGE_FROM = 6600
"""(side, batch size, tokens) that steps take in turn: mostly with few padding tokens, which is cheap,
and enough with all 77, as they are when the model is used. What words mean is learned at the small size,
what things look like with four times the pixels from LARGE_FROM on: until then 256 pixels gave ragged blobs."""
STRONG_NOISE, STRONG_SHARE = {128: 0.4, 256: 0.5, 512: 0.6}, 0.6
"""This share of the rows takes its timestep from above this share of the schedule, where the prompt decides: more
pixels show a picture through more noise."""
NO_CAPTION = 0.12
EARLY_EXIT = 0.25
"""Share of steps whose text embeddings come from an earlier layer, so that every clip_skip works."""
LARGEST_WEIGHT = 30.0
PHASES = (
    (1900, 1e-3, 0.6),
    (2500, 8e-4, 0.85),
    (5000, 1e-3, 0.6),
    (5850, 7e-4, 0.6),
    (6600, 7e-4, 0.3),
    (7500, 8e-4, 0.0),
    (8150, 8e-4, 0.0),
    (9200, 5e-4, 0.0),
)
"""Last step, peak learning rate, and the share after which the larger sizes come in: cosine decay with warm
restarts (Loshchilov and Hutter 2017). After the first phase grounds were right, after the second colours."""
READING_FROM = 2500
TEXT_RATE = 2.0
"""How much faster the text encoder learns than the UNet."""
THING_WEIGHT = 2.0
"""What differs from the ground counts for this much more: a thing is a fifth of the picture and most of its sense."""
THING_DISTANCE = 0.7
EMA = 0.997
SHARP, MEAN = STATE / "denoiser-sharp.pt", STATE / "denoiser-mean.pt"
"""The averages of FAINT_FROM, and of MEAN_FROM blended with those."""
MEAN_FROM, MEAN_SHARE = 8150, 0.25
"""From this step on the weights are the mean of its own and of FAINT_FROM's: at 128 pixels it draws things right
97 % of the time instead of 88 %, and keeps the picture at strength 0.2, which FAINT_FROM's alone repainted. What is
trained on from there draws better at 256 pixels and worse at 128; this share of the mean in it keeps both."""
FAINT_FROM, FAINT_FULL, FAINT_NONE, FAINT_SHARE, FAINT_EMA = 5850, 0.25, 0.5, 0.6, 0.99
"""From this step on, this share of the rows with less noise than FULL of the schedule has another row's caption, fewer
up to NONE: what is seen clearly is kept, whatever the prompt says. Before, strength 0.2 repainted the whole picture."""
WIDTH = 64
"""Of text embeddings."""
LEAK_START, LEAK_FULL, LEAK_SHARE = 550, 850, 0.6


def new_unet() -> UNet2DConditionModel:
    """An untrained UNet with per-row timestep and cross-attention of width 64."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 128, 128),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained CLIP text model of eight narrow layers, one for each value of clip_skip."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=192,
            num_hidden_layers=8,
            num_attention_heads=4,
            max_position_embeddings=77,
            projection_dim=WIDTH,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def new_sampler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule, predicting epsilon."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def encode_captions(
    tokenizer: CLIPTokenizer, encoder: CLIPTextModel, captions: list[str], layer: int = -1, tokens: int = FULL
) -> Tensor:
    """Text embeddings (batch, tokens, 64) from one layer's states, normalised as the last layer's are."""
    ids = tokenizer(captions, padding="max_length", truncation=True, max_length=tokens, return_tensors="pt").input_ids
    states = encoder(ids, output_hidden_states=True).hidden_states[layer]
    return encoder.final_layer_norm(states)


def leaky_noise(latents: Tensor, noise: Tensor, timesteps: Tensor, alphas: Tensor, rng: np.random.Generator) -> Tensor:
    """Make the faint picture that shines through strong noise another one than the caption's, some of the time.

    Image-to-image starts from a noised picture that disagrees with the prompt. The noise returned is
    such that `x_t` holds another row's latents while the target still leads to this row's:
    noise + sqrt(a / (1 - a)) * (other - own), with a = alpha_bar(t).
    """
    other = latents[torch.from_numpy(rng.permutation(len(latents)))]
    ramp = ((timesteps - LEAK_START) / (LEAK_FULL - LEAK_START)).clamp(0, 1) * LEAK_SHARE
    chosen = torch.from_numpy(rng.random(len(latents))) < ramp
    ratio = (alphas / (1 - alphas)).sqrt() * chosen
    return noise + ratio[:, None, None, None] * (other - latents)


def thing_weights(latents: Tensor) -> Tensor:
    """Weights (batch, 1, height, width) around the thing and away from it; the ground is the picture's median."""
    ground = latents.flatten(2).median(dim=2).values[:, :, None, None]
    away = (latents - ground).norm(dim=1, keepdim=True) > THING_DISTANCE
    return 1 + THING_WEIGHT * away


def phase_at(step: int) -> tuple[float, bool]:
    """The learning rate, and whether the larger sizes take their turns. The step lies before the last phase's end."""
    first = max((last for last, _, _ in PHASES if last <= step), default=0)
    last, peak, late = next(phase for phase in PHASES if step < phase[0])
    return cosine(step - first, last - first, peak), (step - first) >= late * (last - first)


def turn_at(step: int, late: bool) -> tuple[int, int, int]:
    """Side in pixels, batch size and tokens."""
    turns = EARLY_TURNS if not late else LATE_TURNS if step < LARGE_FROM else LARGE_TURNS
    return turns[step % len(turns)]


def denoising_loss(
    unet: nn.Module,
    latents: Tensor,
    text: Tensor,
    alphas_cumprod: Tensor,
    rng: np.random.Generator,
    strong_from: float,
    faint: bool,
) -> Tensor:
    """The v loss where noise is drawn evenly, much of it strong; `faint` rows have another row's caption."""
    count = len(latents)
    spread = (rng.permutation(count) + rng.random(count)) / count
    strong = rng.random(count) < STRONG_SHARE
    spread = np.where(strong, strong_from + (1 - strong_from) * spread, spread)
    timesteps = torch.from_numpy(spread * len(alphas_cumprod)).long()
    if faint:
        ramp = ((FAINT_NONE - spread) / (FAINT_NONE - FAINT_FULL)).clip(0, 1) * FAINT_SHARE
        strays = torch.from_numpy(rng.random(count) < ramp)
        text = torch.where(strays[:, None, None], text[torch.from_numpy(rng.permutation(count))], text)
    return v_loss(unet, latents, text, alphas_cumprod, timesteps, rng)


def v_loss(
    unet: nn.Module, latents: Tensor, text: Tensor, alphas_cumprod: Tensor, timesteps: Tensor, rng: np.random.Generator
) -> Tensor:
    """Epsilon loss at these timesteps weighed by 1/alpha_bar (clamped), which is the v loss (Salimans and Ho 2022)."""
    alphas = alphas_cumprod[timesteps]
    noise = leaky_noise(latents, torch.randn_like(latents), timesteps, alphas, rng)
    a = alphas[:, None, None, None]
    made = unet(a.sqrt() * latents + (1 - a).sqrt() * noise, timesteps, text).sample
    errors = ((made - noise).pow(2) * thing_weights(latents)).mean(dim=(1, 2, 3))
    return (errors * (1 / alphas).clamp(max=LARGEST_WEIGHT)).mean()


def train_denoiser() -> None:
    """Train on all sizes in turn, keep an average of the weights, and save that average."""
    torch.manual_seed(6)
    tokenizer = CLIPTokenizer.from_pretrained(CHECKPOINT / "tokenizer")
    model = nn.ModuleDict({"unet": new_unet(), "text": new_text_encoder(tokenizer)})
    model["unet"].to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(model)
    groups = [{"params": list(model["unet"].parameters())}, {"params": list(model["text"].parameters())}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.01)
    directions = word_directions(WIDTH)
    sets = {side: load_latents(side, kept) for side, kept in KEPT.items()}
    alphas = new_sampler().alphas_cumprod
    run = Run("denoiser", PHASES[-1][0], model=model, average=average, optimizer=optimizer)
    for step in run:
        if step == FAINT_FROM:
            torch.save(average.state_dict(), SHARP)
        if step == MEAN_FROM:
            model.load_state_dict(blended(average, SHARP, 0.5).state_dict())
            torch.save(average.state_dict(), MEAN)
        rng = np.random.default_rng([7, step])
        torch.manual_seed(step)
        rate, late = phase_at(step)
        side, batch, tokens = turn_at(step, late)
        latents, captions = sets[side].pick(rng, batch)
        captions = ["" if rng.random() < NO_CAPTION else text for text in captions]
        layer = int(rng.integers(1, 8)) if rng.random() < EARLY_EXIT else -1
        text = encode_captions(tokenizer, model["text"], captions, layer, tokens)
        loss = denoising_loss(model["unet"], latents, text, alphas, rng, STRONG_NOISE[side], step >= FAINT_FROM)
        reading = reading_loss(text, captions, directions) if step >= READING_FROM else loss.new_zeros(())
        set_rate(optimizer, rate, rate * TEXT_RATE)
        optimizer.zero_grad()
        (loss + reading).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        follow(average, model, FAINT_EMA if step >= FAINT_FROM else min(EMA, (step + 1) / (step + 10)))
        run.tell(side=side, loss=loss.item(), reading=reading.item())
    save_denoiser(blended(average, MEAN, MEAN_SHARE))


@torch.no_grad()
def blended(average: nn.ModuleDict, file: Path, share: float) -> nn.ModuleDict:
    """These weights and this share of those in the file (Wortsman and others 2022, weight-space ensembles)."""
    for name, weight in torch.load(file, weights_only=True).items():
        average.state_dict()[name].lerp_(weight, share)
    return average


def save_denoiser(model: nn.ModuleDict) -> None:
    """Write the UNet, the text encoder and the noise schedule into the checkpoint."""
    save_half(model["unet"], CHECKPOINT / "unet")
    save_half(model["text"], CHECKPOINT / "text_encoder")
    new_sampler().save_pretrained(CHECKPOINT / "scheduler")


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(new, 1 - keep)
