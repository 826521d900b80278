"""Clients generated from the OpenAPI document work: they are made, and make calls to the ingress over HTTP."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copy

import pytest
import uvicorn

from serve_app.api.schema import openapi
from tests import clients
from tests.servers import npm
from tests.unit.deployments.over_asgi import BODY, app_of
from tests.unit.service.stand_in import bench

PROGRAMS = Path(clients.__file__).parent
PYTHON_TOOL = npm.BUILD / "openapi-python-client-0.29.1"
PYTHON_PACKAGES = (
    "openapi-python-client==0.29.1",
    "httpx==0.28.1",
    "httpcore==1.0.9",
    "ruamel.yaml==0.19.1",
    "shellingham==1.5.4",
    "typer==0.27.3",
)
"""What the tool and its clients need beside what is here, apart from it: it wants an older typer than we do."""
NODE_TOOL = "openapi-typescript-7.13"
NODE_PACKAGES = ("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3", "@types/node@20")
TSC = ("--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022", "--types", "node")


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """The OpenAPI document in a file."""
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(openapi()))
    return file


@asynccontextmanager
async def listening(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, str]]:
    """The URL of an ingress that listens on loopback, and a key of it."""
    async with bench(folder) as one, app_of(one, monkeypatch) as (app, key):
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off", ws="none"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", key
        server.should_exit = True
        await serving


async def run(command: Sequence[object], folder: Path, **environment: str) -> str:
    """What a command prints that ends well."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=folder,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed = (await process.communicate())[0].decode()
    assert process.returncode == 0, printed
    return printed


async def test_a_python_client_is_generated_without_a_warning_and_used(
    tmp_path: Path, document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target"]
    if not PYTHON_TOOL.exists() and (why := npm.installed(PYTHON_TOOL, pip, PYTHON_PACKAGES)):
        pytest.skip(why)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it formats by ruff
    alone = {"PYTHONPATH": f"{PYTHON_TOOL}{os.pathsep}{tmp_path}", "PATH": path}
    (tmp_path / "config.yaml").write_text("content_type_overrides: {image/png: application/octet-stream}\n")
    make = ["generate", "--path", document, "--config", "config.yaml", "--meta", "none", "--output-path", "gen"]
    printed = await run([sys.executable, "-m", "openapi_python_client", *make], tmp_path, **alone)
    assert "warning" not in printed.lower()
    async with listening(tmp_path / "data", monkeypatch) as (url, key):
        use = [sys.executable, PROGRAMS / "use_python.py", url, key, json.dumps(BODY | {"width": 64})]
        assert await run(use, tmp_path, **alone) == "used\n"


async def test_a_typescript_client_compiles_strictly_and_is_used(
    tmp_path: Path, document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why := npm.missing(NODE_TOOL, NODE_PACKAGES):
        pytest.skip(why)
    (tmp_path / "node_modules").symlink_to(npm.BUILD / NODE_TOOL / "node_modules")
    copy(PROGRAMS / "use_typescript.ts", tmp_path / "use_typescript.mts")
    await run(["node", "node_modules/openapi-typescript/bin/cli.js", document, "-o", "schema.d.ts"], tmp_path)
    await run(["node", "node_modules/typescript/bin/tsc", *TSC, "use_typescript.mts"], tmp_path)
    async with listening(tmp_path / "data", monkeypatch) as (url, key):
        assert await run(["node", "use_typescript.mjs", url, key, json.dumps(BODY)], tmp_path) == "used\n"
