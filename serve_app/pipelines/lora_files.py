"""LoRA files, in diffusers' and in kohya's naming, as pairs of matrices by module name.

Owns reading and naming only; which rows they apply to is `lora`'s business. Never pickle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from serve_app.errors import GenerationFailed
from serve_app.pipelines.refusal import refused

FIELD = "lora_model"
"""What clients name LoRAs in."""
DOWN, UP = ".lora_A", ".lora_B"
OLD_NAMES = (
    (".processor.", "."),
    (".to_out_lora.", ".to_out.0.lora."), (".to_q_lora.", ".to_q.lora."),
    (".to_k_lora.", ".to_k.lora."), (".to_v_lora.", ".to_v.lora."),
    (".lora_linear_layer.", ".lora."), (".lora.down", DOWN), (".lora.up", UP),
)  # fmt: skip
"""How diffusers has named LoRA layers over the years (its `utils/state_dict_utils.py`), and peft's names for them."""
OLD_TEXT_NAMES = ((".to_out.0.", ".out_proj."), (".to_q.", ".q_proj."), (".to_k.", ".k_proj."), (".to_v.", ".v_proj."))
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")


@dataclass(frozen=True, slots=True, eq=False)
class LoraPair:
    """One module's change: `up @ down`, alpha / rank already multiplied into `up`."""

    down: Tensor
    """(rank, inputs), or (rank, channels, height, width) of a convolution."""
    up: Tensor
    """(outputs, rank), or (outputs, rank, 1, 1)."""


LoraModules = Mapping[str, LoraPair]
"""By module name inside one network."""


@dataclass(frozen=True, slots=True, eq=False)
class LoraFile:
    """One file, read."""

    id: str
    unet: LoraModules
    text_encoders: tuple[LoraModules, ...]
    """One for each of the model's text encoders; empty mappings where the file has nothing for it."""

    @property
    def nbytes(self) -> int:
        """Bytes that its tensors hold."""
        pairs = [pair for modules in (self.unet, *self.text_encoders) for pair in modules.values()]
        return sum(pair.down.nbytes + pair.up.nbytes for pair in pairs)

    @property
    def has_text(self) -> bool:
        """Whether it changes a text encoder."""
        return any(self.text_encoders)


def read_lora(name: str, file: Path, parts: Any) -> LoraFile:  # noqa: ANN401 (a diffusers pipeline of any family)
    """Read a file for a model's parts, onto their device and dtype. Raises `InvalidFields` if it
    does not fit, `GenerationFailed` if it is not there.
    """
    try:
        state, alphas = parts.lora_state_dict(
            str(file.parent), weight_name=file.name, use_safetensors=True, local_files_only=True,
            unet_config=parts.unet.config,
        )  # fmt: skip
        place = {"device": parts.unet.device, "dtype": parts.unet.dtype}
        encoders = [each for each in TEXT_ENCODERS if getattr(parts, each, None) is not None]
        unet, *texts = (
            _housed(getattr(parts, each), _pairs(_part(state, each), _part(alphas or {}, each), place))
            for each in ("unet", *encoders)
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        if not file.is_file():
            raise GenerationFailed(f"LoRA {name!r} is not there: {file}") from error
        raise refused(FIELD, name, "its file cannot be read as a LoRA") from error
    _require_fit(name, parts.unet, unet)
    for encoder, modules in zip(encoders, texts, strict=True):
        _require_fit(name, getattr(parts, encoder), modules)
    if not unet and not any(texts):
        raise refused(FIELD, name, "it holds nothing for it")
    return LoraFile(name, unet, tuple(texts))


def _part(named: Mapping[str, Any], network: str) -> dict[str, Any]:
    """What is for one network, by peft's names: `module.lora_A` and `module.lora_B`; alphas too, under `lora_A`."""
    return {
        _peft_name(key.removeprefix(f"{network}."), text=network != "unet"): value
        for key, value in named.items()
        if key.startswith(f"{network}.")
    }


def _peft_name(key: str, text: bool) -> str:
    name = key.removesuffix(".alpha").removesuffix(".weight") + "."
    for old, new in OLD_NAMES + (OLD_TEXT_NAMES if text else ()):
        name = name.replace(old, new)
    # transformers 5 holds the layers in the model itself, before that they lay in `text_model`
    name = name.removesuffix(".").removeprefix("text_model.")
    return name if name.endswith((DOWN, UP)) else name + DOWN


def _pairs(state: Mapping[str, Tensor], alphas: Mapping[str, float], place: Mapping[str, Any]) -> dict[str, LoraPair]:
    pairs = {}
    for key in state:
        if not key.endswith(DOWN):
            continue
        module = key.removesuffix(DOWN)
        down, up = state[key], state[module + UP]
        rank = down.shape[0]
        pairs[module] = LoraPair(down.to(**place), (up.float() * (float(alphas.get(key, rank)) / rank)).to(**place))
    return pairs


def _housed(network: torch.nn.Module, modules: LoraModules) -> LoraModules:
    """By the network's own module names: an encoder with a projection still holds its layers in `text_model`."""
    inner = {name.removeprefix("text_model."): name for name, _ in network.named_modules()}
    return {inner.get(name, name): pair for name, pair in modules.items()}


def _require_fit(name: str, network: torch.nn.Module, modules: LoraModules) -> None:
    own = dict(network.named_modules())
    for module, pair in modules.items():
        weight = getattr(own.get(module), "weight", None)
        if weight is None:
            raise refused(FIELD, name, f"it is for another one, there is no {module}")
        if (weight.shape[0], weight.shape[1]) != (pair.up.shape[0], pair.down.shape[1]):
            raise refused(FIELD, name, f"it is for another one, {module} has another size")
        if not (pair.up.isfinite().all() and pair.down.isfinite().all()):
            raise refused(FIELD, name, f"its weights are not finite: {module}")
