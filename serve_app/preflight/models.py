"""The files of the catalogue: there, readable, whole, of the kind and the family that their entries say."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from serve_app.config import PROJECT, AppConfig, ModelEntry
from serve_app.config.catalogue import POCKET_FOLDER
from serve_app.config.places import is_there
from serve_app.config.wording import Fault, Place
from serve_app.preflight.weights import FAMILY_OF_WIDTH, Unusable, read_header, read_json

INDEX = "model_index.json"
NETWORKS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
"""The parts of a diffusers folder that hold weights, and what their files are called."""
CHECKER_FILES = ("feature_extractor/preprocessor_config.json",)
UNSAID = (
    "is not said: name the folder of this model's safety checker (it holds safety_checker/ and feature_extractor/), "
    "or say `safety: none`, and requests that ask for a check are refused"
)
CLOSED = "is closed to this user: change its owner or its mode"
NOT_THERE = "there is nothing at {path}"
Check = Callable[[Path], Iterator[str]]


def model_faults(config: AppConfig, *, absent_is_fault: bool = True) -> Iterator[Fault]:
    """Every fault of the catalogue's files. A file that is not there may be on another node of a cluster."""
    for number, entry in enumerate(config.catalogue):
        for place, text in _entry_faults(entry):
            if absent_is_fault or not text.startswith(NOT_THERE[:16]):
                yield ("catalogue", number, *place), text


def hub_notes(config: AppConfig) -> Iterator[tuple[Place, str]]:
    """What can only be known when it is loaded."""
    for number, entry in enumerate(config.catalogue):
        place: Place = ("catalogue", number)
        if entry.checker == POCKET_FOLDER and Path(entry.path_or_hub_id) != POCKET_FOLDER:
            yield (*place, "safety"), "the pocket model's checker knows one drawn thing: it is no check of other models"
        if _is_hub_id(entry.path_or_hub_id):
            yield (*place, "source"), f"{entry.source} is no path here: it is asked for at the hub while it loads"
        elif entry.config is None and is_there(entry.path_or_hub_id) and Path(entry.path_or_hub_id).is_file():
            yield (*place, "config"), "not set: diffusers takes the configuration of a single file from the hub"


def _entry_faults(entry: ModelEntry) -> Iterator[Fault]:
    source = Path(entry.path_or_hub_id)
    width: int | None = None
    if _is_hub_id(entry.path_or_hub_id):
        pass
    elif not is_there(source) or not (source.is_dir() or source.is_file()):
        yield ("source",), _absent(PROJECT / source)
    elif source.is_dir():
        yield from _each(("source",), folder_faults(source, entry.family))
        width = _folder_width(source)
    else:
        yield from _each(("source",), _checkpoint_faults(source, entry.family))
        width = _file_width(source)
    yield from _each(("config",), _config_faults(entry))
    if entry.checker is not None:
        yield from _each(("safety",), checker_faults(entry.checker))
    elif not entry.goes_unchecked:
        yield ("safety",), UNSAID
    yield from _addon_faults(entry, width)


def _each(place: Place, texts: Iterator[str]) -> Iterator[Fault]:
    try:
        for text in texts:
            yield place, text
    except PermissionError as error:
        yield place, f"{Path(error.filename).parent} {CLOSED}"


def _is_hub_id(source: str) -> bool:
    """Whether diffusers would ask the hub for it: two names, of which the first is no folder here."""
    parts = source.split("/")
    known = is_there(PROJECT / parts[0]) or source.startswith((".", "/", "~"))
    return (
        len(parts) in (1, 2)
        and all(parts)
        and not known
        and Path(source).suffix != ".safetensors"
        and not is_there(source)
    )


def _absent(path: Path) -> str:
    text = NOT_THERE.format(path=path)
    parent = next((each for each in path.parents if is_there(each)), None)
    if parent is not None and not parent.is_dir():
        return f"{text}: {parent} is a file"
    if parent is not None and not os.access(parent, os.X_OK):
        return f"{parent} {CLOSED}"
    if parent == path.parent:
        return f"{text}: put it there, or correct the path{_neighbours(path)}"
    return f"{text}: put it there, or correct the path ({parent} is the last folder of it that exists)"


def _neighbours(path: Path) -> str:
    from difflib import get_close_matches

    try:
        near = get_close_matches(path.name, [each.name for each in path.parent.iterdir()], n=1)
    except OSError:
        return ""
    return f" (beside it is {near[0]})" if near else ""


def _checkpoint_faults(file: Path, family: str) -> Iterator[str]:
    try:
        header = read_header(file)
    except Unusable as unusable:
        yield f"{file} {unusable}"
        return
    if header.kind != "a checkpoint":
        yield f"{file} is {header.kind} and not a checkpoint{_belongs(header.kind)}"
        return
    found = header.family or FAMILY_OF_WIDTH.get(header.text_width or 0)
    if found is not None and found != family:
        yield f"{file} is of family {found}, and the entry says {family}: set family: {found}"


def _belongs(kind: str) -> str:
    homes = {"a LoRA": "loras", "a VAE": "vaes", "an embedding": "embeddings"}
    return f": name it under `{homes[kind]}` of its model" if kind in homes else ""


def folder_faults(folder: Path, family: str) -> Iterator[str]:
    """Why a diffusers folder cannot be loaded."""
    if not (folder / INDEX).is_file():
        single = next(iter(sorted(folder.glob("*.safetensors"))), None)
        hint = (
            "name the folder that holds it"
            if single is None
            else f"name the file itself, {single}, if it is a checkpoint"
        )
        yield f"{folder} is no diffusers folder: it has no {INDEX}: {hint}"
        return
    try:
        index = read_json(folder / INDEX)
    except Unusable as unusable:
        yield f"{folder / INDEX} {unusable}"
        return
    kind = str(index.get("_class_name", ""))
    if not kind.startswith("StableDiffusion"):
        yield f"{folder} is a {kind or 'folder of an unknown kind'}: only Stable Diffusion 1.x, 2.x and XL are served"
        return
    for part, stem in NETWORKS.items():
        if part in index and index[part] not in (None, [None, None]):
            yield from network_faults(folder / part, stem)
    yield from _family_faults(folder, family)


def _family_faults(folder: Path, family: str) -> Iterator[str]:
    try:
        embeds = read_json(folder / "unet" / "config.json").get("addition_embed_type")
    except Unusable:
        return  # told above
    found = {None: "sd", "text_time": "sdxl"}.get(embeds)  # type: ignore[call-overload]
    if found is not None and found != family:
        yield f"{folder} is of family {found}, and the entry says {family}: set family: {found}"


def network_faults(folder: Path, stem: str) -> Iterator[str]:
    """Why the weights of one network cannot be loaded: its folder, and what its file is called."""
    if not folder.is_dir():
        yield f"{folder} is missing"
        return
    try:
        read_json(folder / "config.json")
    except Unusable as unusable:
        yield f"{folder / 'config.json'} {unusable}"
    files = _files_of(folder, stem)
    if not files:
        yield f"{folder} has no {stem}.safetensors{_instead(folder)}"
    for file in files:
        try:
            read_header(file)
        except Unusable as unusable:
            yield f"{file} {unusable}"


def _files_of(folder: Path, stem: str) -> list[Path]:
    """One file, or those that an index names."""
    index = folder / f"{stem}.safetensors.index.json"
    if not index.is_file():
        return [file] if (file := folder / f"{stem}.safetensors").exists() else []
    try:
        named = read_json(index).get("weight_map")
    except Unusable:
        return [index]
    return sorted({folder / str(name) for name in named.values()}) if isinstance(named, dict) else [index]


def _instead(folder: Path) -> str:
    if variants := sorted(file.name for file in folder.glob("*.safetensors")):
        return f", only {', '.join(variants)}: a variant; rename it"
    if pickles := sorted(file.name for file in folder.glob("*.bin")):
        return f", only {', '.join(pickles)}, and pickles are never read: convert it"
    return ""


def checker_faults(folder: Path) -> Iterator[str]:
    """Why a safety checker cannot be loaded from a folder."""
    if not folder.is_dir():
        yield _absent(folder) if not is_there(folder) else f"{folder} is a file: name the folder of the checker"
        return
    yield from network_faults(folder / "safety_checker", "model")
    for file in CHECKER_FILES:
        try:
            read_json(folder / file)
        except Unusable as unusable:
            yield f"{folder / file} {unusable}"


def _config_faults(entry: ModelEntry) -> Iterator[str]:
    if entry.config is None or _is_hub_id(entry.config_or_hub_id or ""):
        return
    folder = Path(entry.config_or_hub_id or "")
    if not is_there(folder):
        yield _absent(folder)
    elif not (folder / INDEX).is_file():
        yield f"{folder} is no diffusers folder: it has no {INDEX}: name the folder that holds it"


def _addon_faults(entry: ModelEntry, width: int | None) -> Iterator[Fault]:
    for kind, check in (("vaes", _vae_faults), ("loras", _lora_check(width)), ("embeddings", _embedding_faults)):
        for number, weights in enumerate(getattr(entry, kind)):
            place = (kind, number, "source")
            if not is_there(weights.path):
                yield place, _absent(weights.path)
            else:
                yield from _each(place, check(weights.path))


def _vae_faults(path: Path) -> Iterator[str]:
    if path.is_dir():
        yield from network_faults(path, NETWORKS["vae"])
    else:
        yield from _kind_faults(path, "a VAE")


def _embedding_faults(path: Path) -> Iterator[str]:
    yield from _kind_faults(path, "an embedding")


def _lora_check(width: int | None) -> Check:
    def check(path: Path) -> Iterator[str]:
        faults = list(_kind_faults(path, "a LoRA"))
        yield from faults
        own = None if faults else read_header(path).text_width
        if own is not None and width is not None and own != width:
            yield f"{path} is for another model: its texts are {own} wide, the model's {width}{_family_hint(own)}"

    return check


def _family_hint(width: int) -> str:
    return f" (it was made for {FAMILY_OF_WIDTH[width]})" if width in FAMILY_OF_WIDTH else ""


def _kind_faults(path: Path, kind: str) -> Iterator[str]:
    if path.is_dir():
        yield f"{path} is a folder: name the safetensors file in it"
        return
    try:
        found = read_header(path).kind
    except Unusable as unusable:
        yield f"{path} {unusable}"
        return
    if found != kind:
        yield f"{path} is {found} and not {kind}{_belongs(found)}"


def _folder_width(folder: Path) -> int | None:
    try:
        width = read_json(folder / "unet" / "config.json").get("cross_attention_dim")
    except Unusable:
        return None
    return width if isinstance(width, int) else None


def _file_width(file: Path) -> int | None:
    try:
        return read_header(file).text_width
    except Unusable:
        return None
