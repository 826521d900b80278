"""The Server-Timing header, as browsers read it."""

from typing import Any

from serve_app.api.routes import IMG2IMG_PATHS
from serve_app.api.schema import openapi
from serve_app.api.server_timing import HEADER, server_timing


def test_stages_are_told_in_milliseconds_and_in_order() -> None:
    assert server_timing({"read": 0.00125, "engine": 1.5}) == "read;dur=1.25, engine;dur=1500.00"


def test_the_openapi_document_names_it_where_pictures_are_made_and_nowhere_else() -> None:
    document: Any = openapi()
    named = {
        path
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if HEADER in operation["responses"].get("200", {}).get("headers", {})
    }
    assert named == set(IMG2IMG_PATHS)
