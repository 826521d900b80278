"""What others may keep of our answers: finished permanent pictures for ever, everything else not at all.

A picture's link is told before the picture is there, so a 404 that a cache keeps would hide it.
"""

import hashlib

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NO_STORE = "no-store"


class NoStore:
    """ASGI middleware: an answer that says nothing about caching may not be kept. Stands outside all handlers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("Cache-Control", NO_STORE)
            await send(message)

        await self._app(scope, receive, told)


def kept_response(data: bytes, media_type: str, cache_control: str, if_none_match: str | None) -> Response:
    """An answer that may be kept as `cache_control` says: 304 without a body for who has these bytes already.

    Ranges are not served, which RFC 9110 leaves to the server: the whole is sent.
    """
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"Cache-Control": cache_control, "ETag": etag, "Accept-Ranges": "none"}
    if _matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)


def _matches(if_none_match: str | None, etag: str) -> bool:
    """RFC 9110's weak comparison."""
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return "*" in tags or etag in tags
