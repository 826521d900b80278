"""The last deployment: safety filter, redaction, encoding, storage. The work itself is `serve_app.postprocess`."""

import time

import numpy as np
import numpy.typing as npt

from serve_app.config import PostprocessConfig, StorageConfig
from serve_app.errors import DarkroomError
from serve_app.messages import FinishOrder, StoredImage
from serve_app.postprocess.flow import Postprocessor
from serve_app.postprocess.safety import DiffusersSafetyChecker
from serve_app.postprocess.spool import Spool
from serve_app.postprocess.storage import open_store


class Postprocess:
    """Finishes any model's rasters."""

    def __init__(self, config: PostprocessConfig, storage: StorageConfig) -> None:
        checker = DiffusersSafetyChecker(config.safety_folder, config.torch_threads)
        checker.load()
        self._flow = Postprocessor(checker, Spool(open_store(storage), config.spool_bytes, time.time))

    async def ready(self) -> None:
        """Its checker is loaded, else nobody could call this."""

    async def finish(
        self, pixels: npt.NDArray[np.uint8], order: FinishOrder
    ) -> tuple[StoredImage, ...] | DarkroomError:
        """Check, redact, encode and store uint8 RGB (n, height, width, 3); a failure is returned, not raised."""
        try:
            return await self._flow.finish(pixels, order)
        except DarkroomError as error:
            return error
