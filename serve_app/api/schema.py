"""The OpenAPI 3.1 document of the routes that are served.

The request's schema comes from `api.fields` and the statuses from `api.problems`, so
neither can drift from what the server does.
"""

from enum import StrEnum

from serve_app.api.answer_schemas import SCHEMAS
from serve_app.api.body import FORM, MULTIPART
from serve_app.api.fields import FIELDS, Field
from serve_app.api.kinds import Schema
from serve_app.api.problems import TABLE
from serve_app.api.routes import (
    FILES_PATH,
    HEALTH_PATH,
    IMG2IMG_PATHS,
    MODEL_LIST_PATHS,
    MODELS_PATH,
    SCHEDULERS_PATH,
)

API_VERSION = "4"
JSON = "application/json"
BODY_TYPES = (JSON, FORM, MULTIPART)
KEY: Schema = {"type": ["string", "null"], "description": "The API key, unless a header carries it."}
KEY_WAYS: list[dict[str, list[str]]] = [{"bearer": []}, {"key_header": []}, {}]
"""A bearer token, a header, or none of both, which leaves the body."""
STATUSES = sorted({status for status, _ in TABLE.values()} - {405})
"""What any POST may fail with; another method than the described one is no part of the description."""


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
        "paths": _paths(),
        "components": {
            "schemas": {
                "Img2ImgRequest": request_schema(model_required=True),
                "DefaultModelRequest": request_schema(model_required=False),
                "KeyOnly": {"type": "object", "properties": {"key": KEY}},
                **SCHEMAS,
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key_header": {"type": "apiKey", "in": "header", "name": "key"},
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


def _paths() -> dict[str, object]:
    paths: dict[str, object] = {
        path: {"post": _img2img(path, model_required=model_required)} for path, model_required in IMG2IMG_PATHS.items()
    }
    for path in MODEL_LIST_PATHS:
        paths[path] = {"post": _post(path, "The catalogue", "KeyOnly", "ModelList")}
    paths[SCHEDULERS_PATH] = {"post": _post(SCHEDULERS_PATH, "The names of the schedulers", "KeyOnly", "Schedulers")}
    paths[MODELS_PATH] = {"get": _models()}
    paths[HEALTH_PATH] = {"get": _health()}
    paths[f"{FILES_PATH}/{{name}}"] = {"get": _file()}
    return paths


def _img2img(path: str, *, model_required: bool) -> Schema:
    request = "Img2ImgRequest" if model_required else "DefaultModelRequest"
    operation = _post(path, "Make pictures from a picture and a prompt", request, "Success")
    return {**operation, "responses": {**_ok("Success"), **_errors(STATUSES)}}


def _post(path: str, summary: str, request: str, answer: str) -> Schema:
    return {
        "operationId": path.removeprefix("/api/").replace("/", "_"),
        "summary": summary,
        "security": KEY_WAYS,
        "requestBody": {"content": {kind: {"schema": _ref(request)} for kind in BODY_TYPES}},
        "responses": {**_ok(answer), **_errors([400, 401, 413])},
    }


def _models() -> Schema:
    return {
        "operationId": "models",
        "summary": "The catalogue, with each model's VAEs, LoRAs and textual inversions",
        "security": KEY_WAYS[:2],
        "responses": {**_ok("Models"), **_errors([401])},
    }


def _health() -> Schema:
    return {
        "operationId": "healthz",
        "summary": "Whether the service is up",
        "security": [],
        "responses": {"200": {"description": "It is up."}, **_errors([503])},
    }


def _file() -> Schema:
    return {
        "operationId": "file",
        "summary": "A finished picture",
        "security": [],
        "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
        "responses": {
            "200": {"description": "The picture.", "content": {"image/png": {}}},
            **_errors([404]),
        },
    }


def _ok(answer: str) -> dict[str, object]:
    return {"200": {"description": "Done.", "content": {JSON: {"schema": _ref(answer)}}}}


def _errors(statuses: list[int]) -> dict[str, object]:
    return {
        str(status): {"description": _texts(status), "content": {JSON: {"schema": _ref("Error")}}}
        for status in statuses
    }


def _texts(status: int) -> str:
    return " · ".join(dict.fromkeys(text for other, text in TABLE.values() if other == status))


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
