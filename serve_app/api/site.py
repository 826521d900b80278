"""What people read in a browser, and the document that tools read: nothing of it asks for a key or knows a job."""

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from serve_app.api import pages
from serve_app.api.schema import openapi
from serve_app.api.viewer import docs_page, viewer_file
from serve_app.config import ModelEntry

Endpoint = Callable[[Request], Awaitable[Response]]


class Site:
    """The first page, the reference and its document; `base_url` tells the service's own URL as a client knows it."""

    def __init__(self, catalogue: Sequence[ModelEntry], base_url: Callable[[Request], str]) -> None:
        self._catalogue = catalogue
        self._base_url = base_url

    def table(self) -> list[tuple[str, Endpoint, list[str]]]:
        """Paths, endpoints and methods, as the ingress lists its own."""
        endpoints = {
            "/openapi.json": self._openapi,
            "/docs": self._docs,
            "/docs/{name}": self._docs_file,
            "/": self._home,
        }
        return [(path, endpoint, ["GET"]) for path, endpoint in endpoints.items()]

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(openapi(self._base_url(request)))

    async def _docs(self, request: Request) -> Response:
        return docs_page(self._base_url(request))

    async def _docs_file(self, request: Request) -> Response:
        return viewer_file(request)

    async def _home(self, _: Request) -> Response:
        return HTMLResponse(pages.home(self._catalogue), headers=pages.PLAIN_HEADERS)
