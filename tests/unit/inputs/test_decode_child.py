"""The decoder's child: it may be late, die or be given up, and the next picture is decoded all the same."""

import asyncio
import io
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import numpy as np
import pytest
import uvloop
from PIL import Image

from serve_app.config import PROJECT, InputsConfig
from serve_app.errors import InvalidFields, ServiceError
from serve_app.inputs import decode
from serve_app.inputs.decode import ImageDecoder

CHILD = [sys.executable, "-m", "serve_app.inputs.decode_child"]


def picture(color: str = "red", side: int = 16) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), color).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
async def decoder() -> AsyncIterator[ImageDecoder]:
    decoder = ImageDecoder(InputsConfig(max_image_pixels=10**6, decode_timeout_s=20.0))
    yield decoder
    await decoder.close()


def pid_of(decoder: ImageDecoder) -> int:
    assert decoder.child_pid is not None
    return decoder.child_pid


async def gone(pid: int) -> bool:
    for _ in range(1000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        await asyncio.sleep(0.01)
    return False


async def test_one_child_serves_many_pictures(decoder: ImageDecoder) -> None:
    await decoder.start()
    pid = pid_of(decoder)
    all_pixels = await asyncio.gather(*(decoder.decode(picture(color)) for color in ("red", "lime", "blue") * 4))
    assert [int(np.argmax(pixels[8, 8])) for pixels in all_pixels] == [0, 1, 2] * 4
    with pytest.raises(InvalidFields):
        await decoder.decode(b"nonsense")
    assert pid_of(decoder) == pid


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(kind: int, *others: bytes) -> bytes:
    """A picture of 2 by 2 pixels of this colour type, whose rows are all zeros."""
    head = struct.pack(">IIBBBBB", 2, 2, 8, kind, 0, 0, 0)
    rows = zlib.compress(bytes(2 * 9))
    return b"\x89PNG\r\n\x1a\n" + b"".join([chunk(b"IHDR", head), *others, chunk(b"IDAT", rows), chunk(b"IEND", b"")])


@pytest.mark.parametrize(
    "data", [png(3), png(3, chunk(b"tRNS", b"\0")), png(3, chunk(b"PLTE", b"")), png(3, chunk(b"PLTE", b"\1"))]
)
async def test_a_damaged_picture_does_not_end_the_child(decoder: ImageDecoder, data: bytes) -> None:
    await decoder.start()
    pid = pid_of(decoder)
    with suppress(InvalidFields):
        await decoder.decode(data)
    assert (await decoder.decode(picture()))[8, 8].tolist() == [255, 0, 0]
    assert pid_of(decoder) == pid


async def test_a_child_that_is_late_is_killed_and_replaced() -> None:
    decoder = ImageDecoder(InputsConfig(decode_timeout_s=1.5))
    await decoder.start()
    pid = pid_of(decoder)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(InvalidFields):
        await decoder.decode(picture())
    assert await gone(pid)
    assert (await decoder.decode(picture()))[8, 8].tolist() == [255, 0, 0]
    await decoder.close()


async def test_the_child_may_take_little_memory_and_write_no_file(decoder: ImageDecoder) -> None:
    await decoder.start()
    assert resource.prlimit(pid_of(decoder), resource.RLIMIT_AS)[1] < 2**29
    assert resource.prlimit(pid_of(decoder), resource.RLIMIT_FSIZE) == (0, 0)


async def test_a_child_that_died_while_waiting_costs_nobody_a_picture(decoder: ImageDecoder) -> None:
    await decoder.start()
    os.kill(pid_of(decoder), signal.SIGKILL)
    assert await gone(pid_of(decoder))
    await asyncio.sleep(0.05)
    assert (await decoder.decode(picture()))[8, 8].tolist() == [255, 0, 0]


async def test_a_cancelled_decode_leaves_no_answer_for_the_next(decoder: ImageDecoder) -> None:
    await decoder.start()
    os.kill(pid_of(decoder), signal.SIGSTOP)
    first = asyncio.create_task(decoder.decode(picture("red")))
    await asyncio.sleep(0.05)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await decoder.decode(picture("blue")))[8, 8].tolist() == [0, 0, 255]


async def test_closing_ends_the_child(decoder: ImageDecoder) -> None:
    await decoder.start()
    pid = pid_of(decoder)
    await decoder.close()
    assert await gone(pid)
    assert decoder.child_pid is None


async def test_a_child_that_does_not_come_up_is_our_failure_and_not_the_pictures(
    decoder: ImageDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "CHILD_MODULE", "serve_app.inputs.nowhere")
    with pytest.raises(ServiceError):
        await decoder.decode(picture())


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_works_on_a_loop_outside_the_main_thread(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    shapes: list[tuple[int, ...]] = []

    async def once() -> None:
        decoder = ImageDecoder(InputsConfig())
        shapes.append((await decoder.decode(picture(side=1500))).shape)
        await decoder.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(once())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert shapes == [(1500, 1500, 3)]


def test_the_child_ends_when_its_stdin_closes() -> None:
    done = subprocess.run([*CHILD, "1000", "1"], stdin=subprocess.DEVNULL, cwd=PROJECT, capture_output=True, timeout=30)
    assert done.returncode == 0
    assert done.stderr == b""


def test_the_child_ends_itself_over_a_picture_that_takes_too_long() -> None:
    data = picture(side=900)
    request = len(data).to_bytes(4, "big") + data
    done = subprocess.run([*CHILD, "1000000", "0.000001"], input=request, cwd=PROJECT, capture_output=True, timeout=30)
    assert done.returncode == -signal.SIGALRM


def test_the_child_imports_nothing_heavy() -> None:
    program = "import serve_app.inputs.decode_child, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=30)
    loaded = set(done.stdout.split())
    assert "PIL.Image" in loaded
    assert loaded.isdisjoint({"torch", "ray", "pydantic", "numpy", "asyncio", "httpx2"})
