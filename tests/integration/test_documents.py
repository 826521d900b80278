"""Every shell and Python block of README.md and docs/ runs as printed, against the service that the other tests use.

A reader stands in the checkout, has activated its environment, and has set DARKROOM_URL and DARKROOM_KEY.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.config import PROJECT
from tests.conftest import Service
from tests.documents import RUN, SHELLS, Block, blocks

HIDDEN = (".venv", ".git", "data", "build")
TO_RUN = [block for block in blocks() if block.language in RUN and not block.mark]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as a reader has it, in which blocks may leave files."""
    folder = tmp_path_factory.mktemp("checkout")
    for entry in PROJECT.iterdir():
        if entry.name not in HIDDEN:
            (folder / entry.name).symlink_to(entry)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.mark.parametrize("block", TO_RUN, ids=str)
def test_a_block_runs_as_printed(block: Block, service: Service, checkout: Path) -> None:
    if "curl " in block.text and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    program = ["bash", "-eu", "-o", "pipefail", "-c"] if block.language in SHELLS else [sys.executable, "-c"]
    done = subprocess.run(
        [*program, block.text],
        cwd=checkout,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(checkout),
            "DARKROOM_URL": service.url,
            "DARKROOM_KEY": service.key,
            "DARKROOM_DATA_DIR": str(service.data_dir),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"error"' not in done.stdout
