"""The vendor's command line tool, `modelslab-cli` 0.2.2, with its base URL and key changed and nothing else."""

import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from tests.conftest import Service
from tests.integration.asking import INIT_B64, pixels_of

TOOL = Path(sysconfig.get_path("scripts")) / "modelslab"
PATIENCE_S = 280


def image_to_image(service: Service, home: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Make a picture, or try to; what is downloaded lies in `home`/out."""
    command = [str(TOOL), "generate", "image-to-image", "--prompt", "a red star", "--init-image", INIT_B64]
    more = ["--output", "json", "--output-dir", str(home / "out"), "--no-update-check", *options]
    environment = {"HOME": str(home), "MODELSLAB_BASE_URL": service.url, "MODELSLAB_API_KEY": service.key}
    return subprocess.run(
        command + more,
        env=os.environ | environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def answer_of(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """What it printed of an answer."""
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])  # before it: where it saved the files
    return answer


def test_a_picture_is_made_and_downloaded_without_a_model_being_named(service: Service, tmp_path: Path) -> None:
    answer = answer_of(image_to_image(service, tmp_path))
    (file,) = (tmp_path / "out").iterdir()
    assert (answer["status"], answer["meta"]["model_id"]) == ("success", "pocket")
    assert pixels_of(file.read_bytes()).shape == (128, 128, 3)


def test_a_job_that_is_not_done_yet_is_fetched_where_the_tool_looks_for_it(hasty: Service, tmp_path: Path) -> None:
    answer = answer_of(image_to_image(hasty, tmp_path, "--model", "pocket", "--no-wait"))
    assert answer["fetch_result"] == f"{hasty.url}/api/v7/images/fetch/{answer['id']}"
    done = answer_of(image_to_image(hasty, tmp_path))
    assert (done["status"], len(done["output"])) == ("success", 1)


def test_a_refusal_is_printed_with_the_fields_name(service: Service, tmp_path: Path) -> None:
    done = image_to_image(service, tmp_path, "--strength", "7")
    assert done.returncode != 0
    assert "strength must be between 0 and 1" in done.stderr + done.stdout
