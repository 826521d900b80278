"""What cross-attention makes of a text, its keys and values: the same at every step of a row, so made once.

Worth it for small pictures, where the 77 tokens of a text outnumber the latent pixels of most layers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from serve_app.pipelines.cache import ByteLru

LARGEST = 16 * 16
"""Latent pixels of the pictures it is done for."""
PROJECTIONS = (".attn2.to_k", ".attn2.to_v")
"""Ends of the modules' names in diffusers' UNets."""


class CrossAttentionKv:
    """Gives one UNet's cross-attention the keys and values of texts instead of making them again in each call.

    What a LoRA adds to them is still made in each call: it comes by hooks, after the module. Keys and values are kept
    for at most `budget` bytes, and a call is given at most as much again. `giving` is called from one thread.
    """

    def __init__(self, unet: nn.Module, budget: int) -> None:
        self._budget = budget
        self._kept: ByteLru[int, Tensor] = ByteLru(budget)
        self._gathered = torch.empty(0, 0, 0)  # rows of the last calls, one text each
        self._texts: list[Tensor | None] = []  # whose they are
        self._given: Tensor | None = None  # written by `giving` only
        self._makers: list[Callable[[Tensor], Tensor]] = []
        self._width = 0  # of all projections together
        for name, module in unet.named_modules():
            if name.endswith(PROJECTIONS):
                self._lead(module)

    @property
    def used_bytes(self) -> int:
        """Of the budget, without the call's."""
        return self._kept.used_bytes

    @contextmanager
    def giving(self, embeds: Sequence[Tensor]) -> Iterator[None]:
        """For the UNet's next call, whose rows read these texts, each (tokens, width); told apart by identity."""
        tokens = max(map(len, embeds))
        if len(embeds) * tokens * self._width * embeds[0].element_size() <= self._budget:
            self._given = self._gather(embeds, tokens)
        try:
            yield
        finally:
            self._given = None

    def _gather(self, embeds: Sequence[Tensor], tokens: int) -> Tensor:
        """(rows, tokens, width of all projections), zeros behind the shorter, which are masked.

        In memory that stays: a row whose text was in this place in the last call is there already.
        """
        if self._gathered.shape[1] != tokens or len(self._gathered) < len(embeds):
            self._gathered = embeds[0].new_empty(len(embeds), tokens, self._width)
            self._texts = [None] * len(embeds)
        for place, text in enumerate(embeds):
            if self._texts[place] is not text:
                self._gathered[place, : len(text)] = self._of(text)
                self._gathered[place, len(text) :] = 0
                self._texts[place] = text
        return self._gathered[: len(embeds)]

    def _of(self, text: Tensor) -> Tensor:
        """(tokens, width of all projections)."""
        found = self._kept.get(id(text))
        if found is None:
            found = torch.cat([make(text) for make in self._makers], dim=-1)
            self._kept.put(id(text), found, found.nbytes, holds=text)
        return found

    def _lead(self, module: nn.Linear) -> None:
        make, own = module.forward, slice(self._width, self._width + module.out_features)
        self._makers.append(make)
        self._width = own.stop

        def forward(text: Tensor) -> Tensor:
            return make(text) if self._given is None else self._given[..., own]

        module.forward = forward  # type: ignore[method-assign, assignment]
