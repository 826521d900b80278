"""The pages for browsers: what this is, the API's reference, and what stands where nothing is. Nothing from elsewhere.

Only the reference runs scripts, those of `viewer`; without them it is plain text.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from serve_app.config import ModelEntry

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fafafa}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.3rem .6rem;text-align:left;
vertical-align:top}code,pre{background:#eee;padding:.1rem .3rem;border-radius:3px}pre{padding:.6rem;overflow:auto}
h2{margin-top:2rem}.verb{font-weight:600}
"""


STYLE_SOURCE = f"'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
"""What a Content-Security-Policy calls our one style sheet."""
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
PLAIN_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src {STYLE_SOURCE}; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    **HEADERS,
}
"""Of the pages without scripts."""
VIEWER = (
    '<link rel="stylesheet" href="docs/swagger-ui.css"><link rel="icon" type="image/png" href="docs/favicon-32x32.png">'
    '<div id="viewer"></div><script src="docs/swagger-ui-bundle.js"></script><script src="docs/start.js"></script>'
)


def wants_page(method: str, path: str, accept: str) -> bool:
    """Whether a person looks at a refusal in a browser: programs call the API, or do not ask for HTML."""
    kinds = {kind.partition(";")[0].strip().lower() for kind in accept.split(",")}
    is_browser = "text/html" in kinds and "application/json" not in kinds
    return method in ("GET", "HEAD") and is_browser and not path.startswith(("/api/", "/v1/"))


def refused(status: int, text: str) -> str:
    """The page of a 404, or of another refusal."""
    return _page(
        f"{status} · Darkroom",
        f"<h1>{status}</h1><p>{_text(text)}.</p><p>A picture whose link is new may still be in the making: try again. "
        'Else begin at the <a href="/">first page</a> or the <a href="/docs">API documentation</a>.</p>',
    )


def home(catalogue: Sequence[ModelEntry]) -> str:
    """The page at `/`."""
    rows = [(_code(entry.id), _text(entry.title or entry.id), _text(entry.description)) for entry in catalogue]
    return _page(
        "Darkroom",
        "<h1>Darkroom</h1><p>A self-hosted server for image-to-image diffusion. Send a picture and a prompt to "
        "<code>POST /api/v4/dreambooth/img2img</code>, get new pictures back.</p>"
        '<p><a href="/docs">API documentation</a> · <a href="/openapi.json">OpenAPI document</a> · '
        '<a href="/healthz">health</a></p><h2>Models</h2>' + _table(("model_id", "name", "what it draws"), rows),
    )


def docs(schema: Mapping[str, Any]) -> str:
    """The page at `/docs`: the viewer, and where there are no scripts the OpenAPI document as tables."""
    operations = [
        (
            f'<span class="verb">{verb.upper()}</span> {_code(path)}',
            _text(operation.get("summary", "")),
            _headers(operation),
        )
        for path, verbs in schema["paths"].items()
        for verb, operation in verbs.items()
    ]
    parts = [
        f"<h2>{_text(name)}</h2>" + _table(("field", "type and range", "default", "what it is"), _fields(part))
        for name, part in schema["components"]["schemas"].items()
        if "properties" in part
    ]
    return _document(
        "Darkroom API",
        f"{VIEWER}<noscript><style>{STYLE}</style><h1>Darkroom API</h1><p>The same as a document for tools: "
        '<a href="/openapi.json">/openapi.json</a>.</p>'
        + _table(("route", "what it does", "headers"), operations)
        + "".join(parts)
        + "</noscript>",
    )


def _headers(operation: Mapping[str, Any]) -> str:
    """The headers that an operation reads beside the key's."""
    parameters = operation.get("parameters", ())
    return " ".join(f"{_code(one['name'])} {_text(one['description'])}" for one in parameters if one["in"] == "header")


def _fields(part: Mapping[str, Any]) -> list[tuple[str, ...]]:
    required = part.get("required", ())
    return [
        (
            _code(name) + (" *" if name in required else ""),
            _code(_constraint(field)),
            _code(json.dumps(field["default"])) if "default" in field else "",
            _text(field.get("description", "")),
        )
        for name, field in part["properties"].items()
    ]


def _constraint(field: Mapping[str, Any]) -> str:
    """The part of a JSON schema that says what values are good."""
    said = {key: value for key, value in field.items() if key not in ("description", "default", "title", "examples")}
    if "properties" in said:
        said = {"type": "object", "properties": list(said["properties"])}
    return json.dumps(said).strip("{}").replace('"', "")


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _page(title: str, body: str) -> str:
    return _document(title, f"<style>{STYLE}</style>{body}")


def _document(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><body>{body}</body></html>'
    )


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>"


def _text(text: str) -> str:
    return html.escape(text)
