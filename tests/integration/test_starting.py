"""Starting: what an operator sees when something is in the way, and that Ray's own commands know the application."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import yaml

from tests.conftest import KEY_LINE, Service


def start(*options: str, data_dir: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "deployments.local", *options],
        env={**os.environ, "DARKROOM_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_a_taken_port_is_a_clear_message_and_no_stack_trace(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        done = start("--port", str(port), data_dir=tmp_path)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_wrong_configuration_is_a_clear_message_and_no_stack_trace(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("catalog: []\n")
    done = start("--port", "0", "--config", str(file), data_dir=tmp_path)
    assert done.returncode == 1
    assert "catalog" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_the_first_start_prints_one_key_and_keeps_only_its_hash(service: Service) -> None:
    assert [line for line in service.log if line.startswith(KEY_LINE)] == [KEY_LINE + service.key]
    assert service.key not in (service.data_dir / "keys.json").read_text()


def test_serve_build_knows_the_deployments(tmp_path: Path) -> None:
    target = tmp_path / "built.yaml"
    command = [str(Path(sys.executable).parent / "serve"), "build", "deployments.app:app", "-o", str(target)]
    subprocess.run(command, check=True, capture_output=True, timeout=900)
    built = yaml.safe_load(target.read_text())
    names = {deployment["name"] for deployment in built["applications"][0]["deployments"]}
    assert names == {"Ingress", "Courier", "Diffusion-pocket", "Postprocess"}
