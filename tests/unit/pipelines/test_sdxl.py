"""Stable Diffusion XL's own conditions, LoRAs and textual inversions, against diffusers' own pipeline."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from serve_app.config import ModelEntry, Weights
from serve_app.errors import InvalidFields
from serve_app.messages import Lora
from serve_app.pipelines import load_pipeline
from serve_app.pipelines.directly import encode, finish, latents_of
from serve_app.pipelines.latent import LatentPipeline
from serve_app.pipelines.rows import LatentRow
from serve_app.pipelines.text import TextEmbeds
from serve_app.prompts.weights import parse_weights
from tests.unit.pipelines.jobs import INIT, make_job
from tests.unit.pipelines.original_names import unet_name
from tests.unit.pipelines.small_models import Pipeline, make_model, make_vae
from tests.unit.pipelines.test_families import assert_close, reference

UNET_TARGETS = ["to_q", "to_v", "to_out.0", "conv1", "proj_in", "ff.net.2"]
TEXT_TARGETS = ["q_proj", "v_proj", "out_proj", "fc1"]
PARTS = ("unet", "text_encoder", "text_encoder_2")
KOHYA_PREFIXES = {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}
LORAS = ("diffusers", "kohya", "sgm")
Layers = Mapping[str, Tensor]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, one LoRA in three namings, a textual inversion for both encoders and one for the first only."""
    folder = tmp_path_factory.mktemp("sdxl")
    make_model("sdxl").save_pretrained(folder / "model")
    layers = {part: random_lora(part, seed) for seed, part in enumerate(PARTS)}
    StableDiffusionXLImg2ImgPipeline.save_lora_weights(
        folder, weight_name="diffusers.safetensors",
        **{f"{part}_lora_layers": each for part, each in layers.items()},
    )  # fmt: skip
    save_file(kohya(layers, sgm=False), folder / "kohya.safetensors")
    save_file(kohya(layers, sgm=True), folder / "sgm.safetensors")
    torch.manual_seed(4)
    save_file({"clip_l": torch.randn(2, 16), "clip_g": torch.randn(2, 24)}, folder / "dusk.safetensors")
    save_file({"clip_g": torch.randn(1, 5)}, folder / "odd.safetensors")
    make_vae(0.3).save_pretrained(folder / "vae")
    return folder


def random_lora(part: str, seed: int) -> Layers:
    network = getattr(make_model("sdxl"), part)
    torch.manual_seed(seed)
    targets = UNET_TARGETS if part == "unet" else TEXT_TARGETS
    network.add_adapter(LoraConfig(r=4, lora_alpha=4, init_lora_weights=False, target_modules=targets))
    return {name: 0.2 * weight.contiguous() for name, weight in get_peft_model_state_dict(network).items()}


def kohya(layers: Mapping[str, Layers], sgm: bool) -> dict[str, Tensor]:
    """The names of sd-scripts, flat; with `sgm` the UNet's modules as the original program numbers them."""
    named = {}
    for part, each in layers.items():
        for key, weight in each.items():
            module, end = key.rsplit(".lora_", 1)
            if part == "unet":
                module = unet_name(module, 2) if sgm else module
            else:
                module = "text_model." + re.sub(r"^text_model\.", "", module)
            flat = f"{KOHYA_PREFIXES[part]}_{module.replace('.', '_')}"
            named[f"{flat}.lora_{'down' if end.startswith('A') else 'up'}.weight"] = weight
            named[f"{flat}.alpha"] = torch.tensor(4.0)
    return named


@pytest.fixture(scope="module")
def ours(folder: Path) -> LatentPipeline:
    entry = ModelEntry(
        id="xl", family="sdxl", source=str(folder / "model"), torch_threads=1,
        loras=tuple(_entry(folder, name) for name in LORAS),
        embeddings=tuple(_entry(folder, name) for name in ("dusk", "odd")),
        vaes=(Weights(id="other", source=str(folder / "vae")),),
    )  # fmt: skip
    return load_pipeline(entry, parse_weights)


def _entry(folder: Path, name: str) -> Weights:
    return Weights(id=name, source=str(folder / f"{name}.safetensors"))


@pytest.fixture
def theirs() -> Pipeline:
    return make_model("sdxl")


# Conditions


@pytest.mark.parametrize("forced", [True, False])
@pytest.mark.parametrize("negative", ["", "blurry"])
def test_a_negative_prompt_that_was_not_given_is_zeros_where_the_model_says_so(
    ours: LatentPipeline,
    theirs: Pipeline,
    forced: bool,
    negative: str,
) -> None:
    asked = make_job(negative_prompt=negative)
    for pipeline in (ours._parts, theirs):
        pipeline.register_to_config(force_zeros_for_empty_prompt=forced)
    (row,) = encode(ours, asked)
    assert row.negative is not None
    assert row.negative.pooled is not None
    assert bool((row.negative.embeds == 0).all() and (row.negative.pooled == 0).all()) is (forced and not negative)
    assert_close(finish(ours, [row])[0], reference(theirs, asked))
    ours._parts.register_to_config(force_zeros_for_empty_prompt=True)


def test_a_forgone_negative_prompt_is_zeros_as_long_as_a_long_prompt(ours: LatentPipeline) -> None:
    (row,) = encode(ours, make_job(prompt="red " * 100, negative_prompt=""))
    assert row.negative is not None
    assert row.negative.embeds.shape == row.prompt.embeds.shape == (154, 40)
    assert not row.negative.embeds.any()


def test_rows_know_their_pictures_size_and_their_own_pooled_prompts(ours: LatentPipeline, theirs: Pipeline) -> None:
    wide = np.concatenate([INIT, INIT[:, :32]], axis=1)
    jobs = [make_job(init_image=wide, prompt=prompt, seed=seed) for seed, prompt in enumerate(("a red star", "blue"))]
    rows = encode(ours, *jobs)
    texts = [text for row in rows for text in row.texts]
    conditions = ours._conditions(rows, [0, 0, 1, 1], texts)
    assert conditions is not None
    assert conditions["time_ids"].tolist() == [[64, 96, 0, 0, 64, 96]] * 4
    assert len(conditions["text_embeds"].unique(dim=0)) == 3  # two prompts, and one negative prompt of both
    for asked, latents in zip(jobs, finish(ours, rows), strict=True):
        assert_close(latents, reference(theirs, asked))


@pytest.mark.parametrize("condition", ["time_ids", "text_embeds"])
def test_sizes_and_pooled_prompts_matter(ours: LatentPipeline, monkeypatch: pytest.MonkeyPatch, condition: str) -> None:
    before = latents_of(ours, make_job())[0]
    given = ours._conditions

    def spoiled(rows: Sequence[LatentRow], owners: Sequence[int], texts: Sequence[TextEmbeds]) -> dict[str, Tensor]:
        conditions = given(rows, owners, texts)
        assert conditions is not None
        return {**conditions, condition: conditions[condition] * 2 + 1}

    monkeypatch.setattr(ours, "_conditions", spoiled)
    after = latents_of(ours, make_job())[0]
    assert (after - before).abs().max() > 1e-2 * before.abs().max()


def test_clip_skip_skips_in_both_encoders_as_diffusers_does(ours: LatentPipeline, theirs: Pipeline) -> None:
    asked = make_job(clip_skip=2, guidance_scale=1.0)
    assert_close(latents_of(ours, asked)[0], reference(theirs, asked, clip_skip=1))


def test_another_vae_encodes_and_decodes_its_own_job_as_in_diffusers(
    ours: LatentPipeline,
    theirs: Pipeline,
    folder: Path,
) -> None:
    rows = encode(ours, make_job(), make_job(vae="other"), make_job())
    plain, with_lora, again = finish(ours, rows)
    theirs.vae = type(theirs.vae).from_pretrained(folder / "vae")
    assert_close(with_lora, reference(theirs, make_job()))
    before, other, after = ours.decode(rows)
    assert torch.equal(plain, again)
    assert np.array_equal(before, after)
    assert not np.array_equal(before, other)


# LoRAs


@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")
@pytest.mark.parametrize("name", LORAS)
def test_a_lora_on_the_unet_and_both_text_encoders_equals_diffusers_and_peft(
    ours: LatentPipeline,
    theirs: Pipeline,
    folder: Path,
    name: str,
) -> None:
    theirs.load_lora_weights(folder, weight_name=f"{name}.safetensors", adapter_name=name)
    theirs.set_adapters([name], [0.6])
    bare = make_job()
    asked = replace(bare, loras=(Lora(name, 0.6),))
    plain, dressed = latents_of(ours, bare, asked)
    assert_close(dressed, reference(theirs, asked))
    assert (dressed - plain).abs().max() > 1e-2 * plain.abs().max()


def test_a_lora_has_a_part_for_each_network_in_every_naming(ours: LatentPipeline) -> None:
    files = [ours.prepare(make_job(loras=(Lora(name, 1.0),))).loras[0][0] for name in LORAS]
    for file in files:
        assert len(file.unet) == len(files[0].unet) > 0
        assert [len(modules) for modules in file.text_encoders] == [12, 12]  # four modules in each of three layers


def test_a_lora_acts_on_pooled_prompts_too(ours: LatentPipeline) -> None:
    plain, dressed = encode(ours, make_job(), make_job(loras=(Lora("diffusers", 1.0),)))
    assert plain.prompt.pooled is not None
    assert dressed.prompt.pooled is not None
    assert not torch.allclose(plain.prompt.pooled, dressed.prompt.pooled, atol=1e-3)


# Textual inversions


def test_an_embedding_file_of_both_encoders_equals_diffusers(ours: LatentPipeline, theirs: Pipeline) -> None:
    towers = (("clip_l", theirs.tokenizer, theirs.text_encoder), ("clip_g", theirs.tokenizer_2, theirs.text_encoder_2))
    state = ours._addons
    asked = make_job(prompt="a dusk star", embeddings=("dusk",))
    latents = latents_of(ours, asked)[0]
    for key, tokenizer, encoder in towers:
        vectors = state._embeddings["dusk"][key]
        theirs.load_textual_inversion({"<dusk>": vectors}, tokenizer=tokenizer, text_encoder=encoder)
    assert_close(latents, reference(theirs, replace(asked, prompt="a <dusk> star")))
    without = latents_of(ours, replace(asked, embeddings=()))[0]
    assert not torch.allclose(latents, without, atol=1e-2)


def test_an_embedding_of_another_width_fails_its_own_job(ours: LatentPipeline) -> None:
    before = latents_of(ours, make_job())[0]
    with pytest.raises(InvalidFields) as caught:
        encode(ours, make_job(prompt="an odd star", embeddings=("odd",)))
    assert "'odd'" in caught.value.fields["embeddings_model"][0]
    assert torch.equal(latents_of(ours, make_job())[0], before)
