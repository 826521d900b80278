"""LoRAs and textual inversions that the tests make: loaded from both namings, worn by one job, gone for the next."""

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from models.pocket.training.styles import to_kohya
from models.pocket.world import Scene, draw
from serve_app.config import POCKET, PROJECT, Weights
from serve_app.messages import Img2ImgJob, Lora
from serve_app.pipelines.sd import SdPipeline

pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")  # a second LoRA
INIT = draw(Scene("circle", "yellow", "green"), 64)


@pytest.fixture(scope="module")
def dressed(tmp_path_factory: pytest.TempPathFactory) -> SdPipeline:
    """The pocket model with one LoRA in diffusers' naming, the same in kohya's, and a textual inversion."""
    folder = tmp_path_factory.mktemp("addons")
    weights = _random_lora()
    save_file({f"unet.{name}": weight for name, weight in weights.items()}, folder / "plain.safetensors")
    save_file(to_kohya(weights), folder / "kohya.safetensors")
    save_file({"<dusk>": torch.randn(1, 64)}, folder / "dusk.safetensors")
    return SdPipeline(
        POCKET.model_copy(
            update={
                "torch_threads": 1,
                "loras": (_entry(folder, "plain"), _entry(folder, "kohya")),
                "embeddings": (_entry(folder, "dusk"),),
            }
        )
    )


def _entry(folder: Path, name: str) -> Weights:
    return Weights(id=name, source=str(folder / f"{name}.safetensors"))


def _random_lora() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    unet = UNet2DConditionModel.from_pretrained(PROJECT / POCKET.source / "unet")
    unet.add_adapter(LoraConfig(r=8, lora_alpha=8, init_lora_weights=False, target_modules=["to_q", "to_v", "conv1"]))
    return {name: weight.contiguous() for name, weight in get_peft_model_state_dict(unet).items()}


def latents(pipeline: SdPipeline, prompt: str = "a red star", **worn: object) -> torch.Tensor:
    fields: dict[str, object] = {
        "id": 1, "model_id": "pocket", "prompt": prompt, "negative_prompt": "", "init_image": INIT, "samples": 1,
        "steps": 3, "guidance_scale": 5.0, "strength": 0.8, "seed": 3, **worn,
    }  # fmt: skip
    generation = pipeline.encode(Img2ImgJob(**fields))  # type: ignore[arg-type]
    while generation.done < generation.total:
        pipeline.advance(generation, pipeline.denoise(generation))
    return generation.latents


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().mean())


@pytest.mark.parametrize("name", ["plain", "kohya"])
def test_a_lora_acts_in_proportion_to_its_strength_and_on_its_own_job_only(dressed: SdPipeline, name: str) -> None:
    bare = latents(dressed)
    zero, half, full = (latents(dressed, loras=(Lora(name, strength),)) for strength in (0.0, 0.5, 1.0))
    assert distance(zero, bare) < 1e-5
    assert 0 < distance(half, bare) < distance(full, bare)
    assert torch.equal(latents(dressed), bare)


def test_both_namings_of_one_lora_are_the_same_lora(dressed: SdPipeline) -> None:
    plain, kohya = (latents(dressed, loras=(Lora(name, 0.7),)) for name in ("plain", "kohya"))
    assert distance(plain, kohya) < 1e-4


def test_two_loras_act_together(dressed: SdPipeline) -> None:
    both = latents(dressed, loras=(Lora("plain", 0.3), Lora("kohya", 0.4)))
    assert distance(both, latents(dressed, loras=(Lora("plain", 0.7),))) < 1e-3


def test_an_embedding_gives_its_word_a_meaning(dressed: SdPipeline) -> None:
    without = dressed.encode_text(["a <dusk> star"], clip_skip=1)
    latents(dressed, "a <dusk> star", embeddings=("dusk",))
    assert not torch.allclose(dressed.encode_text(["a <dusk> star"], clip_skip=1), without)
