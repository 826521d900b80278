"""What a catalogue entry may name, and what it is told where the source is missing, broken or of another kind."""

import pickle
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from serve_app.config import ModelEntry, Weights
from serve_app.errors import ConfigError, GenerationFailed, InvalidFields
from serve_app.pipelines import load_pipeline
from serve_app.pipelines.directly import latents_of
from serve_app.pipelines.latent import LatentPipeline
from serve_app.prompts.weights import parse_weights
from tests.unit.pipelines.jobs import make_job
from tests.unit.pipelines.original_names import original_vae
from tests.unit.pipelines.small_models import make_model, make_vae, save_configuration, save_single_file


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders sd1 and sdxl, the single file sd1.safetensors and its configuration."""
    home = tmp_path_factory.mktemp("models")
    for name in ("sd1", "sdxl"):
        make_model(name).save_pretrained(home / name)
    save_single_file(make_model("sd1"), home / "sd1.safetensors")
    save_configuration(make_model("sd1"), home / "config")
    return home


def load(source: Path | str, **changes: Any) -> LatentPipeline:  # noqa: ANN401 (the entry's fields)
    return load_pipeline(ModelEntry(id="odd", source=str(source), torch_threads=1, **changes), parse_weights)


def refused(source: Path | str, **changes: Any) -> str:  # noqa: ANN401 (the entry's fields)
    with pytest.raises(ConfigError) as caught:
        load(source, **changes)
    assert "'odd'" in str(caught.value)
    assert repr(str(source)) in str(caught.value)
    return str(caught.value)


def test_a_single_file_is_known_by_its_content_and_not_by_its_suffix(home: Path, tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").symlink_to(home / "sd1.safetensors")
    named, odd = (
        load(file, config=str(home / "config")) for file in (home / "sd1.safetensors", tmp_path / "model.ckpt")
    )
    assert torch.equal(latents_of(named, make_job())[0], latents_of(odd, make_job())[0])


@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
def test_a_pickle_is_never_read_whatever_its_suffix(home: Path, tmp_path: Path, suffix: str) -> None:
    traps = tmp_path / "ran"
    file = tmp_path / f"model.{suffix}"
    file.write_bytes(pickle.dumps(Trap(traps)))
    assert "pickle" in refused(file, config=str(home / "config"))
    torch.save({"state_dict": load_file(home / "sd1.safetensors")}, file)
    assert "pickle" in refused(file, config=str(home / "config"))
    assert not traps.exists()


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.file,)


def test_a_folder_of_pickles_is_refused(home: Path, tmp_path: Path) -> None:
    folder = copytree(home / "sd1", tmp_path / "pickled")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    refused(folder)


@pytest.mark.parametrize("missing", ["model.diffusion_model.", "first_stage_model.", "cond_stage_model."])
def test_a_single_file_without_one_of_the_networks_is_refused(home: Path, tmp_path: Path, missing: str) -> None:
    state = {name: each for name, each in load_file(home / "sd1.safetensors").items() if not name.startswith(missing)}
    save_file(state, tmp_path / "half.safetensors")
    refused(tmp_path / "half.safetensors", config=str(home / "config"))


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign"])
def test_a_broken_single_file_is_refused(home: Path, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "broken.safetensors"
    if damage == "foreign":
        save_file({"something.else": torch.ones(3)}, file)
    else:
        file.write_bytes((home / "sd1.safetensors").read_bytes()[: 50_000 if damage == "cut" else 0])
    refused(file, config=str(home / "config"))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler", "model_index.json"])
def test_a_folder_with_a_part_missing_is_refused(home: Path, tmp_path: Path, part: str) -> None:
    folder = copytree(home / "sd1", tmp_path / "partial")
    (folder / part).rename(tmp_path / "taken")
    refused(folder)


def test_nothing_at_the_source_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere")


@pytest.mark.filterwarnings("ignore:.*:FutureWarning:diffusers")
@pytest.mark.parametrize(
    ("model", "family", "unet", "why"),
    [
        ("sd1", "sd", {"in_channels": 9}, "9 channels and not 4"),
        ("sd1", "sd", {"time_cond_proj_dim": 8}, "distilled"),
        ("sdxl", "sd", {}, "of family sdxl, the catalogue says sd"),
        ("sd1", "sdxl", {}, ""),
    ],
)
def test_a_model_that_this_server_does_not_run_is_refused_at_load(
    tmp_path: Path, model: str, family: str, unet: dict[str, Any], why: str
) -> None:
    make_model(model, **unet).save_pretrained(tmp_path)
    assert why in refused(tmp_path, family=family)


def test_a_refiner_is_refused(tmp_path: Path) -> None:
    refiner = make_model("sdxl")
    refiner.register_modules(text_encoder=None, tokenizer=None)
    refiner.save_pretrained(tmp_path)
    assert "lacks a text encoder" in refused(tmp_path, family="sdxl")


SHALLOW = {
    "block_out_channels": (4, 8), "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (SHALLOW, "2 pixels a side"),
        ({"latent_channels": 16}, "16 latent channels"),
        ({"latents_mean": [0.1] * 4, "latents_std": [0.9] * 4}, "shifts"),
    ],
)
def test_a_vae_of_another_kind_is_refused_at_load_and_as_an_override(
    home: Path, tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    folder = copytree(home / "sd1", tmp_path / "model")
    make_vae(**changes).save_pretrained(folder / "vae")
    assert why in refused(folder)
    other = load(home / "sd1", vaes=(Weights(id="other", source=str(folder / "vae")),))
    with pytest.raises(InvalidFields) as caught:
        other.prepare(make_job(vae="other"))
    assert why in caught.value.fields["vae"][0]


def test_another_vae_comes_from_a_folder_or_a_single_file_in_either_naming(home: Path, tmp_path: Path) -> None:
    torch.manual_seed(8)
    vae = make_vae()
    vae.save_pretrained(tmp_path / "folder")
    save_file(vae.state_dict(), tmp_path / "diffusers.safetensors")
    save_file({name: each.contiguous() for name, each in original_vae(vae).items()}, tmp_path / "original.ckpt")
    (tmp_path / "broken.safetensors").write_bytes(b"not safetensors")
    sources = ("folder", "diffusers.safetensors", "original.ckpt", "broken.safetensors", "nowhere")
    vaes = tuple(Weights(id=name, source=str(tmp_path / name)) for name in sources)
    loaded = load(home / "sd1", vaes=vaes)
    own, *others = latents_of(loaded, *(make_job(vae=name) for name in (None, *sources[:3])))
    assert not torch.allclose(own, others[0], atol=1e-3)
    assert all(torch.equal(other, others[0]) for other in others)
    with pytest.raises(InvalidFields) as caught:
        loaded.prepare(make_job(vae="broken.safetensors"))
    assert list(caught.value.fields) == ["vae"]
    with pytest.raises(GenerationFailed, match="nowhere"):
        loaded.prepare(make_job(vae="nowhere"))


def test_sdxl_in_half_precision_keeps_its_vae_in_float32(home: Path) -> None:
    halved = load(home / "sdxl", family="sdxl", dtype="float16")
    assert (halved._unet.dtype, halved._addons.vae(None).dtype) == (torch.float16, torch.float32)


# Hub ids, without a hub


@pytest.mark.parametrize("offline", [True, False])
def test_a_hub_id_that_cannot_be_reached_is_refused_at_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    refused("someone/model-of-theirs")
    refused("someone/xl-of-theirs", family="sdxl")
    refused(home / "sd1.safetensors")  # without `config`, diffusers asks the hub for one
    refused(home / "sd1.safetensors", config="someone/model-of-theirs")
    assert pauses == [], "nothing is waited for and tried again"
