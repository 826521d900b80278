"""The wheel: one package, `darkroom`, that needs no other of ours and minds no other `models` beside it."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from serve_app.access.keys import KEY_FILE
from serve_app.config import POCKET, PROJECT

DECOYS = ("models", "deployments", "serve_app")
NOT_SOURCE = ("[.]*", "build", "dist", "data", "*.egg-info", "__pycache__", "tests", "bench", "node_modules")
BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, sys.argv[1])(sys.argv[2]))
"""
LOOK = """
import asyncio, io, pickle
from PIL import Image
from darkroom.deployments.app import app
from darkroom.deployments.ingress import Ingress
from darkroom.deployments.local import SERVE_SETTINGS
from darkroom.serve_app.config import AppConfig
from darkroom.serve_app.inputs.decode import ImageDecoder
from darkroom.serve_app.records.database import migrate
config = AppConfig()
entry = config.catalogue[0]
for path in (entry.path_or_hub_id, config.storage.data_path, Ingress.__module__):
    print(path)
assert [value for value in SERVE_SETTINGS.values() if value.startswith(("deployments", "serve_app"))] == []
assert all(weights.path.exists() for weights in (*entry.vaes, *entry.loras, *entry.embeddings))
assert type(pickle.loads(pickle.dumps(config))) is AppConfig
migrate(config.records_url)
picture = io.BytesIO()
Image.new("RGB", (64, 64), "red").save(picture, "PNG")

async def decode():
    decoder = ImageDecoder(config.inputs)
    try:
        return await decoder.decode(picture.getvalue())
    finally:
        await decoder.close()

print(asyncio.run(decode())[0, 0])
"""
"""A look at everything that finds a file, a module or a folder."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that builds may write into."""
    folder = tmp_path_factory.mktemp("source") / "darkroom"
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    stale = folder / "build" / "lib" / "serve_app"  # as an older layout left it
    stale.mkdir(parents=True)
    (stale / "stale.py").touch()
    return folder


def built(hook: str, source: Path, target: Path) -> Path:
    """What a build frontend gets; without isolation, for nothing is downloaded here."""
    done = run([sys.executable, "-c", BUILD, hook, str(target)], source, os.environ)
    return target / done.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return built("build_wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheel is installed, beside other packages with the names of our folders."""
    folder = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    run([*install, "--target", str(folder), str(wheel)], folder, os.environ)
    for name in DECOYS:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise AssertionError('another package of this name')\n")
    return folder


@pytest.fixture
def environment(site: Path, tmp_path: Path) -> dict[str, str]:
    """A user with an empty home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DARKROOM_", "XDG_"))}
    return {**kept, "PYTHONPATH": str(site), "HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder with nothing in it."""
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def run(command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(wheel: Path) -> list[str]:
    return sorted(zipfile.ZipFile(wheel).namelist())


def test_a_wheel_has_one_package_with_the_pocket_model_inside_and_nothing_stale(wheel: Path) -> None:
    names = files(wheel)
    assert {name.partition("/")[0] for name in names} == {"darkroom", "darkroom-0.1.0.dist-info"}
    assert f"darkroom/{POCKET.source}/unet/diffusion_pytorch_model.safetensors" in names
    assert "darkroom/serve_app/records/migrations/versions/0001_jobs.py" in names
    assert [name for name in names if "stale" in name or "/tests/" in name] == []
    top_level = zipfile.ZipFile(wheel).read("darkroom-0.1.0.dist-info/top_level.txt")
    assert top_level.split() == [b"darkroom"]


def test_every_file_of_our_folders_is_in_the_wheel(source: Path, wheel: Path) -> None:
    lying = [path for name in DECOYS for path in (source / name).rglob("*") if path.is_file()]
    assert {f"darkroom/{path.relative_to(source).as_posix()}" for path in lying} - set(files(wheel)) == set()


def test_an_sdist_gives_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    sdist = built("build_sdist", source, tmp_path)
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    again = built("build_wheel", tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path)
    assert files(again) == files(wheel)
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert [name for name in files(wheel) if one.read(name) != other.read(name)] == []


def test_the_installed_command_keeps_keys_in_the_users_data_directory_from_any_folder(
    site: Path, environment: dict[str, str], empty: Path
) -> None:
    command = [sys.executable, str(site / "bin" / "darkroom")]
    shown = run([*command, "--help"], empty, environment)
    assert all(name in shown for name in ("serve", "demo", "submit", "keys", "jobs", "webhooks"))
    assert len(run([*command, "keys", "create", "phone"], empty, environment).strip()) >= 43
    assert [path.parent.name for path in Path(environment["HOME"]).rglob(KEY_FILE)] == ["darkroom"]
    assert list(empty.iterdir()) == []
    assert list(site.rglob(KEY_FILE)) == []


def test_everything_in_the_wheel_finds_its_own_modules_and_files(
    site: Path, environment: dict[str, str], empty: Path
) -> None:
    model, data, module, pixel = run([sys.executable, "-c", LOOK], empty, environment).splitlines()
    assert model == str(site / "darkroom" / POCKET.source)
    assert Path(data).is_relative_to(environment["HOME"])
    assert module == "darkroom.deployments.ingress"
    assert pixel == "[255   0   0]"
    assert list(empty.iterdir()) == []
