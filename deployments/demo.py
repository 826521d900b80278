"""`make demo`: starts the service, sends it a picture over HTTP, writes before and after side by side, stops it."""

import argparse
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from PIL import Image

from models.pocket.world import Scene, draw, prompt_for

SIDE, SHOWN = 128, 256
"""Pixels on a side: of the pictures, and of each on the sheet."""
BEFORE = Scene("circle", "yellow", "green")
PROMPT = prompt_for("red", "star", "blue")
REQUEST = {"model_id": "pocket", "prompt": PROMPT, "strength": 0.9, "seed": 16, "num_inference_steps": 25}
FOLDER = Path("build/demo")
START_SECONDS = 180.0
ANSWER_SECONDS = 300.0
STOP_SECONDS = 60.0
KEY_LINE = "darkroom: your key is "
T = TypeVar("T")


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m deployments.demo", description="One picture all the way through.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        with _service(options.host, options.port) as key:
            _say(began, "service is ready")
            before = _before()
            after = _picture_from(f"http://{options.host}:{options.port}", key, before)
            _say(began, "picture is back")
        target = _side_by_side(before, after)
    except DemoFailed as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    _say(began, "service is stopped")
    print(f'demo: sent a yellow circle on green, asked for "{PROMPT}"')
    print(f"demo: before and after are in {target.resolve()}")
    return 0


@contextmanager
def _service(host: str, port: int) -> Iterator[str]:
    """The service as a child process while the block runs; gives its key."""
    command = [sys.executable, "-m", "deployments.local", "--host", host, "--port", str(port)]
    environment = {**os.environ, "DARKROOM_DATA_DIR": str((FOLDER / f"data-{os.getpid()}").resolve())}
    FOLDER.mkdir(parents=True, exist_ok=True)
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield _wait_until_ready(child)
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        child.wait(STOP_SECONDS)


def _wait_until_ready(child: "subprocess.Popen[str]") -> str:
    """Read the service's lines until it says that it is ready; shows a progress line meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        return _with_progress(pool.submit(_read_key, child), "starting the service", START_SECONDS)


def _read_key(child: "subprocess.Popen[str]") -> str:
    key = ""
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith(KEY_LINE):
            key = line.removeprefix(KEY_LINE).strip()
        if line.startswith("darkroom: ready"):
            return key
    raise DemoFailed("the service did not start; its message stands above")


def _picture_from(url: str, key: str, before: Image.Image) -> Image.Image:
    with ThreadPoolExecutor(1) as pool, httpx2.Client(base_url=url, timeout=ANSWER_SECONDS, trust_env=False) as client:
        answer = _with_progress(pool.submit(_ask, client, key, before), "waiting for the picture", ANSWER_SECONDS)
        print(f"demo: the model took {answer['generationTime']} s, seed {answer['meta']['seed']}")
        return Image.open(io.BytesIO(client.get(answer["output"][0]).raise_for_status().content)).convert("RGB")


def _ask(client: httpx2.Client, key: str, before: Image.Image) -> dict[str, Any]:
    file = io.BytesIO()
    before.save(file, "PNG")
    files = {"init_image": ("before.png", file.getvalue(), "image/png")}
    fields = {name: str(value) for name, value in REQUEST.items()}
    answer: dict[str, Any] = client.post("/api/v4/dreambooth/img2img", data={**fields, "key": key}, files=files).json()
    if answer["status"] != "success":
        raise DemoFailed(f"the service answered {answer}")
    return answer


def _with_progress(work: "Future[T]", what: str, limit_s: float) -> T:
    """Wait for `work`, showing one line that counts the seconds where a person watches."""
    began = time.monotonic()
    watched = sys.stdout.isatty()
    while not work.done() and time.monotonic() - began < limit_s:
        if watched:
            print(f"\rdemo: {what} … {time.monotonic() - began:4.0f} s", end="", flush=True)
        time.sleep(0.2)
    print(f"{chr(13) if watched else ''}demo: {what} … {time.monotonic() - began:4.1f} s", flush=True)
    return work.result(timeout=0)


def _before() -> Image.Image:
    return Image.fromarray(draw(BEFORE, SIDE))


def _side_by_side(before: Image.Image, after: Image.Image) -> Path:
    gap = SHOWN // 16
    sheet = Image.new("RGB", (2 * SHOWN + gap, SHOWN), "white")
    sheet.paste(before.resize((SHOWN, SHOWN)), (0, 0))
    sheet.paste(after.resize((SHOWN, SHOWN)), (SHOWN + gap, 0))
    target = FOLDER / "before-after.png"
    sheet.save(target)
    return target


def _say(began: float, what: str) -> None:
    print(f"demo: {what} ({time.monotonic() - began:.1f} s since the start)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
