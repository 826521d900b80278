"""What every training stage shares: where it keeps its state, and how it stops and goes on."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import ModelMixin
from transformers import PreTrainedModel

POCKET = Path(__file__).parent.parent
CHECKPOINT = POCKET / "checkpoint"
STATE = Path("build/pocket")
SAVE_SECONDS = 120


class Stateful(Protocol):
    """What can be saved and loaded: a module, an optimizer."""

    def state_dict(self) -> Any: ...  # noqa: ANN401 (torch types it so)

    def load_state_dict(self, state_dict: Any, /) -> Any: ...  # noqa: ANN401


class Run:
    """A resumable loop: modules and optimizers saved every two minutes, progress told as JSON lines."""

    def __init__(self, name: str, steps: int, **parts: Stateful) -> None:
        self.name, self.steps, self.parts = name, steps, parts
        self.step = 0
        self._file = STATE / f"{name}.pt"
        self._seconds = 0.0
        STATE.mkdir(parents=True, exist_ok=True)
        if self._file.exists():
            saved = torch.load(self._file, weights_only=True)
            self.step, self._seconds = saved.pop("step"), saved.pop("seconds")
            for key, part in parts.items():
                part.load_state_dict(saved[key])

    def __iter__(self) -> Iterator[int]:
        started = saved = time.monotonic() - self._seconds
        while self.step < self.steps:
            yield self.step
            self.step += 1
            self._seconds = time.monotonic() - started
            if time.monotonic() - saved > SAVE_SECONDS or self.step == self.steps:
                self.save()
                saved = time.monotonic()

    def save(self) -> None:
        """Write the state beside its old version, then put it in its place."""
        state = {key: part.state_dict() for key, part in self.parts.items()}
        torch.save({**state, "step": self.step, "seconds": self._seconds}, self._file.with_suffix(".new"))
        self._file.with_suffix(".new").replace(self._file)

    def tell(self, every: int = 25, **figures: float) -> None:
        """Print the figures of every `every`-th step."""
        if self.step % every == 0:
            line = {"stage": self.name, "step": self.step, "seconds": round(self._seconds)}
            print(json.dumps({**line, **{k: round(v, 5) for k, v in figures.items()}}), flush=True)


def cosine(step: int, steps: int, peak: float, warmup: int = 50) -> float:
    """Learning rate with linear warm-up and cosine decay to a twentieth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return float(peak * (0.05 + 0.95 * 0.5 * (1 + torch.cos(torch.tensor(share * torch.pi)).item())))


def set_rate(optimizer: torch.optim.Optimizer, *rates: float) -> None:
    """Set the learning rate of every parameter group: one for all, or one each."""
    for place, group in enumerate(optimizer.param_groups):
        group["lr"] = rates[min(place, len(rates) - 1)]


def save_half(model: ModelMixin | PreTrainedModel, folder: Path) -> None:
    """Save a diffusers or transformers model as fp16 safetensors that load as fp32.

    diffusers loads fp32 unless told otherwise, transformers what the configuration says: so it says fp32,
    else one pipeline would hold both.
    """
    model.half().save_pretrained(folder, safe_serialization=True)
    model.float()
    file = folder / "config.json"
    settings = json.loads(file.read_text())
    settings.pop("_name_or_path", None)  # where it lay while it was trained is nobody's business
    if "dtype" in settings:
        settings["dtype"] = "float32"
    file.write_text(json.dumps(settings, indent=2) + "\n")
