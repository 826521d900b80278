"""Says which pictures are unsafe, and fails closed when it cannot say.

Owns the seam, the diffusers model behind it, and what counts as an answer.
Changing a flagged picture is redact.py's work. Importing this file imports no
torch: the model's libraries come with `DiffusersSafetyChecker.load`.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image
from safetensors import SafetensorError

from serve_app.errors import ConfigError, SafetyCheckFailed
from serve_app.messages import Pixels

if TYPE_CHECKING:
    import torch
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

CHECKER_LOGGER = "diffusers.pipelines.stable_diffusion.safety_checker"
CHECK_FAILURES = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError,
    OSError, RuntimeError, SafetensorError, TypeError, ValueError,
)  # fmt: skip
"""What torch, transformers, safetensors and Pillow raise when a check or a load goes wrong."""


class SafetyChecker(Protocol):
    """Judges pictures and changes none."""

    def flags(self, pixels: Pixels) -> tuple[bool, ...]:
        """One verdict for each of the uint8 RGB pictures (n, height, width, 3); True is unsafe.

        Raises SafetyCheckFailed where no sound verdict can be given.
        """


def checked_flags(checker: SafetyChecker, pixels: Pixels) -> tuple[bool, ...]:
    """Ask a checker about pictures (n, height, width, 3) and believe only a complete answer.

    The checker gets a copy. Raises SafetyCheckFailed if it raises, answers too few or too many,
    or answers anything but a bool.
    """
    with _failing_closed("the safety checker broke"):
        answers = tuple(checker.flags(pixels.copy()))
    if len(answers) != len(pixels) or not all(isinstance(answer, bool) for answer in answers):
        raise SafetyCheckFailed(f"{len(pixels)} pictures were judged {answers!r}")
    return answers


class DiffusersSafetyChecker:
    """Stable Diffusion's CLIP checker (diffusers' safety_checker.py) on the CPU, in float32.

    `folder` holds safety_checker/ (safetensors) and feature_extractor/. `threads` sets torch's
    thread count for the whole process; None leaves it. Calls from several threads are safe.
    """

    def __init__(self, folder: Path | str, threads: int | None = None) -> None:
        self._folder = Path(folder)
        self._threads = threads
        self._lock = Lock()
        self._loaded: tuple[StableDiffusionSafetyChecker, CLIPImageProcessorPil] | None = None
        """Written once, by the first `load`, under the lock."""

    def load(self) -> None:
        """Load the model, once; seconds long. Raises SafetyCheckFailed if it is absent or damaged."""
        self._parts()

    def flags(self, pixels: Pixels) -> tuple[bool, ...]:
        """One verdict for each of the uint8 RGB pictures (n, height, width, 3); True is unsafe.

        Loads the model if `load` has not. Raises SafetyCheckFailed on any failure of the model.
        """
        model, processor = self._parts()
        with _failing_closed("the safety checker broke"):
            pictures = [Image.fromarray(picture) for picture in pixels]
            clip_input = processor(pictures, return_tensors="pt").pixel_values
            # The model blackens what it is given as images; it gets stand-ins, and so changes nothing of ours.
            _, verdicts = model(clip_input=clip_input, images=list(np.zeros((len(pictures), 1, 1, 3))))
            flags = tuple(bool(verdict) for verdict in verdicts)
        if len(flags) != len(pixels):
            raise SafetyCheckFailed(f"the safety checker gave {len(flags)} verdicts on {len(pixels)} pictures")
        return flags

    def _parts(self) -> "tuple[StableDiffusionSafetyChecker, CLIPImageProcessorPil]":
        with self._lock:
            if self._loaded is None:
                with _failing_closed(f"no safety checker in {self._folder}"):
                    self._loaded = _load_model(self._folder, self._threads), _load_processor(self._folder)
            return self._loaded


class NoChecker:
    """What a model has that goes unchecked: pictures that are to be checked stay here."""

    def flags(self, pixels: Pixels) -> tuple[bool, ...]:
        """Raises SafetyCheckFailed."""
        raise SafetyCheckFailed(f"the model has no safety checker for {len(pixels)} pictures")


def load_checkers(folders: Mapping[str, Path], threads: int | None = None) -> dict[str, SafetyChecker]:
    """A loaded checker for each model, one for all that name the same folder. Raises ConfigError, which names one."""
    loaded: dict[Path, SafetyChecker] = {}
    for model, folder in folders.items():
        if folder not in loaded:
            checker = loaded[folder] = DiffusersSafetyChecker(folder, threads)
            try:
                checker.load()
            except SafetyCheckFailed as error:
                raise ConfigError(f"safety of model {model!r}: {error.detail}") from error
    return {model: loaded[folder] for model, folder in folders.items()}


@contextmanager
def _failing_closed(what: str) -> Iterator[None]:
    try:
        yield
    except CHECK_FAILURES as failure:
        raise SafetyCheckFailed(f"{what}: {type(failure).__name__}: {failure}") from failure


def _load_model(folder: Path, threads: int | None) -> "StableDiffusionSafetyChecker":
    import torch
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    if threads is not None:
        torch.set_num_threads(threads)
    logging.getLogger(CHECKER_LOGGER).addFilter(_is_not_the_blackening_note)
    model, report = StableDiffusionSafetyChecker.from_pretrained(
        folder / "safety_checker",
        local_files_only=True,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
    )
    # transformers fills absent weights with random ones and only logs it; such a checker flags nothing.
    if report["missing_keys"] or report["mismatched_keys"]:
        raise ValueError(f"weights are missing: {sorted(report['missing_keys'])} {report['mismatched_keys']}")
    if not all(bool(weight.isfinite().all()) for weight in model.parameters()):
        raise ValueError("weights are not finite")
    model.visual_projection.register_forward_hook(_refuse_unusable_embeds)
    return model.eval()


def _load_processor(folder: Path) -> "CLIPImageProcessorPil":
    # The Pillow one by name: CLIPImageProcessor is the torchvision one, and warns when it falls back to this.
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return CLIPImageProcessorPil.from_pretrained(folder / "feature_extractor", local_files_only=True)


def _refuse_unusable_embeds(_module: object, _inputs: object, embeds: "torch.Tensor") -> None:
    """A forward hook on image embeds (n, projection_dim).

    The model compares cosines with thresholds, and NaN is over none: unusable embeds would pass as safe.
    """
    norms = embeds.norm(dim=-1)
    if not bool((norms.isfinite() & (norms > 0)).all()):
        raise SafetyCheckFailed("the safety checker's scores are not finite")


def _is_not_the_blackening_note(record: logging.LogRecord) -> bool:
    """A log filter: drops the model's word that it returns a black image, which is not what we do."""
    return not record.getMessage().startswith("Potential NSFW content")
