"""The reference at /docs: Swagger UI with try-it, its files from a package that is installed with us, no CDN.

The page without scripts is plain text from the same document.
"""

from functools import lru_cache
from importlib import resources

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from serve_app.api import pages
from serve_app.api.caching import kept_response
from serve_app.api.schema import openapi
from serve_app.errors import RouteNotFound

PACKAGE = "fastapi_swagger"
"""Ships swagger-ui-dist as it is (Apache 2.0)."""
FOLDER = "resources"
TYPES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
START = "start.js"
START_SCRIPT = b"""window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#viewer",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  persistAuthorization: false,
  validatorUrl: null,
});
"""
ASK_AGAIN = "no-cache"
"""Kept, and compared by its ETag each time: another version of the package has other files of the same names."""


def docs_page(base_url: str) -> HTMLResponse:
    """The page; it may call nothing but this service, as its client knows it."""
    headers = {"Content-Security-Policy": _policy(base_url), **pages.HEADERS}
    return HTMLResponse(pages.docs(openapi(base_url)), headers=headers)


def _policy(base_url: str) -> str:
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self' {pages.STYLE_SOURCE}; img-src 'self' data: blob:; "
        f"connect-src 'self' {base_url.rstrip('/')}/; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def viewer_file(request: Request) -> Response:
    """One of the viewer's files. Raises RouteNotFound for any other name."""
    data, media_type = _file(request.path_params["name"])
    response = kept_response(data, media_type, ASK_AGAIN, request.headers.get("if-none-match"))
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@lru_cache(maxsize=len(TYPES) + 1)
def _file(name: str) -> tuple[bytes, str]:
    if name == START:
        return START_SCRIPT, TYPES["swagger-ui-bundle.js"]
    if name not in TYPES:
        raise RouteNotFound(name)
    return (resources.files(PACKAGE) / FOLDER / name).read_bytes(), TYPES[name]
