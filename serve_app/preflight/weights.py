"""What a file of weights is, by its content: the header of a safetensors file, or what stands in its place.

Reads kilobytes, loads nothing, imports no torch.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

PICKLE = "holds a pickle, as .ckpt, .pt and .bin files do, and pickles are never read: convert it to safetensors"
STAND_INS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "is a Git LFS pointer and not the weights: fetch them with `git lfs pull`"),
    (b"PK\x03\x04", PICKLE),
    (b"\x80\x02", PICKLE),
    (b"\x80\x04", PICKLE),
    (b"<", "is a web page and not the weights: download it again, signed in where the site asks for it"),
    (b"{", "is JSON and not the weights: a download's error, or the wrong file"),
    (b"GGUF", "is a GGUF file: take the safetensors one"),
    (b"\x1f\x8b", "is packed with gzip: unpack it"),
)
"""What files begin with that lie where weights should, and what to do."""
CROSS_ATTENTION = re.compile(r"attn2[._](?:processor[._])?to_k(?:\.|_lora)")
LORA_MARKS = (
    "lora_unet_",
    "lora_te",
    ".lora_A",
    ".lora_B",
    ".lora.down",
    ".lora.up",
    ".lora_down",
    ".lora_up",
    "_lora.",
)
SDXL_MARKS = ("conditioner.embedders.", "model.diffusion_model.label_emb.")
SD_MARKS = ("cond_stage_model.",)
KINDS = (
    (("double_blocks.",), "a Flux model"),
    (("joint_blocks.",), "a Stable Diffusion 3 model"),
    (("control_model.",), "a ControlNet"),
    ((".hada_w", ".lokr_w"), "a LyCORIS file"),
    (LORA_MARKS, "a LoRA"),
    (("model.diffusion_model.",), "a checkpoint"),
    (("encoder.conv_in.", "decoder.conv_in."), "a VAE"),
    (("down_blocks.", "mid_block."), "a UNet alone"),
    (("text_model.",), "a text encoder"),
)
"""By what stands in the names of tensors, the first that fits."""
EMBEDDING_TENSORS = 4
FAMILY_OF_WIDTH = {768: "sd", 1024: "sd", 2048: "sdxl"}


@dataclass(frozen=True, slots=True)
class Header:
    """Names and shapes of a file's tensors."""

    shapes: Mapping[str, tuple[int, ...]]

    def has(self, *marks: str) -> bool:
        """Whether a name holds one of these."""
        return any(mark in name for name in self.shapes for mark in marks)

    @property
    def kind(self) -> str:
        """checkpoint, LoRA, VAE, embedding, or what else it is, in words."""
        named = next((what for marks, what in KINDS if self.has(*marks)), None)
        if named is not None:
            return named
        flat = all(len(shape) <= 2 for shape in self.shapes.values())
        return "an embedding" if flat and len(self.shapes) <= EMBEDDING_TENSORS else "of no kind that is known here"

    @property
    def family(self) -> str | None:
        """sd or sdxl, where its names tell."""
        if self.kind == "a LoRA" and self.has("lora_te1_", "lora_te2_", "text_encoder_2."):
            return "sdxl"
        found = {name for name, marks in (("sdxl", SDXL_MARKS), ("sd", SD_MARKS)) if self.has(*marks)}
        return found.pop() if len(found) == 1 else None

    @property
    def text_width(self) -> int | None:
        """How wide the texts are that its cross-attention takes: 768 in SD 1.x, 1024 in 2.x, 2048 in XL."""
        widths = {
            shape[1]
            for name, shape in self.shapes.items()
            if CROSS_ATTENTION.search(name) and len(shape) > 1 and not name.endswith(("up.weight", "lora_B.weight"))
        }
        return widths.pop() if len(widths) == 1 else None


class Unusable(Exception):
    """The file is no safetensors file; the text says what it is and what to do."""


def read_header(file: Path) -> Header:
    """The names and shapes in a file. Raises Unusable."""
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            start = opened.read(64)
        if not size:
            raise Unusable("is empty: download it again")
        for beginning, what in STAND_INS:
            if start.startswith(beginning):
                raise Unusable(what)
        with safe_open(file, "np") as tensors:
            return Header({name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()})  # noqa: SIM118
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise Unusable(_why(start, size, error)) from error


def _why(start: bytes, size: int, error: SafetensorError) -> str:
    header = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and size < 8 + header:
        return f"is cut off inside its header at {size} bytes: download it again"
    if start[8:9] == b"{":
        return f"is damaged or cut off at {size} bytes ({error}): download it again"
    return "is no safetensors file: weights are read in that format only"


def read_json(file: Path) -> Mapping[str, object]:
    """A mapping in a JSON file. Raises Unusable."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise Unusable(f"is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise Unusable("is no JSON object")
    return values
