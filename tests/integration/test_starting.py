"""Starting: what an operator sees when something is in the way, and that Ray's own commands know the application."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import yaml

from serve_app.config import PROJECT
from serve_app.config.catalogue import POCKET_FOLDER
from tests.conftest import KEY_LINE, Service, free_port


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


def test_a_wrong_weights_path_is_told_before_ray_is_started(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("catalogue: [{id: mine, source: /models/none.safetensors}]\n")
    done = start("--port", str(free_port()), "--config", str(file), data_dir=tmp_path / "data")
    assert done.returncode == 1
    weights, safety, end = done.stderr.splitlines()
    assert weights.startswith("darkroom: catalogue[0].source: there is nothing at /models/none.safetensors: ")
    assert safety.startswith("darkroom: catalogue[0].safety: ")
    assert end == "darkroom: not started, 2 problems to mend"
    assert done.stdout == ""
    assert not (tmp_path / "data").exists()


def test_a_model_that_fails_while_it_loads_is_told_in_a_line_at_the_first_failure(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(POCKET_FOLDER, folder)
    (folder / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "NoSuchScheduler"}')
    (folder / "unet" / "config.json").write_text("{}")
    file = tmp_path / "config.yaml"
    file.write_text(f"catalogue: [{{id: mine, source: {folder}, safety: none}}]\n")
    done = start("--port", str(free_port()), "--config", str(file), data_dir=tmp_path / "data")
    assert done.returncode == 1
    reason, end = done.stderr.splitlines()
    assert reason.startswith(f"darkroom: catalogue[0]: model 'mine': cannot load '{folder}': ")
    assert end == f"darkroom: it did not start; log: {tmp_path / 'data' / 'logs' / 'service.log'}"
    assert "Traceback" not in done.stdout


def test_a_service_interrupted_in_the_middle_of_rays_start_is_gone_at_once(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "deployments.local", "--port", str(free_port())],
        env={**os.environ, "DARKROOM_DATA_DIR": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    assert child.stdout is not None
    while "starting Ray" not in child.stdout.readline():
        assert child.poll() is None
    below = psutil.Process(child.pid).children(recursive=True)
    while len(below) < 2:  # of which one is Ray's
        below = psutil.Process(child.pid).children(recursive=True)
    child.send_signal(signal.SIGINT)
    rest, _ = child.communicate(timeout=900)
    assert child.returncode == 128 + signal.SIGINT
    assert rest.splitlines()[-1] == "darkroom: stopped before it was ready"
    assert "Traceback" not in rest
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in below)


def test_a_demo_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        command = [sys.executable, "-m", "deployments.demo", "--port", str(listener.getsockname()[1])]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is taken" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert list(tmp_path.glob("build/demo/data-*")) == []


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


def test_replicas_get_their_share_of_a_busy_machine(service: Service) -> None:
    replicas = [each for each in psutil.Process(service.pid).children(recursive=True) if "Replica" in each.name()]
    assert replicas
    assert {each.nice() for each in replicas} == {psutil.Process().nice()}
