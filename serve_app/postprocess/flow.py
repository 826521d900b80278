"""The last stage of a job: check, redact, encode, store, in this order.

Fails closed: a requested check that cannot run fails the job, and nothing of it
is stored. A job is done when all its pictures are stored.
"""

import asyncio
from dataclasses import dataclass

from serve_app.messages import FinishOrder, Pixels, StoredImage, picture_names
from serve_app.postprocess.encode import encode_png
from serve_app.postprocess.redact import redact
from serve_app.postprocess.safety import SafetyChecker, checked_flags
from serve_app.postprocess.spool import Spool


@dataclass(frozen=True, slots=True)
class _Picture:
    """One picture, redacted if need be, as PNG bytes."""

    name: str
    flagged: bool
    png: bytes


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
        async with self._spool.room(raster_pixels.nbytes, order.deadline_at):
            pictures = await asyncio.to_thread(self._pictures, raster_pixels, order)
            await self._spool.put_all({picture.name: picture.png for picture in pictures}, order.deadline_at)
        return tuple(StoredImage(picture.name, picture.flagged) for picture in pictures)

    def _pictures(self, pixels: Pixels, order: FinishOrder) -> list[_Picture]:
        """The work for the CPU, off the event loop. All pictures are checked before one is encoded."""
        flags = checked_flags(self._checker, pixels) if order.safety_check else (False,) * len(pixels)
        names = picture_names(order.file_prefix, len(pixels), order.temporary)
        return [
            _Picture(
                name=name,
                flagged=flagged,
                png=encode_png(redact(picture, order.safety_type) if flagged else picture, order.parameters),
            )
            for name, picture, flagged in zip(names, pixels, flags, strict=True)
        ]
