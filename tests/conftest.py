"""Real services for all tests that need one: Ray Serve in processes of its own, over HTTP, on free ports."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import httpx2
import pytest
import yaml
from hypothesis import settings

START_SECONDS = 900
STOP_SECONDS = 300
KEY_LINE = "darkroom: your key is "
LOOPBACK = ["127.0.0.0/8"]
CONFIG = {
    "inputs": {"allowed_networks": LOOPBACK},
    "webhooks": {"allowed_networks": LOOPBACK, "schedule_s": [0, 1, 2]},
    "api": {
        "max_body_bytes": 4_000_000,
        "keyless_body_bytes": 1_000_000,
        "bodies_bytes": 16_000_000,
        "body_timeout_s": 5,
        "head_timeout_s": 5,
        "sync_timeout_s": 900,
    },
}
"""The defaults, but for pictures and webhooks on loopback, which tests serve themselves, and for slow machines."""
MOST_WAITING = 6
HASTY = {
    "api": {"sync_timeout_s": 0.3, "keyless_fetch": True, "max_waiting_jobs": MOST_WAITING},
    "storage": {"temporary_s": 4},
}
"""A service that waits for nothing and keeps little."""

settings.register_profile("slow-machine", deadline=None)
settings.load_profile("slow-machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--gpu DEVICE` lets tests/gpu run."""
    parser.addoption("--gpu", metavar="DEVICE", help="run the tests of tests/gpu on this torch device, e.g. cuda")


@dataclass(frozen=True, slots=True)
class Service:
    """A running service and the key to use."""

    url: str
    key: str
    port: int
    data_dir: Path
    log: tuple[str, ...]
    pid: int
    said: list[str] = field(default_factory=list)
    """Its lines since it was ready; they grow."""

    def client(self) -> httpx2.Client:
        """An HTTP client that shows no key of its own."""
        return httpx2.Client(base_url=self.url, timeout=900, trust_env=False)


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service on the pocket model, started once."""
    with serving(tmp_path_factory.mktemp("service"), CONFIG) as service:
        yield service


@pytest.fixture(scope="session")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Another service, whose sync window is over before most pictures are made."""
    with serving(tmp_path_factory.mktemp("hasty"), HASTY) as service:
        yield service


@contextmanager
def serving(folder: Path, config: Mapping[str, object]) -> Iterator[Service]:
    """A service of its own with this configuration, its data in `folder`."""
    file, data_dir, port = folder / "config.yaml", folder / "data", free_port()
    file.write_text(yaml.safe_dump(dict(config)))
    child = subprocess.Popen(
        [sys.executable, "-m", "deployments.local", "--port", str(port), "--config", str(file)],
        env={**os.environ, "DARKROOM_DATA_DIR": str(data_dir), "RAY_USAGE_STATS_ENABLED": "0"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lines = tuple(_lines_until_ready(child))
        key = next((line for line in lines if line.startswith(KEY_LINE)), "").removeprefix(KEY_LINE)
        service = Service(f"http://127.0.0.1:{port}", key, port, data_dir, lines, child.pid)
        Thread(target=_follow, args=(child, service.said), daemon=True).start()
        yield service
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(STOP_SECONDS)


def _follow(child: "subprocess.Popen[str]", said: list[str]) -> None:
    assert child.stdout is not None
    with child.stdout:
        for line in child.stdout:
            said.append(line.rstrip("\n"))


def _lines_until_ready(child: "subprocess.Popen[str]") -> Iterator[str]:
    assert child.stdout is not None
    for line in child.stdout:
        yield line.strip()
        if line.startswith("darkroom: ready"):
            return
    pytest.fail("the service did not start; its log stands above")
