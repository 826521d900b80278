"""The OpenAPI document as a reference: complete, with examples that are true, and good for generators."""

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator.schemas import schema_v31
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from serve_app.api.examples import DEFAULT_MODEL_REQUEST, IMG2IMG_REQUEST
from serve_app.api.schema import openapi
from serve_app.api.wire import parse_img2img

HOST = "https://images.example.com/"
DOCUMENT: Any = openapi(HOST)
OPERATIONS = [(path, verb) for path, verbs in DOCUMENT["paths"].items() for verb in verbs]
URI = "urn:document"
REGISTRY: Registry[Any] = Registry().with_resource(URI, DRAFT202012.create_resource(DOCUMENT))


def absolute(part: Any) -> Any:  # noqa: ANN401 (JSON may be anything)
    """The schema with its references led to the document."""
    if isinstance(part, dict):
        return {key: URI + value if key == "$ref" else absolute(value) for key, value in part.items()}
    return [absolute(child) for child in part] if isinstance(part, list) else part


def contents() -> Iterator[tuple[str, Any]]:
    """Every body and answer that has a schema, with where it stands."""
    sent = [(f"{verb} {path}", DOCUMENT["paths"][path][verb]) for path, verb in OPERATIONS]
    sent += [(name, hook["post"]) for name, hook in DOCUMENT["webhooks"].items()]
    for where, operation in sent:
        for part in (operation.get("requestBody", {}), *operation["responses"].values()):
            yield from ((where, media) for media in part.get("content", {}).values() if "schema" in media)


def test_the_document_is_valid_openapi() -> None:
    assert [error.message for error in Draft202012Validator(schema_v31).iter_errors(DOCUMENT)] == []


def test_the_document_says_where_the_service_is_its_licence_and_all_ways_of_a_key() -> None:
    assert DOCUMENT["servers"][0]["url"] == HOST.rstrip("/")
    assert openapi()["servers"] == [{"url": "/", "description": "This service."}]
    assert DOCUMENT["info"]["license"]["identifier"] == "Apache-2.0"
    assert set(DOCUMENT["components"]["securitySchemes"]) == {"bearer", "key_header", "ticket"}
    for name in ("Img2ImgRequest", "DefaultModelRequest", "KeyOnly", "FetchRequest"):
        assert "key" in DOCUMENT["components"]["schemas"][name]["properties"]


@pytest.mark.parametrize(("path", "verb"), OPERATIONS)
def test_every_operation_has_a_tag_a_summary_and_a_description(path: str, verb: str) -> None:
    operation = DOCUMENT["paths"][path][verb]
    assert operation["summary"]
    assert operation["description"]
    assert len(operation["tags"]) == 1
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    assert all(parameter.get("description") for parameter in operation.get("parameters", ()))


def test_every_schema_is_described_and_arrays_say_what_is_in_them() -> None:
    def arrays(part: object) -> Iterator[Any]:
        if isinstance(part, dict):
            if part.get("type") == "array":
                yield part
            part = list(part.values())
        for child in part if isinstance(part, list) else ():
            yield from arrays(child)

    schemas = DOCUMENT["components"]["schemas"]
    assert [name for name, schema in schemas.items() if not schema.get("description")] == []
    assert [array for array in arrays(schemas) if "items" not in array] == []
    assert schemas["Processing"]["properties"]["meta"] == {"$ref": "#/components/schemas/Meta"}


def test_every_body_and_answer_has_an_example_that_its_schema_takes() -> None:
    for where, media in contents():
        assert media["examples"], where
        validator = Draft202012Validator(absolute(media["schema"]), registry=REGISTRY)
        for name, example in media["examples"].items():
            assert [error.message for error in validator.iter_errors(example["value"])] == [], (where, name)


def test_a_picture_is_a_file_where_the_body_is_multipart() -> None:
    body = DOCUMENT["paths"]["/api/v4/dreambooth/img2img"]["post"]["requestBody"]["content"]
    name = body["multipart/form-data"]["schema"]["$ref"].rpartition("/")[2]
    assert DOCUMENT["components"]["schemas"][name]["properties"]["init_image"]["format"] == "binary"


def test_the_examples_of_requests_are_requests() -> None:
    assert parse_img2img(IMG2IMG_REQUEST, model_required=True).model_id == "pocket"
    assert parse_img2img(DEFAULT_MODEL_REQUEST, model_required=False).model_id is None
