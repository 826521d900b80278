"""The Server-Timing header (https://www.w3.org/TR/server-timing/): where the time of an answer went."""

from collections.abc import Mapping
from typing import TypeVar

Stage = TypeVar("Stage", bound=str)

HEADER = "Server-Timing"


def server_timing(seconds: Mapping[Stage, float]) -> str:
    """The header's text for the seconds of each stage: `read;dur=1.25, accept;dur=8.03`, in milliseconds."""
    return ", ".join(f"{stage};dur={1000 * spent:.2f}" for stage, spent in seconds.items())
