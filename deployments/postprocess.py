"""The last deployment: safety filter, redaction, encoding, storage. The work itself is `serve_app.postprocess`."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serve_app.config import PostprocessConfig, StorageConfig
from serve_app.errors import DarkroomError
from serve_app.messages import FinishOrder, StoredImage
from serve_app.postprocess.flow import Postprocessor
from serve_app.postprocess.safety import NoChecker, load_checkers
from serve_app.postprocess.spool import Spool
from serve_app.postprocess.storage import open_store


class Postprocess:
    """Finishes any model's rasters, each under its own model's safety checker."""

    def __init__(self, config: PostprocessConfig, storage: StorageConfig, checkers: Mapping[str, Path]) -> None:
        """`checkers`: the folder of each model's checker, by the model's id. Raises ConfigError, StorageFailed."""
        spool = Spool(open_store(storage), config.spool_bytes, time.time)
        loaded = load_checkers(checkers, config.torch_threads)
        self._flows = {model: Postprocessor(checker, spool) for model, checker in loaded.items()}
        self._unchecked = Postprocessor(NoChecker(), spool)

    async def ready(self) -> None:
        """Its checker is loaded, else nobody could call this."""

    async def finish(
        self, pixels: npt.NDArray[np.uint8], order: FinishOrder
    ) -> tuple[StoredImage, ...] | DarkroomError:
        """Check, redact, encode and store uint8 RGB (n, height, width, 3); a failure is returned, not raised."""
        try:
            return await self._flows.get(order.model_id, self._unchecked).finish(pixels, order)
        except DarkroomError as error:
            return error
