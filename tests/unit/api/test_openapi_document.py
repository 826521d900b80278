"""The OpenAPI document: it describes the routes that are there and the reader as it is."""

import json
from collections.abc import Iterator
from string import Formatter
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from serve_app.api.fields import FIELDS
from serve_app.api.routes import FETCH_ID_PATHS, FETCH_PATHS, IMG2IMG_PATHS
from serve_app.api.schema import openapi, request_schema
from serve_app.api.wire import parse_img2img

DOCUMENT: Any = openapi()
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
LEAST = {"model_id": "pocket", "prompt": "a red star", "init_image": "https://example.com/a.png"}


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (value for name, value in node.items() if name == "$ref")
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from references(child)


def embedded_schemas() -> Iterator[Any]:
    yield from DOCUMENT["components"]["schemas"].values()
    for path, method in OPERATIONS:
        operation = DOCUMENT["paths"][path][method]
        yield from (parameter["schema"] for parameter in operation.get("parameters", ()))
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        yield from (
            media["schema"] for body in bodies for media in body.get("content", {}).values() if "schema" in media
        )


def test_every_served_route_is_described() -> None:
    assert sorted(OPERATIONS) == sorted(
        [
            *((path, "post") for path in IMG2IMG_PATHS),
            *((path, "post") for path in FETCH_PATHS),
            *((path, method) for path in FETCH_ID_PATHS for method in ("get", "post")),
            ("/api/v4/dreambooth/model_list", "post"),
            ("/api/v3/dreambooth/model_list", "post"),
            ("/api/v1/enterprise/schedulers_list", "post"),
            ("/api/v3/system_load", "post"),
            ("/v1/jobs/{id}", "get"),
            ("/v1/jobs/{id}", "delete"),
            ("/v1/jobs/{id}/events", "get"),
            ("/v1/jobs/{id}/ticket", "post"),
            ("/healthz", "get"),
            ("/readyz", "get"),
            ("/v1/models", "get"),
            ("/v1/models/{id}", "get"),
            ("/files/{name}", "get"),
        ]
    )


def test_the_document_is_json_with_the_parts_that_openapi_requires() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    ids = [DOCUMENT["paths"][path][method]["operationId"] for path, method in OPERATIONS]
    ids += [DOCUMENT["webhooks"][name]["post"]["operationId"] for name in DOCUMENT["webhooks"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation_has_described_answers_and_its_path_parameters(path: str, method: str) -> None:
    operation = DOCUMENT["paths"][path][method]
    assert "200" in operation["responses"]
    assert all(answer["description"] for answer in operation["responses"].values())
    in_path = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
    assert in_path == {name for _, name, _, _ in Formatter().parse(path) if name}


def test_every_embedded_schema_is_a_schema() -> None:
    for schema in embedded_schemas():
        Draft202012Validator.check_schema(schema)


def test_every_reference_leads_somewhere() -> None:
    for reference in set(references(DOCUMENT)):
        assert reference.removeprefix("#/components/schemas/") in DOCUMENT["components"]["schemas"]


def test_the_request_schema_has_every_field_with_its_default() -> None:
    properties: Any = request_schema(model_required=True)["properties"]
    for field in FIELDS:
        assert properties[field.name]["description"] == field.about
        assert set(field.aliases) <= properties.keys()
    assert properties["width"]["minimum"] == 64
    assert properties["guidance_scale"]["default"] == 7.5
    assert properties["tomesd"]["default"] == "yes"
    assert properties["safety_checker_type"]["default"] == "sensitive_content_text"


def test_only_routes_with_models_require_one() -> None:
    assert request_schema(model_required=True)["required"] == ["model_id", "prompt", "init_image"]
    assert request_schema(model_required=False)["required"] == ["prompt", "init_image"]


def test_the_described_defaults_are_what_the_reader_uses() -> None:
    properties: Any = request_schema(model_required=True)["properties"]
    defaults = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
    assert len(defaults) > 10
    assert parse_img2img({**LEAST, **defaults}, model_required=True) == parse_img2img(LEAST, model_required=True)


@pytest.mark.parametrize(
    ("fields", "good"),
    [
        ({"width": 64, "tomesd": True, "seed": None, "scheduler": "", "lora_strength": "0.5,0.6"}, True),
        ({"width": "512", "steps": "20", "multi_lingual": [], "whatever": {}}, True),
        ({"width": 63}, False),
        ({"guidance_scale": 20.5}, False),
        ({"scheduler": "Euler"}, False),
        ({"prompt": 7}, False),
    ],
)
def test_the_request_schema_agrees_with_the_reader(fields: dict[str, object], good: bool) -> None:
    assert Draft202012Validator(request_schema(model_required=True)).is_valid({**LEAST, **fields}) is good
