"""Keys beside a service that runs: `make key` makes one for it, and a revoked one is refused at once."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from serve_app.config import PROJECT
from tests.conftest import Service
from tests.documents import last_line_of_make


def environment() -> dict[str, str]:
    """Nothing that names a data directory."""
    return {name: value for name, value in os.environ.items() if name != "DARKROOM_DATA_DIR"}


def darkroom(*arguments: str) -> str:
    """What the command printed, run from another folder."""
    command = [sys.executable, "-m", "serve_app.cli", *arguments]
    env = {**environment(), "PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, cwd="/", env=env, check=True, capture_output=True, text=True, timeout=60).stdout


def accepted(service: Service, key: str) -> bool:
    with service.client() as client:
        status = client.post("/api/v3/system_load", json={"key": key}).status_code
    assert status in (200, 401)
    return status == 200


def test_make_key_with_a_configuration_gives_a_key_that_the_service_of_that_configuration_takes(
    service: Service, tmp_path: Path
) -> None:
    config = tmp_path / "my own.yaml"
    config.write_text(yaml.safe_dump({"storage": {"data_dir": str(service.data_dir)}}))
    line = last_line_of_make("key", f"CONFIG={config}", "NAME=made", venv=Path(sys.prefix))
    done = subprocess.run(
        line.replace(f"{sys.prefix}/bin/darkroom", f"{sys.executable} -m serve_app.cli"),
        shell=True, cwd=PROJECT, env=environment(), check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr.splitlines()[0] == f"data directory: {service.data_dir} (storage.data_dir)"
    key = done.stdout.strip()
    assert accepted(service, key)
    darkroom("keys", "revoke", "made", "--config", str(config))
    assert not accepted(service, key)


def test_a_name_that_was_revoked_can_be_given_again_and_only_its_new_key_is_taken(service: Service) -> None:
    where = ("--data-dir", str(service.data_dir))
    first = darkroom("keys", "create", "again", *where).strip()
    assert accepted(service, first)
    darkroom("keys", "revoke", "again", *where)
    second = darkroom("keys", "create", "again", *where).strip()
    assert (accepted(service, first), accepted(service, second)) == (False, True)
