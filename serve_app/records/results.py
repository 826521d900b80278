"""What came of a job that ended well, as its record keeps it: JSON, of which older records have less or nothing."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict


class Result(BaseModel):
    """Beside the record's own columns. Each field has a default, for records that were written before it was there."""

    model_config = ConfigDict(frozen=True)

    replaced: tuple[bool, ...] = ()
    """By sample, whether the safety filter changed its picture."""
    stages: Mapping[str, float] = {}
    """Seconds of each of `stopwatch.Stage` from the driver taking the job to its pictures being stored."""


NOTHING = Result()


def dump_result(result: Result) -> str:
    """As JSON."""
    return result.model_dump_json()


def read_result(text: str | None) -> Result:
    """What `dump_result` wrote; nothing where there is none. Raises ValueError for anything else."""
    return NOTHING if text is None else Result.model_validate_json(text)
