"""Reads what is deployed: the YAML as written, as kustomize renders it, and the Serve configs inside."""

import functools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
K8S = ROOT / "k8s"
CRDS = ROOT.parent / "shared" / "crds"
YAML_FILES = sorted([*K8S.rglob("*.yaml"), ROOT / "serve_config.yaml"])
KUSTOMIZATIONS = sorted(path.parent.relative_to(ROOT).as_posix() for path in K8S.rglob("kustomization.yaml"))
SERVE_CONFIGS = ("serve_config.yaml", *KUSTOMIZATIONS)

Object = dict[str, Any]


@functools.cache
def _rendered_text(kustomization: str) -> str:
    command = ["kubectl", "kustomize", kustomization]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout


def rendered(kustomization: str) -> list[Object]:
    """The objects that `kubectl apply -k` would send; the test is skipped where there is no kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on the PATH, so kustomizations cannot be rendered")
    return list(yaml.safe_load_all(_rendered_text(kustomization)))


def ray_service(kustomization: str) -> Object:
    """The one RayService of a kustomization."""
    (service,) = [thing for thing in rendered(kustomization) if thing["kind"] == "RayService"]
    return service


def groups(service: Object) -> list[Object]:
    """The head group and the worker groups of a RayService, the head first."""
    cluster = service["spec"]["rayClusterConfig"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def serve_config_text(source: str) -> str:
    """The Serve config of a file at the top of the repository, or the one inside a kustomization's RayService."""
    if source.endswith(".yaml"):
        return (ROOT / source).read_text()
    return str(ray_service(source)["spec"]["serveConfigV2"])


def with_every_knob_on(text: str) -> str:
    """The text with each setting that is commented out (a "#" with no blank behind it) switched on."""
    return re.sub(r"^( *)#(?=\S)", r"\1", text, flags=re.MULTILINE)
