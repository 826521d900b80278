"""`make demo`: starts the service, sends it a picture over HTTP, writes before and after side by side, stops it.

Whatever becomes of it, and whoever interrupts it, nothing of the service stays behind, and of its data only the log.
"""

import argparse
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, NoReturn

import httpx2
from PIL import Image

from deployments.processes import SIGNALS
from deployments.progress import Terminal
from models.pocket.world import Scene, draw, prompt_for

SIDE = 256
"""Pixels on a side of the pictures."""
BEFORE = Scene("circle", "yellow", "green")
PROMPT = prompt_for("red", "star", "blue")
REQUEST = {"model_id": "pocket", "prompt": PROMPT, "strength": 0.9, "seed": 16, "num_inference_steps": 25}
FOLDER = Path("build/demo")
START_SECONDS = 900.0
"""The service gives up by itself much sooner, but for a model that goes on loading."""
ANSWER_SECONDS = 300.0
STOP_SECONDS = 90.0
TICK_SECONDS = 0.5
KEY_LINE = "darkroom: your key is "
READY_LINE = "darkroom: ready"
WAITING = " …"
"""Stands behind what the service waits for."""
ABOUT = f"""demo: starts Darkroom with the small model that it ships, sends it a picture over HTTP, and stops it again
demo: the picture is a yellow circle on green, and what is asked for is "{PROMPT}\""""


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


class Interrupted(BaseException):
    """Somebody wants it to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. Returns the exit status."""
    options = _options(arguments)
    terminal, began = Terminal("demo"), time.monotonic()
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    try:
        target = _picture(options.host, options.port, terminal)
    except DemoFailed as failure:
        terminal.say(str(failure), error=True)
        return 1
    except Interrupted as interrupted:
        terminal.say("interrupted; nothing is left behind", error=True)
        return 128 + interrupted.number
    terminal.say(f"done in {time.monotonic() - began:.0f} s; before and after, side by side: {target}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deployments.demo", description="One picture all the way through.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    return parser.parse_args(arguments)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise Interrupted(number)


def _picture(host: str, port: int, terminal: Terminal) -> Path:
    """The sheet that was written."""
    terminal.show(ABOUT)
    with _service(host, port, terminal) as key:
        before = _before()
        after = _picture_from(f"http://{host}:{port}", key, before, terminal)
    return _side_by_side(before, after).resolve()


@contextmanager
def _service(host: str, port: int, terminal: Terminal) -> Iterator[str]:
    """The service as a child process while the block runs; gives its key."""
    data = FOLDER / f"data-{os.getpid()}"
    command = [
        sys.executable, "-m", f"{__package__}.local", "--host", host, "--port", str(port),
        "--data-dir", str(data.resolve()), "--end-with-parent",
    ]  # fmt: skip
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0)
    try:
        yield _started(child, data, terminal)
    finally:
        _stop(child, terminal)
        shutil.rmtree(data, ignore_errors=True)


def _started(child: "subprocess.Popen[str]", data: Path, terminal: Terminal) -> str:
    """Show how far the start is until the service is ready; gives its key. Raises DemoFailed."""
    lines: SimpleQueue[str | None] = SimpleQueue()
    threading.Thread(target=_read, args=(child, lines), daemon=True).start()
    began, key, said, step = time.monotonic(), "", [""], ""
    while time.monotonic() - began < START_SECONDS:
        terminal.wait_for(f"starting the service{step}")
        try:
            line = lines.get(timeout=TICK_SECONDS)
        except Empty:
            continue
        if line is None:
            raise DemoFailed(_why(said, data))
        said.append(line)
        if WAITING in line:
            step = f": {line.removeprefix('darkroom: ').partition(WAITING)[0]}"
        key = line.removeprefix(KEY_LINE) if line.startswith(KEY_LINE) else key
        if line.startswith(READY_LINE):
            terminal.say(f"the service is ready ({time.monotonic() - began:.0f} s)")
            return key
    raise DemoFailed(f"the service was not ready after {START_SECONDS:.0f} s")


def _read(child: "subprocess.Popen[str]", lines: "SimpleQueue[str | None]") -> None:
    """To the end, so that the service never waits for a reader."""
    assert child.stdout is not None
    for line in child.stdout:
        lines.put(line.rstrip("\n"))
    lines.put(None)


def _why(said: list[str], data: Path) -> str:
    """What the service said last, and where its log is kept, for its data directory goes."""
    log, kept = data / "logs" / "service.log", FOLDER / "service.log"
    if log.exists():
        shutil.copyfile(log, kept)
    told = [line.replace(str(log.resolve()), str(kept.resolve())) for line in said if line and WAITING not in line]
    return "\n".join(("the service did not start", *(f"  {line}" for line in told if not line.startswith(KEY_LINE))))


def _stop(child: "subprocess.Popen[str]", terminal: Terminal) -> None:
    """Ask it to end; whoever interrupts this too has it end at once."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: child.send_signal(signal.SIGTERM))
    terminal.wait_for("stopping the service")
    child.send_signal(signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS
    while child.poll() is None and time.monotonic() < until:
        terminal.tick()
        time.sleep(TICK_SECONDS / 5)
    if child.poll() is None:
        child.kill()  # what is below it ends with it
    child.wait()
    terminal.wait_for("")


def _picture_from(url: str, key: str, before: Image.Image, terminal: Terminal) -> Image.Image:
    pool = ThreadPoolExecutor(1)
    with httpx2.Client(base_url=url, timeout=ANSWER_SECONDS, trust_env=False) as client:
        answer = pool.submit(_ask, client, key, before)
        pool.shutdown(wait=False)  # whoever interrupts the demo does not wait for the answer
        while not answer.done():
            terminal.wait_for("drawing")
            time.sleep(TICK_SECONDS / 5)
        terminal.wait_for("")
        told = answer.result()
        terminal.say(
            f"the picture is here; the model took {told['generationTime']} s for it, seed {told['meta']['seed']}"
        )
        return Image.open(io.BytesIO(client.get(told["output"][0]).raise_for_status().content)).convert("RGB")


def _ask(client: httpx2.Client, key: str, before: Image.Image) -> dict[str, Any]:
    file = io.BytesIO()
    before.save(file, "PNG")
    files = {"init_image": ("before.png", file.getvalue(), "image/png")}
    fields = {name: str(value) for name, value in REQUEST.items()}
    try:
        response = client.post("/api/v4/dreambooth/img2img", data={**fields, "key": key}, files=files)
        answer: dict[str, Any] = response.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise DemoFailed(f"the service did not answer: {type(error).__name__}: {error}") from error
    if answer.get("status") != "success":
        raise DemoFailed(f"the service answered {answer}")
    return answer


def _before() -> Image.Image:
    return Image.fromarray(draw(BEFORE, SIDE))


def _side_by_side(before: Image.Image, after: Image.Image) -> Path:
    gap = SIDE // 16
    sheet = Image.new("RGB", (2 * SIDE + gap, SIDE), "white")
    sheet.paste(before, (0, 0))
    sheet.paste(after, (SIDE + gap, 0))
    target = FOLDER / "before-after.png"
    FOLDER.mkdir(parents=True, exist_ok=True)
    sheet.save(target)
    return target


if __name__ == "__main__":
    sys.exit(main())
