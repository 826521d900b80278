"""Which job a fetch means."""

import re
from collections.abc import Mapping

from serve_app.errors import JobNotFound

LARGEST_ID = 2**31 - 1
"""Clients decode ids as 32-bit integers."""
_DIGITS = re.compile(r"\d{1,10}", re.ASCII)


def parse_fetch_id(value: object) -> int:
    """A job's id from a path or a body, a string or an integer. Raises JobNotFound where no job can have it."""
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_ID:
        raise JobNotFound("no id")
    return value


def fetch_id(in_path: str | None, body: Mapping[str, object]) -> int:
    """The id that a fetch means: the path's where it has one, whatever the body holds. Raises JobNotFound."""
    return parse_fetch_id(body.get("request_id") if in_path is None else in_path)
