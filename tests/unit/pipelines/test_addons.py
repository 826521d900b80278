"""LoRAs and textual inversions that the tests make: from both namings, applied to single rows, gone for the next."""

import re
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from safetensors.torch import save_file

from models.pocket.training.styles import to_kohya
from serve_app.config import POCKET, Weights
from serve_app.errors import GenerationFailed, InvalidFields
from serve_app.messages import Lora
from serve_app.pipelines.directly import encode, latents_of
from serve_app.pipelines.sd import SdPipeline
from serve_app.prompts.weights import parse_weights
from tests.unit.pipelines.jobs import make_job
from tests.unit.pipelines.lora_making import CHECKPOINT, random_lora


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoRAs in diffusers' and in kohya's naming, one with text encoder parts in both, and a textual inversion."""
    folder = tmp_path_factory.mktemp("addons")
    unet, text = random_lora("unet", 1), random_lora("text_encoder", 2)
    save_file({f"unet.{name}": weight for name, weight in unet.items()}, folder / "plain.safetensors")
    save_file(to_kohya(unet), folder / "kohya.safetensors")
    StableDiffusionImg2ImgPipeline.save_lora_weights(
        folder, unet_lora_layers=random_lora("unet", 3), text_encoder_lora_layers=text, weight_name="both.safetensors"
    )
    save_file({**to_kohya(random_lora("unet", 3)), **kohya_text(text)}, folder / "kohya-both.safetensors")
    halved = {name: weight / 2 if name.endswith(".alpha") else weight for name, weight in to_kohya(unet).items()}
    save_file(halved, folder / "halved.safetensors")
    save_file({"<dusk>": torch.randn(2, 64)}, folder / "dusk.safetensors")
    save_file({"unet.nowhere.lora_A.weight": torch.ones(1, 4), "unet.nowhere.lora_B.weight": torch.ones(4, 1)},
              folder / "foreign.safetensors")  # fmt: skip
    for name, factor in (("flood", 1e38), ("endless", float("inf"))):
        save_file({f"unet.{key}": weight * factor for key, weight in unet.items()}, folder / f"{name}.safetensors")
    (folder / "broken.safetensors").write_bytes(b"not safetensors")
    return folder


def kohya_text(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    named = {}
    for key, weight in weights.items():
        module, end = key.rsplit(".lora_", 1)
        flat = "lora_te_text_model_" + re.sub(r"^text_model\.", "", module).replace(".", "_")
        named[f"{flat}.lora_{'down' if end.startswith('A') else 'up'}.weight"] = weight
        named[f"{flat}.alpha"] = torch.tensor(8.0)
    return named


@pytest.fixture(scope="module")
def dressed(folder: Path) -> SdPipeline:
    loras = ("plain", "kohya", "both", "kohya-both", "halved", "flood", "endless", "foreign", "broken", "missing")
    entry = POCKET.model_copy(
        update={
            "torch_threads": 1,
            "loras": tuple(_entry(folder, name) for name in loras),
            "embeddings": (_entry(folder, "dusk"),),
        }
    )
    return SdPipeline(entry, parse_weights)


def _entry(folder: Path, name: str) -> Weights:
    return Weights(id=name, source=str(folder / f"{name}.safetensors"))


def latents(pipeline: SdPipeline, *loras: Lora, **changes: object) -> torch.Tensor:
    return latents_of(pipeline, make_job(loras=loras, **changes))[0]


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().mean())


@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")
@pytest.mark.parametrize("loras", [{"plain": 1.0}, {"kohya": 0.6}, {"halved": 1.0}, {"both": 0.8},
                                  {"plain": 0.4, "both": -0.5}], ids=str)  # fmt: skip
def test_rows_wear_loras_exactly_as_diffusers_and_peft_do(
    dressed: SdPipeline, folder: Path, loras: dict[str, float]
) -> None:
    theirs = StableDiffusionImg2ImgPipeline.from_pretrained(CHECKPOINT, safety_checker=None)
    theirs.set_progress_bar_config(disable=True)
    for name in loras:
        theirs.load_lora_weights(folder, weight_name=f"{name}.safetensors", adapter_name=name.replace("-", "_"))
    theirs.set_adapters([name.replace("-", "_") for name in loras], list(loras.values()))
    asked = make_job(loras=tuple(Lora(name, strength) for name, strength in loras.items()))
    wanted = theirs(
        asked.prompt, torch.from_numpy(asked.init_image.copy()).permute(2, 0, 1)[None] / 255,
        negative_prompt=asked.negative_prompt, strength=asked.strength, num_inference_steps=asked.steps,
        guidance_scale=asked.guidance_scale, generator=torch.Generator().manual_seed(asked.seed), output_type="latent",
    ).images[0]  # fmt: skip
    assert (latents_of(dressed, asked)[0] - wanted).abs().max() <= 1e-3 * wanted.abs().max()


def test_rows_with_different_loras_share_a_call_and_equal_solo_runs(dressed: SdPipeline) -> None:
    sets = [(), (Lora("plain", 1.0),), (Lora("both", 0.5),), (Lora("plain", 0.3), Lora("both", 1.0))]
    jobs = [make_job(loras=loras, seed=seed) for seed, loras in enumerate([*sets, *sets[1:3]])]
    together = latents_of(dressed, *jobs)
    for asked, mixed in zip(jobs, together, strict=True):
        alone = latents_of(dressed, asked)[0]
        assert (mixed - alone).abs().max() <= 1e-4 * alone.abs().max()


def test_a_lora_that_overflows_spoils_no_other_row(dressed: SdPipeline) -> None:
    spoilt, beside = latents_of(dressed, make_job(loras=(Lora("flood", 1.0),)), make_job())
    assert not spoilt.isfinite().all()
    alone = latents(dressed)
    assert (beside - alone).abs().max() <= 1e-5 * alone.abs().max()


@pytest.mark.parametrize("name", ["plain", "kohya", "both"])
def test_a_lora_acts_in_proportion_to_its_strength_and_on_its_own_job_only(dressed: SdPipeline, name: str) -> None:
    bare = latents(dressed)
    zero, half, full = (latents(dressed, Lora(name, strength)) for strength in (0.0, 0.5, 1.0))
    assert distance(zero, bare) < 1e-5
    assert 0 < distance(half, bare) < distance(full, bare)
    assert torch.equal(latents(dressed), bare)


@pytest.mark.parametrize(("plain", "kohya"), [("plain", "kohya"), ("both", "kohya-both")])
def test_both_namings_of_one_lora_are_the_same_lora(dressed: SdPipeline, plain: str, kohya: str) -> None:
    assert distance(latents(dressed, Lora(plain, 0.7)), latents(dressed, Lora(kohya, 0.7))) < 1e-5


def test_alpha_scales_a_lora(dressed: SdPipeline) -> None:
    assert distance(latents(dressed, Lora("halved", 1.0)), latents(dressed, Lora("plain", 0.5))) < 1e-5


@pytest.mark.parametrize(("name", "why"), [("foreign", "no nowhere"), ("broken", "cannot be read"),
                                           ("endless", "not finite")])  # fmt: skip
def test_a_lora_file_that_does_not_fit_is_refused_by_its_field_and_id(dressed: SdPipeline, name: str, why: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        dressed.prepare(make_job(loras=(Lora(name, 1.0),)))
    (sentence,) = caught.value.fields["lora_model"]
    assert name in sentence
    assert why in sentence


def test_a_lora_file_that_is_not_there_is_no_fault_of_the_request(dressed: SdPipeline) -> None:
    with pytest.raises(GenerationFailed, match="not there"):
        dressed.prepare(make_job(loras=(Lora("missing", 1.0),)))


def test_an_embedding_gives_its_word_a_meaning_in_the_jobs_that_name_it(dressed: SdPipeline) -> None:
    prompt = "a <dusk> star"
    without, with_addon, after = encode(
        dressed, make_job(prompt=prompt), make_job(prompt=prompt, embeddings=("dusk",)), make_job(prompt=prompt)
    )
    assert not torch.allclose(without.prompt.embeds, with_addon.prompt.embeds, atol=1e-3)
    assert torch.equal(without.prompt.embeds, after.prompt.embeds)
    (by_id,) = encode(dressed, make_job(prompt="a dusk star", embeddings=("dusk",)))
    assert torch.equal(by_id.prompt.embeds, with_addon.prompt.embeds)


def test_loras_are_read_once_and_kept_within_their_budget(dressed: SdPipeline) -> None:
    dressed.prepare(make_job(loras=(Lora("plain", 1.0),)))
    first = dressed.prepare(make_job(loras=(Lora("plain", 0.5),))).loras[0][0]
    assert dressed.prepare(make_job(loras=(Lora("plain", 1.0),))).loras[0][0] is first
    assert 0 < dressed._addons.lora_bytes <= POCKET.lora_bytes
