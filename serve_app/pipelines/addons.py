"""The catalogue's VAEs, LoRAs and textual inversions, loaded into a model when a job first asks for them.

A replica runs one job at a time, so what `apply` switches on holds until the next job's `apply`.
"""

from pathlib import Path

from diffusers import AutoencoderKL, StableDiffusionImg2ImgPipeline

from serve_app.config import ModelEntry, Weights
from serve_app.messages import Img2ImgJob, Lora
from serve_app.pipelines.weights import load_vae


class Addons:
    """What a model can wear. `parts` is changed in place."""

    def __init__(self, entry: ModelEntry, parts: StableDiffusionImg2ImgPipeline) -> None:
        self._parts = parts
        self._sources = {kind: _by_id(getattr(entry, kind)) for kind in ("vaes", "loras", "embeddings")}
        self._vaes: dict[str, AutoencoderKL] = {}
        self._loras: set[str] = set()
        self._embeddings: set[str] = set()

    def apply(self, job: Img2ImgJob) -> None:
        """Load what the job asks for and is not there yet; switch its LoRAs on and all others off."""
        for name in job.embeddings:
            self._load_embedding(name)
        for lora in job.loras:
            self._load_lora(lora.id)
        self._switch(job.loras)

    def vae(self, name: str | None) -> AutoencoderKL:
        """The VAE of this id, or the model's own."""
        if name is None:
            return self._parts.vae
        if name not in self._vaes:
            self._vaes[name] = load_vae(self._sources["vaes"][name], self._parts.vae)
        return self._vaes[name]

    def _load_lora(self, name: str) -> None:
        if name in self._loras:
            return
        file = self._sources["loras"][name]
        self._parts.load_lora_weights(
            str(file.parent), weight_name=file.name, adapter_name=name, use_safetensors=True, local_files_only=True
        )
        self._loras.add(name)

    def _load_embedding(self, name: str) -> None:
        if name in self._embeddings:
            return
        file = self._sources["embeddings"][name]
        self._parts.load_textual_inversion(str(file.parent), weight_name=file.name, use_safetensors=True)
        self._embeddings.add(name)

    def _switch(self, loras: tuple[Lora, ...]) -> None:
        if loras:
            self._parts.enable_lora()
            self._parts.set_adapters([lora.id for lora in loras], [lora.strength for lora in loras])
        elif self._loras:
            self._parts.disable_lora()


def _by_id(weights: tuple[Weights, ...]) -> dict[str, Path]:
    return {entry.id: entry.path for entry in weights}
