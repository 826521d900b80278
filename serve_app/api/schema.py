"""The OpenAPI 3.1 document of the routes that are served.

The request's schema comes from `api.fields` and the statuses from `api.problems`, so
neither can drift from what the server does.
"""

from enum import StrEnum

from serve_app.api.answer_schemas import DESCRIPTIONS, META, MODEL, SCHEMAS
from serve_app.api.contents import ref
from serve_app.api.fields import FIELDS, Field
from serve_app.api.kinds import Schema
from serve_app.api.operations import TAGS, paths, webhooks
from serve_app.api.tickets import PARAMETER

API_VERSION = "4"
KEY: Schema = {"type": ["string", "null"], "description": "The API key, unless a header carries it."}
REQUEST_ID: Schema = {"type": ["integer", "string"], "description": "The job's id."}
ABOUT = """Image-to-image diffusion behind the hosted Dreambooth v4 API.

Bodies are JSON, a form, or multipart with `init_image` as a file. The key is shown in one of three ways: as
`Authorization: Bearer`, as a header `key`, or as `key` in the body. Numbers and flags may be strings; `null`, `""` and
`"null"` mean "not given"; unknown fields are passed over. Bad fields are answered all at once with HTTP 422."""
NAMED = {"Meta": META, "Model": MODEL}
"""Parts of answers that have names of their own, so that generated clients have types for them."""


def openapi(base_url: str = "/") -> Schema:
    """The whole document, made of plain dicts and lists; `base_url` is the service's own, as its client knows it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Darkroom",
            "version": API_VERSION,
            "summary": "Image-to-image diffusion, self-hosted.",
            "description": ABOUT,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": base_url.rstrip("/") or "/", "description": "This service."}],
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": paths(),
        "webhooks": webhooks(),
        "components": {"schemas": _schemas(), "securitySchemes": SECURITY_SCHEMES},
    }


SECURITY_SCHEMES: Schema = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The key as a bearer token."},
    "key_header": {"type": "apiKey", "in": "header", "name": "key", "description": "The key in a header."},
    "ticket": {
        "type": "apiKey",
        "in": "query",
        "name": PARAMETER,
        "description": "What POST /v1/jobs/{id}/ticket gives, for that job's events alone.",
    },
}
"""The third way of the key, `key` in the body, is a field of each body: OpenAPI has no scheme for it."""


def _schemas() -> Schema:
    bodies: dict[str, Schema] = {
        "Img2ImgRequest": request_schema(model_required=True),
        "DefaultModelRequest": request_schema(model_required=False),
        "Img2ImgUpload": upload_schema(model_required=True),
        "DefaultModelUpload": upload_schema(model_required=False),
        "KeyOnly": {"type": "object", "properties": {"key": KEY}},
        "FetchRequest": {
            "type": "object",
            "properties": {"key": KEY, "request_id": REQUEST_ID},
            "required": ["request_id"],
        },
    }
    told: dict[str, object] = {name: _by_name(schema) for name, schema in SCHEMAS.items() if name not in NAMED}
    return {
        name: {"description": DESCRIPTIONS[name], **schema}
        for name, schema in {**bodies, **NAMED, **told}.items()
        if isinstance(schema, dict)
    }


def _by_name(part: object) -> object:
    """The schema with references in the place of what has a name of its own."""
    for name, named in NAMED.items():
        if part is named:
            return ref(name)
    if isinstance(part, dict):
        return {key: _by_name(value) for key, value in part.items()}
    return [_by_name(value) for value in part] if isinstance(part, list) else part


def request_schema(*, model_required: bool) -> Schema:
    """The request's body: every field under its own name and its aliases."""
    properties: dict[str, object] = {"key": KEY}
    for field in FIELDS:
        properties[field.name] = _field_schema(field)
        for alias in field.aliases:
            properties[alias] = {**field.kind.schema(), "description": f"Same as {field.name}."}
    required = [field.name for field in FIELDS if field.required]
    if model_required:
        required.insert(0, "model_id")
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": True}


def upload_schema(*, model_required: bool) -> Schema:
    """The same body in multipart, where a picture is a file part; its text is read there too."""
    schema = request_schema(model_required=model_required)
    properties = schema["properties"]
    assert isinstance(properties, dict)
    file = {"type": "string", "format": "binary", "description": properties["init_image"]["description"]}
    return {**schema, "properties": {**properties, "init_image": file}}


def _field_schema(field: Field) -> Schema:
    schema = {**field.kind.schema(), "description": field.about}
    default = _as_sent(field.default)
    return schema if default is None else {**schema, "default": default}


def _as_sent(value: object) -> object:
    """A default as a client would write it; None where leaving the field out is the only way."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, StrEnum):
        return value.value
    return None if value == () else value
