"""Packages of npm's that tests run, installed once, under build/ of the checkout."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

BUILD = Path(__file__).parent.parent.parent / "build"
INSTALL_SECONDS = 240


def missing(folder: str, packages: Sequence[str]) -> str | None:
    """Why these packages are not there, or None where they are; installs them into build/`folder` if need be."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return f"{packages[0]} needs node and npm"
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix"]
    return None if (BUILD / folder).exists() else installed(BUILD / folder, command, packages)


def installed(place: Path, command: Sequence[str], packages: Sequence[str]) -> str | None:
    """Put packages in their place whole, also where two processes do; why that could not be, if so.

    `command` takes the folder and then the packages.
    """
    place.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        made = Path(folder) / place.name
        try:
            done = subprocess.run(
                [*command, str(made), *packages], capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return f"{packages[0]} was not installed within {INSTALL_SECONDS} s"
        if done.returncode != 0:
            return f"{packages[0]} could not be installed: {done.stderr.strip()[-300:]}"
        try:
            made.rename(place)
        except OSError:
            return None if place.exists() else f"{place} is in the way"
    return None
