"""The ASGI application around the routes: what every answer has, those of the last error handler included."""

from collections.abc import Collection
from typing import Any

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from serve_app.api.caching import NoStore

REQUEST_HEADERS = ("Authorization", "Key", "Content-Type", "Idempotency-Key", "Last-Event-ID")
"""What a page of another origin may send; the key in one of its three ways."""
ANSWER_HEADERS = ("Server-Timing", "Retry-After", "X-Request-ID", "ETag", "Allow", "WWW-Authenticate")
"""What it may read beside the body."""
METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")


def with_cors(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """The application with what lets pages of these origins call it, if there are any."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=REQUEST_HEADERS,
        expose_headers=ANSWER_HEADERS,
        allow_private_network=True,
    )


class Application(Starlette):
    """Starlette keeps middleware inside its last error handler; these stand outside, for a 500 needs them too.

    No credentials are allowed: keys travel in headers or bodies, never in cookies. Pages that the operator allows
    may come from a public site to a private address.
    """

    def __init__(self, cors_origins: Collection[str], **options: Any) -> None:  # noqa: ANN401 (Starlette's own)
        super().__init__(**options)
        self._cors_origins = cors_origins

    def build_middleware_stack(self) -> ASGIApp:
        """As Starlette says."""
        return with_cors(NoStore(super().build_middleware_stack()), self._cors_origins)
