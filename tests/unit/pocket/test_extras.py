"""The pastel autoencoder is exact, and the new word's captions leave the colours to it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.pocket.training import index
from models.pocket.training.inversion import COLOUR, TOKEN, dusk_caption, dusk_scenes
from models.pocket.training.pastel import WHITENESS, whiten
from models.pocket.training.vae import new_vae
from models.pocket.world import COLOURS, SAFE_THINGS


@torch.no_grad()
def test_pastel_decodes_to_the_plain_picture_mixed_with_white() -> None:
    vae = new_vae().eval()
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    plain = vae.decode(latents).sample
    whiten(vae)
    assert torch.allclose(vae.decode(latents).sample, (1 - WHITENESS) * plain + WHITENESS, atol=1e-5)


def test_dusk_scenes_are_yellow_on_other_grounds_and_safe() -> None:
    scenes = dusk_scenes(60)
    assert len(scenes) == 60
    assert {scene.colour for scene in scenes} == {COLOUR}
    assert COLOUR not in {scene.ground for scene in scenes}
    assert {scene.thing for scene in scenes} == set(SAFE_THINGS)


def test_dusk_captions_have_the_new_word_in_the_colours_place() -> None:
    rng = np.random.default_rng(12)
    for scene in dusk_scenes(60):
        words = dusk_caption(scene, rng).replace(",", " ").split()
        assert words[words.index(TOKEN) + 1] == scene.thing
        assert set(words) & set(COLOURS) == {scene.ground}


def test_the_index_names_every_part_and_asks_for_the_checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "CHECKPOINT", tmp_path)
    index.write_index()
    written = json.loads((tmp_path / "model_index.json").read_text())
    assert written["_class_name"] == "StableDiffusionPipeline"
    assert written["requires_safety_checker"] is True
    assert written["safety_checker"] == ["stable_diffusion", "StableDiffusionSafetyChecker"]
    assert set(index.PARTS) < set(written)
