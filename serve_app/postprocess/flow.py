"""The last stage of a job: check, redact, encode, store, in this order.

Fails closed: a requested check that cannot run fails the job, and nothing of it
is stored. A job's pictures are stored all or not at all.
"""

import asyncio
from dataclasses import dataclass

from serve_app.errors import StorageFailed
from serve_app.messages import FinishOrder, Pixels, StoredImage
from serve_app.postprocess.encode import encode_png, to_base64
from serve_app.postprocess.redact import redact
from serve_app.postprocess.safety import SafetyChecker, checked_flags
from serve_app.postprocess.storage import PNG_TYPE, ObjectStore


@dataclass(frozen=True, slots=True)
class _Picture:
    """One picture, redacted if need be, as PNG bytes."""

    name: str
    flagged: bool
    png: bytes


class Postprocessor:
    """Finishes generations; any number at once. Owns the checker and the store it is given."""

    def __init__(self, checker: SafetyChecker, store: ObjectStore) -> None:
        self._checker = checker
        self._store = store

    async def finish(self, raster_pixels: Pixels, order: FinishOrder) -> tuple[StoredImage, ...]:
        """Check, redact, encode and store uint8 RGB pictures (n, height, width, 3), in their order.

        Where `order.base64` is set nothing is stored and each answer holds its text. Raises
        SafetyCheckFailed or StorageFailed; then no picture of the job is left in the store, as
        far as the store allows.
        """
        pictures = await asyncio.to_thread(self._pictures, raster_pixels, order)
        if order.base64:
            return tuple(StoredImage(p.name, p.flagged, to_base64(p.png)) for p in pictures)
        await self._store_all(pictures)
        return tuple(StoredImage(p.name, p.flagged) for p in pictures)

    def _pictures(self, pixels: Pixels, order: FinishOrder) -> list[_Picture]:
        """The work for the CPU, off the event loop. All pictures are checked before one is encoded."""
        flags = checked_flags(self._checker, pixels) if order.safety_check else (False,) * len(pixels)
        return [
            _Picture(
                name=f"{order.file_prefix}-{n}.png",
                flagged=flagged,
                png=encode_png(redact(picture, order.safety_type) if flagged else picture, order.parameters),
            )
            for n, (picture, flagged) in enumerate(zip(pixels, flags, strict=True))
        ]

    async def _store_all(self, pictures: list[_Picture]) -> None:
        puts = asyncio.gather(*(self._store.put(p.name, p.png, PNG_TYPE) for p in pictures), return_exceptions=True)
        try:
            answers = await asyncio.shield(puts)
        except asyncio.CancelledError:
            await puts  # a put under way cannot be called back: its file would appear after its removal
            await self._remove(pictures)
            raise
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        if not failures:
            return
        left = await self._remove(pictures)
        if not isinstance(failures[0], StorageFailed):
            raise failures[0]
        raise StorageFailed(f"{failures[0].detail}; left behind: {', '.join(left) or 'nothing'}") from failures[0]

    async def _remove(self, pictures: list[_Picture]) -> list[str]:
        """Delete all of a job's files, those of failed puts too: a put may fail after it wrote. Names what is left."""
        left = []
        for picture in pictures:
            try:
                await self._store.delete(picture.name)
            except StorageFailed:
                left.append(picture.name)
        return left
