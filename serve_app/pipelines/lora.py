"""LoRA per row: rows with different LoRAs share one call of a network.

Every LoRA in the call adds `(x @ down) * strength-of-the-row @ up` at its modules, all of them in two
products a module. Nothing is merged into weights and nothing is injected, so taking one off costs nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from serve_app.pipelines.cache import ByteLru
from serve_app.pipelines.lora_files import LoraModules, LoraPair


@dataclass(frozen=True, slots=True, eq=False)
class ActiveLora:
    """One network's part of a LoRA file, and its strength for a row."""

    modules: LoraModules
    strength: float


LorasByRow = Sequence[Sequence[ActiveLora]]
"""For each row of a call, the LoRAs that apply to it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Stack:
    """All LoRAs of a call at one module, side by side."""

    pair: LoraPair
    owners: Tensor
    """(ranks,): which of the call's LoRAs each rank belongs to."""

    @property
    def nbytes(self) -> int:
        return self.pair.down.nbytes + self.pair.up.nbytes + self.owners.nbytes


class RowLoras:
    """Hooks on one network's modules. `applied` is called from one thread; the hooks act only inside it.

    A set of LoRAs that comes again is not concatenated again; such sets hold at most `budget` bytes.
    """

    def __init__(self, network: nn.Module, budget: int) -> None:
        self._modules = dict(network.named_modules())
        self._hooked: set[str] = set()
        self._stacks: ByteLru[tuple[int, ...], dict[str, _Stack]] = ByteLru(budget)
        self._active: tuple[Mapping[str, _Stack], Tensor] | None = None  # written by `applied` only

    @contextmanager
    def applied(self, rows: LorasByRow) -> Iterator[None]:
        """Apply LoRAs in the network's next call: `rows[k]` to row k of the batch."""
        different = {id(lora.modules): lora.modules for row in rows for lora in row if lora.modules}
        if not different:
            yield
            return
        files = [different[key] for key in sorted(different)]
        try:
            self._active = self._stacked(files), self._strengths(rows, files)
            yield
        finally:
            self._active = None

    def _stacked(self, files: Sequence[LoraModules]) -> Mapping[str, _Stack]:
        key = tuple(id(file) for file in files)
        stacks = self._stacks.get(key)
        if stacks is None:
            names = dict.fromkeys(name for file in files for name in file)
            stacks = {name: _stack(name, files) for name in names}
            self._stacks.put(key, stacks, _held_bytes(stacks, files), holds=files)
        for name in stacks.keys() - self._hooked:
            self._hook(name)
        return stacks

    def _strengths(self, rows: LorasByRow, files: Sequence[LoraModules]) -> Tensor:
        """(rows, files)."""
        places = {id(file): place for place, file in enumerate(files)}
        table = torch.zeros(len(rows), len(files))
        for row, loras in enumerate(rows):
            for lora in loras:
                if lora.modules:
                    table[row, places[id(lora.modules)]] += lora.strength
        pair = next(iter(files[0].values()))
        return table.to(pair.up.device, pair.up.dtype)

    def _hook(self, name: str) -> None:
        module = self._modules[name]

        def add(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
            if self._active is None or (stack := self._active[0].get(name)) is None:
                return None
            return output + _change(module, stack, self._active[1], inputs[0])

        module.register_forward_hook(add)
        self._hooked.add(name)


def _held_bytes(stacks: Mapping[str, _Stack], files: Sequence[LoraModules]) -> int:
    """The files count too: whoever else lets go of them, the key's ids keep them alive."""
    pairs = [pair for file in files for pair in file.values()]
    return sum(stack.nbytes for stack in stacks.values()) + sum(pair.down.nbytes + pair.up.nbytes for pair in pairs)


def _stack(name: str, files: Sequence[LoraModules]) -> _Stack:
    present = [(place, file[name]) for place, file in enumerate(files) if name in file]
    down = torch.cat([pair.down for _, pair in present])
    up = torch.cat([pair.up for _, pair in present], dim=1)
    owners = [torch.full((len(pair.down),), place, device=down.device) for place, pair in present]
    return _Stack(LoraPair(down, up), torch.cat(owners))


def _change(module: nn.Module, stack: _Stack, strengths: Tensor, x: Tensor) -> Tensor:
    """What the LoRAs add at a module for input `x` whose first dimension is the rows of the call.

    Rows without them are masked with `where`: inf × 0 is NaN.
    """
    scale = strengths[:, stack.owners]
    if isinstance(module, nn.Conv2d):
        down, up = _kernel(stack.pair.down), _kernel(stack.pair.up)
        narrow = nn.functional.conv2d(x, down, None, module.stride, module.padding, module.dilation)
        return nn.functional.conv2d(_scaled(narrow, scale[:, :, None, None]), up)
    between = (1,) * (x.dim() - 2)
    narrow = nn.functional.linear(x, _flat(stack.pair.down))
    return nn.functional.linear(_scaled(narrow, scale.view(len(scale), *between, -1)), _flat(stack.pair.up))


def _scaled(narrow: Tensor, scale: Tensor) -> Tensor:
    return torch.where(scale == 0, 0, narrow * scale)


def _flat(weight: Tensor) -> Tensor:
    """A 1×1 convolution's weight as a matrix: some files have them where the model has a linear layer."""
    return weight.flatten(1)


def _kernel(weight: Tensor) -> Tensor:
    """A matrix as a 1×1 convolution's weight: the other way round."""
    return weight if weight.dim() == 4 else weight[:, :, None, None]
