"""What the stage for shapes trains on: the noise at which outlines are decided, and the UNet's own walks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from models.pocket.judge import best_fit, true_overlap
from models.pocket.training.denoiser import new_sampler
from models.pocket.training.run import POCKET
from models.pocket.training.shaping import MIDDLE, MIDDLE_SHARE, Album, shaping_loss, timesteps_for, walks_loss
from models.pocket.training.walks import KEPT_FROM, States, Walker, asked_scene, true_picture
from models.pocket.world import COLOURS, Scene, draw


class Echo(nn.Module):
    """A UNet that answers with its own weight, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> "Echo":
        self.asked, self.asked_at = text, timesteps
        self.sample = self.weight.expand_as(latents)
        return self


@pytest.mark.parametrize("side", MIDDLE)
def test_most_rows_take_their_noise_from_the_middle_and_the_others_from_everywhere(side: int) -> None:
    spread = timesteps_for(side, 4000, np.random.default_rng(0))
    low, high = MIDDLE[side]
    inside = ((spread >= low) & (spread < high)).mean()
    assert inside == pytest.approx(MIDDLE_SHARE + (1 - MIDDLE_SHARE) * (high - low), abs=0.03)
    assert spread.min() >= 0
    assert 0.99 < spread.max() < 1


@pytest.mark.parametrize(("noise", "strays"), [(0.01, True), (0.6, False)])
def test_other_captions_come_to_what_is_seen_clearly_alone(noise: float, strays: bool) -> None:
    unet, text = Echo(), torch.arange(64.0)[:, None, None].expand(64, 2, 4)
    latents, alphas = torch.zeros(64, 4, 8, 8), new_sampler().alphas_cumprod
    spread = torch.full((64,), noise)
    loss = shaping_loss(unet, latents, text, alphas, spread, np.random.default_rng(1))
    assert torch.isfinite(loss)
    assert torch.equal(unet.asked, text) is not strays


@pytest.mark.parametrize("thing", ["star", "cross", "moon", "heart"])
def test_a_drawn_thing_is_found_where_it_was_drawn(thing: str) -> None:
    scene = Scene(thing, "red", "white", radius=0.28, centre=(0.46, 0.55), angle=5.0)
    fit = best_fit(draw(scene, 128), thing)
    assert fit is not None
    assert fit.overlap > 0.95
    assert (*fit.centre, fit.radius) == pytest.approx((0.46, 0.55, 0.28), abs=0.02)
    assert fit.angle == pytest.approx(5.0, abs=2.6)


def test_nothing_is_found_on_a_plain_ground() -> None:
    assert best_fit(np.full((128, 128, 3), 200, np.uint8), "star") is None


def test_the_true_picture_is_the_asked_thing_in_the_place_of_what_was_made() -> None:
    asked = Scene("star", "red", "blue", radius=0.3)
    made = draw(replace(asked, thing="circle", radius=0.25, centre=(0.42, 0.56)), 128)
    shown = true_picture(asked, made)
    fit = best_fit(shown, "star")
    assert fit is not None
    assert fit.overlap > 0.95
    assert fit.centre == pytest.approx((0.42, 0.56), abs=0.03)
    assert shown[2, 2].tolist() == list(COLOURS["blue"])
    assert true_overlap(true_picture(asked, np.zeros((128, 128, 3), np.uint8)), "star") > 0.95, "where it was thrown"


@pytest.mark.parametrize(
    ("size", "smallest", "largest"), [("small", 0.17, 0.23), ("large", 0.39, 0.45), ("", 0.3, 0.36)]
)
def test_a_size_that_is_said_is_kept_whatever_was_made(size: str, smallest: float, largest: float) -> None:
    made = draw(Scene("circle", "red", "blue", radius=0.33), 128)
    fit = best_fit(true_picture(Scene("circle", "red", "blue", size=size), made), "circle")
    assert fit is not None
    assert smallest < fit.radius < largest


def test_what_is_asked_for_says_both_colours_and_its_size_alone() -> None:
    for seed in range(200):
        scene, text = asked_scene(np.random.default_rng(seed))
        assert f"{scene.colour} {scene.thing}" in text
        assert f"{scene.ground} background" in text
        assert ("small" in text, "large" in text) == (scene.size == "small", scene.size == "large")


class Guided(nn.Module):
    """A UNet whose guided answer is right at one guidance: `wished` plus `apart`, and so much less with a caption."""

    def __init__(self, wished: Tensor, apart: float, guidance: float) -> None:
        super().__init__()
        self._wished, self._apart, self._guidance = wished, apart, guidance

    def forward(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> "Guided":  # noqa: ARG002
        unsaid = self._wished + self._apart
        self.sample = torch.cat([unsaid - self._apart / self._guidance, unsaid])
        return self


@pytest.mark.parametrize("apart", [0.0, 0.3])
def test_the_loss_of_walks_is_that_of_the_guided_answer(apart: float) -> None:
    alphas, timesteps = new_sampler().alphas_cumprod, torch.tensor([250, 500, 900])
    latents, wanted = torch.randn(2, 3, 4, 8, 8).unbind()
    a = alphas[timesteps][:, None, None, None]
    unet = Guided((latents - a.sqrt() * wanted) / (1 - a).sqrt(), apart, guidance=6.0)
    states, text = States(latents, latents, timesteps, wanted, [""] * 3), torch.zeros(3, 77, 4)

    def loss(guidance: float) -> float:
        return float(walks_loss(unet, states, text, text, alphas, torch.full((3,), guidance)))

    assert loss(6.0) == pytest.approx(0, abs=1e-9)
    assert (loss(2.0) > 1e-3) is (apart > 0)


@pytest.fixture(scope="module")
def walker() -> Walker:
    parts = POCKET / "checkpoint"
    vae = AutoencoderKL.from_pretrained(parts / "vae", torch_dtype=torch.float32)
    encoder = CLIPTextModel.from_pretrained(parts / "text_encoder", dtype=torch.float32)
    return Walker(vae, CLIPTokenizer.from_pretrained(parts / "tokenizer"), encoder)


def test_a_walks_states_have_its_end_and_little_noise_is_left_out(walker: Walker) -> None:
    states = walker.walk(Echo(), 64, 3, np.random.default_rng(5))
    count = len(states.captions)
    assert count % 3 == 0
    assert states.latents.shape == states.seen.shape == states.wanted.shape == (count, 4, 8, 8)
    assert len(states.timesteps) == count
    assert int(states.timesteps.min()) >= KEPT_FROM
    assert torch.equal(states.timesteps, states.timesteps.sort(descending=True).values)
    assert torch.equal(states.wanted[:3], states.wanted[-3:])
    assert states.captions[:3] == states.captions[-3:]


def test_an_album_keeps_the_latest_walks_and_some_states_have_new_noise(
    walker: Walker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = iter(range(100))

    def walk(*_: object) -> States:
        same = torch.full((2, 4, 8, 8), float(next(made)))
        return States(same, same, torch.tensor([500, 500]), same, ["a", "b"])

    monkeypatch.setattr(walker, "walk", walk)
    album, rng = Album(walker, 128), np.random.default_rng(0)
    for _ in range(30):
        album.refresh(Echo(), rng)
    states = album.pick(rng, 400, new_sampler().alphas_cumprod)
    assert set(states.wanted[:, 0, 0, 0].tolist()) == {float(number) for number in range(18, 34)}
    as_walked = (states.latents == states.wanted).flatten(1).all(1).float().mean()
    assert as_walked == pytest.approx(0.6, abs=0.1)
