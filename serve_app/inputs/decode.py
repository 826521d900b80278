"""Untrusted bytes to checked RGB, by way of a child process that can be killed at no loss.

Owns the child's life and the sentences in which an init image is refused. What happens to the bytes
is in `decode_child`; it is started once and kept, and replaced when it dies or is late.
"""

import asyncio
import base64
import logging
import re
import sys
import urllib.parse
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import numpy as np

from serve_app.config import IMPORTED_FROM, InputsConfig
from serve_app.errors import DecoderUnavailable, InvalidFields
from serve_app.inputs.decode_child import LENGTH, REPLY, Verdict
from serve_app.messages import Pixels
from serve_app.urls import DATA_HEAD

CHILD_MODULE = "serve_app.inputs.decode_child"
START_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 2.0
READ_AHEAD = 2**20
"""Bytes of the child's answer that asyncio buffers before it makes the child wait."""

NOT_AN_IMAGE = "The init image must be an image."
WANTED = "The init image must be a URL that starts with http:// or https://, base64 text, or an uploaded file."
WRONG_TYPE = "The init image must be a file of type: png, jpeg, webp."

TOO_LATE = "The init image takes too long to read."
NO_PICTURE = "not a PNG, JPEG or WebP"
DAMAGED = "the picture is damaged or cut off"

DATA_URI = re.compile(r"\s*data:", re.IGNORECASE)
LINE_BREAK = re.compile(r"[ \t]*[\r\n]\s*")
NO_DIGIT = re.compile(r"[^A-Za-z0-9+/]")
FILE_NAME = re.compile(r"[^,<>\"\n]{1,300}\.[A-Za-z0-9]{2,5}(?:[?#].*)?")
URL_SAFE_TO_PLAIN = str.maketrans("-_", "+/")

logger = logging.getLogger(__name__)


def decode_base64(text: str) -> bytes:
    """The bytes of a data URI or of bare base64.

    Line breaks, missing padding, percent escapes and the URL-safe alphabet are tolerated. What does not decode
    exactly raises InvalidFields.
    """
    if FILE_NAME.fullmatch(text.strip()):
        raise refusal(WANTED)
    head = DATA_HEAD.match(text)
    if head is None and DATA_URI.match(text):
        raise not_base64("a data URI says ;base64, before its data")
    payload = text[head.end() :] if head else text
    payload = LINE_BREAK.sub("", _unescaped(payload).strip()).translate(URL_SAFE_TO_PLAIN)
    digits = payload.rstrip("=")
    if not digits:
        raise not_base64("it is empty")
    if wrong := NO_DIGIT.search(digits):
        raise not_base64(_about(wrong))
    return _exactly(digits, len(payload) - len(digits))


def _unescaped(payload: str) -> str:
    return urllib.parse.unquote(payload) if "%" in payload else payload


def _exactly(digits: str, padding: int) -> bytes:
    """The bytes of base64's digits, of which none is too many or left over."""
    missing = -len(digits) % 4
    if missing == 3 or padding > missing:
        raise not_base64("its length is not that of base64, something is missing or too much")
    data = base64.b64decode(digits + "=" * missing)
    if missing and base64.b64encode(data[missing - 3 :]).decode().rstrip("=") != digits[missing - 4 :]:
        raise not_base64("its end is missing")
    return data


def _about(wrong: re.Match[str]) -> str:
    place = f"at character {wrong.start() + 1}"
    if wrong[0] == " ":
        return f"there is a blank {place}; a + that was not escaped becomes one"
    return f"{wrong[0]!a} {place} is none of its characters"


def not_base64(why: str) -> InvalidFields:
    """The failure of a text that is neither a URL nor base64."""
    return refusal(f"The init image must be valid base64: {why}.")


def refusal(sentence: str, reason: str = "") -> InvalidFields:
    """The failure that tells a client about its init image; `reason` is for one that came from a URL."""
    return InvalidFields({"init_image": [sentence]}, reason)


class ImageDecoder:
    """Decodes one picture at a time in a child process. Use one per process and close it."""

    def __init__(self, config: InputsConfig) -> None:
        self._config = config
        self._lock = asyncio.Lock()
        self._child: DecodeChild | None = None
        """Written under the lock; None before the first use and after a child was lost."""

    @property
    def child_pid(self) -> int | None:
        """The waiting child's process id, for whoever watches it."""
        return self._child.process.pid if self._child else None

    async def start(self) -> None:
        """Start the child now, not with the first picture. Raises DecoderUnavailable where it does not come up."""
        async with self._exclusive_child():
            pass

    async def decode(self, data: bytes) -> Pixels:
        """RGB in sRGB, uint8, shape (height, width, 3), read-only: the first frame, upright, on white.

        PNG, JPEG and WebP by content; large ones at a scale that covers any job. Raises InvalidFields for everything
        else, and for pictures over the caps of bytes, pixels and seconds; DecoderUnavailable where no child comes up.
        """
        most = self._config.max_image_bytes
        if len(data) > most:
            raise refusal(f"The init image may not be greater than {most} bytes.", f"larger than {most} bytes")
        try:
            async with self._exclusive_child() as child, asyncio.timeout(self._config.decode_timeout_s):
                verdict, pixels = await child.ask(data)
        except TimeoutError as error:
            logger.warning("The decoder's child was late over %d bytes", len(data))
            raise refusal(TOO_LATE, "the picture takes too long to read") from error
        except (EOFError, ConnectionError) as error:
            logger.warning("The decoder's child was lost over %d bytes: %r", len(data), error)
            raise refusal(NOT_AN_IMAGE, DAMAGED) from error
        if verdict is Verdict.OK:
            return pixels
        raise self._refusal(verdict)

    def _refusal(self, verdict: Verdict) -> InvalidFields:
        most = self._config.max_image_pixels
        if verdict is Verdict.TOO_MANY_PIXELS:
            return refusal(f"The init image may not be greater than {most} pixels.", f"more than {most} pixels")
        if verdict is Verdict.DAMAGED:
            return refusal(NOT_AN_IMAGE, DAMAGED)
        return refusal(WRONG_TYPE if verdict is Verdict.WRONG_TYPE else NOT_AN_IMAGE, NO_PICTURE)

    @asynccontextmanager
    async def _exclusive_child(self) -> AsyncIterator["DecodeChild"]:
        """A ready child for one caller. Whatever breaks off an exchange, cancellation too, costs the child its life."""
        async with self._lock:
            child, self._child = self._child, None
            if child is None or child.process.returncode is not None:
                child = await DecodeChild.start(self._config)
            try:
                yield child
            except BaseException:
                await child.kill()
                raise
            self._child = child

    async def close(self) -> None:
        """End the child; it ends by itself too when this process does."""
        async with self._lock:
            child, self._child = self._child, None
            if child is not None:
                await child.close()


class DecodeChild:
    """One child process and the frames spoken with it."""

    def __init__(self, process: Process, max_pixels: int) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._max_pixels = max_pixels

    @classmethod
    async def start(cls, config: InputsConfig) -> Self:
        """A child that has said it is ready. Raises DecoderUnavailable."""
        limits = (str(config.max_image_pixels), str(config.decode_timeout_s))
        command = (sys.executable, "-m", CHILD_MODULE, *limits)
        # A session of its own keeps a Ctrl-C at the terminal from it. Nothing of the environment is its business.
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, cwd=IMPORTED_FROM, env={}, limit=READ_AHEAD, start_new_session=True
        )
        child = cls(process, config.max_image_pixels)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await child._answer()
        except (TimeoutError, EOFError, ConnectionError) as error:
            await child.kill()
            raise DecoderUnavailable("the decoder's child process did not start") from error
        except BaseException:
            await child.kill()
            raise
        return child

    async def ask(self, data: bytes) -> tuple[Verdict, Pixels]:
        """What the child makes of these bytes. Raises EOFError or ConnectionError when it dies over them."""
        self._stdin.write(LENGTH.pack(len(data)))
        self._stdin.write(data)
        await self._stdin.drain()
        return await self._answer()

    async def _answer(self) -> tuple[Verdict, Pixels]:
        verdict, width, height = REPLY.unpack(await self._stdout.readexactly(REPLY.size))
        if verdict > max(Verdict) or width * height > self._max_pixels:
            raise ConnectionError("the decoder's child broke the protocol")
        rgb = await self._stdout.readexactly(width * height * 3)
        return Verdict(verdict), np.frombuffer(rgb, np.uint8).reshape(height, width, 3)

    async def kill(self) -> None:
        """End the process at once and take what it leaves."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()

    async def close(self) -> None:
        """End the process by closing its stdin, or by force where that does not do."""
        self._stdin.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.process.communicate()
        except TimeoutError:
            await self.kill()
