"""A job's failure as its record keeps it: a code, with the sentences of bad fields, and back as the failure itself.

So a job that was refused on its replica is answered as one that was refused at the door.
"""

import re

from pydantic import BaseModel, ValidationError

from serve_app.api.problems import TABLE
from serve_app.errors import DarkroomError, InvalidFields, RateLimited

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class StoredFailure(BaseModel):
    """What is written down."""

    code: str
    """The class' name in lower case, e.g. invalid_fields."""
    fields: dict[str, list[str]] | None = None
    """Of bad fields: each one's name with its sentences."""


def code_of(cls: type[DarkroomError]) -> str:
    """The name of a kind of failure outside this program."""
    return _WORD.sub("_", cls.__name__).lower()


_KINDS = {code_of(cls): cls for cls in TABLE if cls is not RateLimited}
"""What a job can end with, by code: no job is accepted over a rate."""


def dump_failure(error: DarkroomError) -> str:
    """The failure as JSON: what a client may read of it, and nothing of its detail."""
    cls = next((cls for cls in type(error).__mro__ if cls in TABLE), DarkroomError)
    fields = error.fields if isinstance(error, InvalidFields) else None
    return StoredFailure(code=code_of(cls), fields=fields).model_dump_json(exclude_none=True)


def load_failure(text: str | None) -> DarkroomError | None:
    """The failure again; None where none was kept, as in records of earlier versions, or it is none of ours."""
    if text is None:
        return None
    try:
        stored = StoredFailure.model_validate_json(text)
    except ValidationError:
        return None
    if stored.fields is not None:
        return InvalidFields(stored.fields)
    cls = _KINDS.get(stored.code)
    return None if cls is None or cls is InvalidFields else cls()
