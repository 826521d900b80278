"""Fresh noise for rows, drawn beside the UNet call that comes before it.

A row's noise comes from a generator on the CPU (so that a seed means the same on every device) and takes a tenth of a
millisecond, as long as the rest of a step. Another thread draws it while the UNet runs.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from torch import Tensor

from serve_app.pipelines.rows import NOTHING, LatentRow
from serve_app.samplers.noise import fresh_noise


class NoiseAhead:
    """One thread that draws. A row's generator is used by nobody else until its noise is taken."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="noise")

    def draw(self, rows: Sequence[LatentRow]) -> None:
        """Begin with the noise of those rows that want some and have none."""
        for row in rows:
            if row.draws and row.noise is None:
                row.noise = self._thread.submit(fresh_noise, row.latents, row.generator)


def taken(row: LatentRow) -> Tensor:
    """The noise of a row's next step, drawn now where it was not begun; NOTHING where the step takes none.

    Raises what drawing it raised.
    """
    if row.noise is not None:
        noise, row.noise = row.noise.result(), None
        return noise
    return fresh_noise(row.latents, row.generator) if row.draws else NOTHING
