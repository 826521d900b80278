"""The pages for browsers: everything of the OpenAPI document, as text that cannot be markup."""

import html
from typing import Any

import pytest

from serve_app.api.pages import docs, home
from serve_app.api.schema import openapi
from serve_app.config import POCKET, ModelEntry

DOCUMENT: Any = openapi()


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_the_documentation_names_every_route(path: str) -> None:
    page = docs(DOCUMENT)
    for verb in DOCUMENT["paths"][path]:
        assert f'<span class="verb">{verb.upper()}</span> <code>{html.escape(path)}</code>' in page


@pytest.mark.parametrize(
    "name", [name for name, part in DOCUMENT["components"]["schemas"].items() if "properties" in part]
)
def test_the_documentation_has_every_request_and_answer_with_its_fields(name: str) -> None:
    page = docs(DOCUMENT)
    section = page.partition(f"<h2>{name}</h2>")[2].partition("<h2>")[0]
    for field in DOCUMENT["components"]["schemas"][name]["properties"]:
        assert f"<code>{field}</code>" in section


def test_the_documentation_names_the_headers_that_are_read() -> None:
    page = docs(DOCUMENT)
    assert "<code>Idempotency-Key</code>" in page
    assert "<code>Last-Event-ID</code>" in page


def test_a_models_words_are_text() -> None:
    page = home([POCKET, ModelEntry(id="x", source="x", title="<b>bold</b>")])
    assert "<code>pocket</code>" in page
    assert "<b>bold</b>" not in page
