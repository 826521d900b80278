"""The OpenAPI 3.1 document of the routes that are served.

The request's schema comes from `api.fields` and the statuses from `api.problems`, so
neither can drift from what the server does.
"""

from enum import StrEnum

from serve_app.api.answer_schemas import SCHEMAS
from serve_app.api.fields import FIELDS, Field
from serve_app.api.kinds import Schema
from serve_app.api.operations import paths, webhooks
from serve_app.api.tickets import PARAMETER

API_VERSION = "4"
KEY: Schema = {"type": ["string", "null"], "description": "The API key, unless a header carries it."}
REQUEST_ID: Schema = {"type": ["integer", "string"], "description": "The job's id."}


def openapi() -> Schema:
    """The whole document, made of plain dicts and lists."""
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Darkroom",
            "version": API_VERSION,
            "description": "Image-to-image diffusion behind the hosted Dreambooth v4 API.",
        },
        "paths": paths(),
        "webhooks": webhooks(),
        "components": {
            "schemas": {
                "Img2ImgRequest": request_schema(model_required=True),
                "DefaultModelRequest": request_schema(model_required=False),
                "KeyOnly": {"type": "object", "properties": {"key": KEY}},
                "FetchRequest": {
                    "type": "object",
                    "properties": {"key": KEY, "request_id": REQUEST_ID},
                    "required": ["request_id"],
                },
                **SCHEMAS,
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key_header": {"type": "apiKey", "in": "header", "name": "key"},
                "ticket": {"type": "apiKey", "in": "query", "name": PARAMETER},
            },
        },
    }


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
