"""Where things lie: the program's own folder, the data directory, and the files that a configuration names.

A relative path in a YAML file is looked for beside that file first. Nothing here reads the environment.
"""

import os
import re
from pathlib import Path
from typing import Annotated

from platformdirs import user_data_path
from pydantic import AfterValidator, ValidationInfo

PROJECT = Path(__file__).parent.parent.parent
"""What holds models/: the root of a checkout, or the package `darkroom` of an installed wheel."""
INSTALLED = __name__.startswith("darkroom.")
"""Whether this runs from a wheel, where PROJECT belongs to the package manager and nothing may be written."""
IMPORTED_FROM = PROJECT.parent if INSTALLED else PROJECT
"""The folder in which our packages are found."""
USER_DATA = user_data_path("darkroom", appauthor=False)
HOME = USER_DATA if INSTALLED else PROJECT
"""What a relative data directory starts from where no file names it."""
DEFAULT_DATA_DIR = USER_DATA if INSTALLED else PROJECT / "data"
DEFAULT_WHY = "the default of this user" if INSTALLED else "the default of this checkout"

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
"""What a repository of the hub may be called; a path can look like it too."""
NO_CHECKER = "none"
"""What an entry says that goes without a safety checker."""
WEIGHTS = (".safetensors", ".ckpt", ".pt", ".bin")


def is_there(path: Path | str) -> bool:
    """Whether something can be seen there. `Path.exists` raises where a folder on the way is closed to this user."""
    return os.path.exists(path)  # noqa: PTH110


def _beside_file(path: str, info: ValidationInfo) -> str:
    """Absolute, where a file is being read."""
    return path if info.context is None else str(info.context / Path(path).expanduser())


def _found(path: str, info: ValidationInfo) -> str:
    """Beside the file that is being read, unless it is only in the project: the sample configuration names the
    pocket model so."""
    beside = _beside_file(path, info)
    return path if not is_there(beside) and is_there(PROJECT / path) else beside


def _found_or_hub_id(source: str, info: ValidationInfo) -> str:
    path = _found(source, info)
    return source if may_be_hub_id(source) and not is_there(path) else path


def _found_or_none(checker: str, info: ValidationInfo) -> str:
    return NO_CHECKER if checker.strip().lower() == NO_CHECKER else _found(checker, info)


def may_be_hub_id(source: str) -> bool:
    """Whether a source that is no path on this disk may be a repository of the hub."""
    return HUB_ID.fullmatch(source) is not None and not source.endswith(WEIGHTS)


def in_project(path: str) -> Path:
    """A path as validation left it: absolute, or relative to the project."""
    return PROJECT / Path(path).expanduser()


def _database_beside_file(url: str, info: ValidationInfo) -> str:
    """SQLite alone has a path in its URL, relative where it has three slashes."""
    scheme, slashes, path = url.partition(":///")
    relative = scheme.startswith("sqlite") and bool(path) and not path.startswith(("/", ":"))
    return f"{scheme}{slashes}{_beside_file(path, info)}" if relative else url


DatabaseUrl = Annotated[str, AfterValidator(_database_beside_file)]
"""SQLAlchemy's, of a database that may be a file."""
FolderPath = Annotated[str, AfterValidator(_beside_file)]
"""A folder that need not be there yet."""
FoundPath = Annotated[str, AfterValidator(_found)]
"""Something that has to be on disk."""
Source = Annotated[str, AfterValidator(_found_or_hub_id)]
"""Something on disk, or a hub id."""
CheckerPath = Annotated[str, AfterValidator(_found_or_none)]
"""A safety checker's folder, or `NO_CHECKER`."""
