"""The catalogue's VAEs, LoRAs and textual inversions: read when a job first asks for them, and kept within a budget.

Reading is done by the threads that prepare jobs; what changes a model (an embedding's tokens) by the step thread.
"""

import re
import secrets
import threading
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from serve_app.config import ModelEntry, Weights
from serve_app.errors import GenerationFailed
from serve_app.pipelines.autoencoder import lay_out
from serve_app.pipelines.cache import ByteLru
from serve_app.pipelines.lora_files import LoraFile, read_lora
from serve_app.pipelines.refusal import refused
from serve_app.pipelines.text import Fragments
from serve_app.pipelines.weights import load_vae

TOWER_KEYS = {"clip_l": ("tokenizer", "text_encoder"), "clip_g": ("tokenizer_2", "text_encoder_2")}
"""Which text encoder an SDXL embedding file's parts are for."""


class Addons:
    """The VAEs, LoRAs and textual inversions that a model's jobs can ask for."""

    def __init__(self, entry: ModelEntry, parts: Any) -> None:  # noqa: ANN401 (a diffusers pipeline of any family)
        self._parts = parts
        lay_out(parts.vae)
        self._sources = {kind: _by_id(getattr(entry, kind)) for kind in ("vaes", "loras", "embeddings")}
        self._lock = threading.Lock()
        """Held while a file is read: two jobs that ask for one file read it once."""
        self._vaes: dict[str, AutoencoderKL] = {}
        self._loras: ByteLru[str, LoraFile] = ByteLru(entry.lora_bytes)
        self._embeddings: dict[str, dict[str, Tensor]] = {}
        self._words = {name: f"<{name}-{secrets.token_hex(4)}>" for name in self._sources["embeddings"]}
        """Tokens that nobody spells by chance: an embedding acts in the jobs that name it, and in no others."""
        self._worn: set[str] = set()  # embeddings whose tokens the text encoders know; step thread only

    def vae(self, name: str | None) -> AutoencoderKL:
        """The VAE of this id, or the model's own. Raises what `load_vae` raises."""
        if name is None:
            return self._parts.vae
        with self._lock:
            if name not in self._vaes:
                self._vaes[name] = lay_out(load_vae(name, self._sources["vaes"][name], self._parts.vae))
            return self._vaes[name]

    def lora(self, name: str) -> LoraFile:
        """The LoRA of this id, on the model's device. Raises what `read_lora` raises."""
        with self._lock:
            file = self._loras.get(name)
            if file is None:
                file = read_lora(name, self._sources["loras"][name], self._parts)
                self._loras.put(name, file, file.nbytes)
            return file

    @property
    def lora_bytes(self) -> int:
        """Bytes of the LoRA files that are kept."""
        return self._loras.used_bytes

    def read_embedding(self, name: str) -> None:
        """Read a textual inversion's file. Raises `InvalidFields` if it is none, `GenerationFailed` if it is away."""
        with self._lock:
            if name in self._embeddings:
                return
            try:
                self._embeddings[name] = load_file(self._sources["embeddings"][name])
            except SafetensorError as error:
                raise refused("embeddings_model", name, "its file is damaged") from error
            except OSError as error:
                raise GenerationFailed(f"embedding {name!r} cannot be read: {error}") from error

    def wear_embedding(self, name: str) -> None:
        """Make the text encoders know a textual inversion that was read; once. Raises `InvalidFields` if none fits."""
        if name in self._worn:
            return
        state = self._embeddings[name]
        try:
            for key, (tokenizer, encoder) in TOWER_KEYS.items():
                if key in state:
                    self._add(name, {self._words[name]: state[key]}, tokenizer, encoder)
            if not state.keys() & TOWER_KEYS.keys():
                self._add(name, state, *TOWER_KEYS["clip_l"])
        except (ValueError, RuntimeError) as error:
            raise refused("embeddings_model", name, "it is for other text encoders") from error
        self._worn.add(name)

    def spell(self, fragments: Fragments, names: tuple[str, ...]) -> Fragments:
        """The prompt with the words that trigger these embeddings replaced by their private tokens."""
        for name in names:
            triggers = {name, *(key for key in self._embeddings[name] if key.startswith("<"))}
            pattern = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in sorted(triggers)))
            fragments = tuple((pattern.sub(self._words[name], text), weight) for text, weight in fragments)
        return fragments

    def _add(self, name: str, state: dict[str, Tensor], tokenizer: str, encoder: str) -> None:
        self._parts.load_textual_inversion(
            state,
            token=self._words[name],
            tokenizer=getattr(self._parts, tokenizer),
            text_encoder=getattr(self._parts, encoder),
        )


def _by_id(weights: tuple[Weights, ...]) -> dict[str, Path]:
    return {entry.id: entry.path for entry in weights}
