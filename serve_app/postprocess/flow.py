"""The last stage of a job: check and encode, redact what was flagged, store.

Fails closed: a requested check that cannot run fails the job, and nothing of it
is stored. A job is done when all its pictures are stored.
"""

import asyncio
from collections.abc import Mapping, Sequence

from serve_app.messages import FinishOrder, Pixels, PngTexts, StoredImage, picture_names
from serve_app.postprocess.encode import encode_png
from serve_app.postprocess.redact import redact
from serve_app.postprocess.safety import SafetyChecker, checked_flags
from serve_app.postprocess.spool import Spool


class Postprocessor:
    """Finishes generations; any number at once. Owns the checker and the spool it is given."""

    def __init__(self, checker: SafetyChecker, spool: Spool) -> None:
        self._checker = checker
        self._spool = spool

    async def finish(self, raster_pixels: Pixels, order: FinishOrder) -> tuple[StoredImage, ...]:
        """Check, redact, encode and store uint8 RGB pictures (n, height, width, 3), in their order.

        Room in the spool is taken first, for as many bytes as the pixels have: PNGs are smaller. Raises
        SafetyCheckFailed at once, with nothing stored, or StorageFailed at `order.deadline_at`; then,
        or where it is cancelled, some pictures may be stored.
        """
        names = picture_names(order.file_prefix, len(raster_pixels), order.temporary)
        async with self._spool.room(raster_pixels.nbytes, order.deadline_at):
            flags, plain = await asyncio.gather(
                self._flags(raster_pixels, order.safety_check),
                asyncio.to_thread(_encoded, raster_pixels, order.texts),
            )
            pngs = dict(zip(names, plain, strict=True))
            if any(flags):
                unsafe = {name: place for place, name in enumerate(names) if flags[place]}
                pngs |= await asyncio.to_thread(_redacted, raster_pixels, unsafe, order)
            await self._spool.put_all(pngs, order.deadline_at)
        return tuple(StoredImage(name, flagged) for name, flagged in zip(names, flags, strict=True))

    async def _flags(self, pixels: Pixels, asked: bool) -> tuple[bool, ...]:
        if not asked:
            return (False,) * len(pixels)
        return await asyncio.to_thread(checked_flags, self._checker, pixels)


def _encoded(pixels: Pixels, texts: Sequence[PngTexts]) -> list[bytes]:
    """All pictures as they are, while the checker looks at them: most are safe, and that halves the wait."""
    return [encode_png(picture, text.parameters, text.recipe) for picture, text in zip(pixels, texts, strict=True)]


def _redacted(pixels: Pixels, unsafe: Mapping[str, int], order: FinishOrder) -> dict[str, bytes]:
    """Flagged pictures, by name with their places, as their clients get them."""
    made: dict[str, bytes] = {}
    for name, place in unsafe.items():
        text = order.texts[place]
        hidden = redact(pixels[place], order.safety_type)
        made[name] = encode_png(hidden, text.replaced_parameters, text.replaced_recipe)
    return made
