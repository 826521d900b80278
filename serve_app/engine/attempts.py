"""The engine's one broad `except`: whatever breaks belongs to the rows it was for, and the loop goes on."""

import logging
from collections.abc import Callable
from typing import Any

from serve_app.errors import DarkroomError, GenerationFailed

log = logging.getLogger(__name__)


def attempt(work: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """What the work gave, or what it raised; only what is no failure of ours is logged."""
    try:
        return work(), None
    except DarkroomError as error:
        return None, error
    except Exception as error:
        log.exception("a step broke")
        return None, error


def as_ours(error: Exception) -> DarkroomError:
    """The failure that a job's caller hears."""
    return error if isinstance(error, DarkroomError) else GenerationFailed(f"{type(error).__name__}: {error}")
