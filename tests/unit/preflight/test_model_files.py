"""The files of the catalogue are judged by their content before anything is loaded."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from serve_app.config import AppConfig, config_of
from serve_app.config.wording import shown
from serve_app.preflight.models import hub_notes, model_faults
from tests.unit.preflight.making import (
    EMBEDDING,
    FLUX,
    SD_CHECKPOINT,
    SD_LORA,
    SDXL_CHECKPOINT,
    VAE,
    diffusers_folder,
    put,
    safetensors,
    zipped_pickle,
)


def config(source: Path, **entry: object) -> AppConfig:
    return config_of({"catalogue": [{"id": "m", "source": str(source), "safety": "none", **entry}]})


def told(source: Path, **entry: object) -> list[str]:
    return [shown(fault) for fault in model_faults(config(source, **entry))]


def test_the_shipped_catalogue_has_no_fault() -> None:
    assert list(model_faults(AppConfig())) == []


def test_whole_files_of_the_right_kind_and_family_have_no_fault(tmp_path: Path) -> None:
    addons = {
        "vaes": [{"id": "v", "source": str(put(tmp_path / "v.safetensors", VAE))}],
        "loras": [{"id": "l", "source": str(put(tmp_path / "l.safetensors", SD_LORA))}],
        "embeddings": [{"id": "e", "source": str(put(tmp_path / "e.safetensors", EMBEDDING))}],
    }
    assert told(put(tmp_path / "m.safetensors", SD_CHECKPOINT), **addons) == []
    assert told(put(tmp_path / "xl.safetensors", SDXL_CHECKPOINT), family="sdxl") == []
    assert told(diffusers_folder(tmp_path / "folder"), **addons) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (pickle.dumps({"a": 1}), "pickle"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b'{"error": "Access denied"}', "is JSON"),
        (b"GGUF" + bytes(60), "GGUF"),
        (safetensors(SD_CHECKPOINT)[:-10], "cut off"),
        (safetensors(SD_CHECKPOINT)[:40], "cut off inside its header"),
        (b"\x07" * 100, "no safetensors file"),
        (safetensors(SD_LORA), "is a LoRA and not a checkpoint"),
        (safetensors(VAE), "is a VAE and not a checkpoint"),
        (safetensors(FLUX), "is a Flux model and not a checkpoint"),
        (safetensors(SDXL_CHECKPOINT), "family: sdxl"),
    ],
)
def test_what_is_no_usable_checkpoint_is_told_by_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    (fault,) = told(put(tmp_path / "m.safetensors", content))
    assert fault.startswith("catalogue[0].source: ")
    assert words in fault


def test_a_pickle_as_torch_saves_it_is_told_whatever_it_is_called(tmp_path: Path) -> None:
    assert "pickle" in told(zipped_pickle(tmp_path / "m.safetensors"))[0]


def test_a_file_that_is_not_there_is_told_with_its_neighbour(tmp_path: Path) -> None:
    put(tmp_path / "deliberate.safetensors", SD_CHECKPOINT)
    (fault,) = told(tmp_path / "deliberat.safetensors")
    assert "nothing at" in fault
    assert "deliberate.safetensors" in fault


def break_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def break_unet(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")


def only_a_variant(folder: Path) -> None:
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(folder / "vae" / "diffusion_pytorch_model.fp16.safetensors")


def without_lfs(folder: Path) -> None:
    put(folder / "text_encoder" / "model.safetensors", b"version https://git-lfs.github.com/spec/v1\n")


def another_pipeline(folder: Path) -> None:
    put(folder / "model_index.json", b'{"_class_name": "FluxPipeline"}')


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_index, "no model_index.json: name the folder that holds it"),
        (break_unet, "pickles are never read"),
        (only_a_variant, "variant"),
        (without_lfs, "Git LFS pointer"),
        (another_pipeline, "FluxPipeline"),
    ],
)
def test_a_damaged_diffusers_folder_is_told(tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    folder = diffusers_folder(tmp_path / "model")
    damage(folder)
    (fault,) = told(folder)
    assert fault.startswith("catalogue[0].source: ")
    assert words in fault


def test_a_folder_of_another_family_is_told(tmp_path: Path) -> None:
    assert told(diffusers_folder(tmp_path / "m", embeds="text_time"))[0].endswith("set family: sdxl")


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("loras", safetensors(SD_CHECKPOINT), "is a checkpoint and not a LoRA"),
        ("loras", safetensors(EMBEDDING), "name it under `embeddings`"),
        ("vaes", safetensors(SD_LORA), "name it under `loras`"),
        ("embeddings", safetensors(VAE), "name it under `vaes`"),
        ("loras", safetensors({"a.attn2.to_k.lora_A.weight": (4, 2048)}), "made for sdxl"),
        ("loras", b"", "is empty"),
    ],
)
def test_an_addon_of_another_kind_or_model_is_told_with_its_place(
    tmp_path: Path, kind: str, content: bytes, words: str
) -> None:
    file = put(tmp_path / "addon.safetensors", content)
    (fault,) = told(diffusers_folder(tmp_path / "model"), **{kind: [{"id": "a", "source": str(file)}]})
    assert fault.startswith(f"catalogue[0].{kind}[0].source: ")
    assert words in fault


def test_on_a_cluster_an_absent_file_may_be_on_another_node(tmp_path: Path) -> None:
    absent = config(tmp_path / "none.safetensors")
    assert list(model_faults(absent, absent_is_fault=False)) == []
    damaged = config(put(tmp_path / "m.safetensors", b"<html>"))
    assert len(list(model_faults(damaged, absent_is_fault=False))) == 1


def test_a_hub_id_is_told_as_what_only_loading_can_judge() -> None:
    hub = config(Path("someone/some-model"))
    assert list(model_faults(hub)) == []
    ((place, text),) = hub_notes(hub)
    assert place == ("catalogue", 0, "source")
    assert "hub" in text
