"""Checks an object against a CustomResourceDefinition as an API server with strict field validation would.

Not checked: rules in CEL (x-kubernetes-validations) and number formats such as int32.
"""

import functools
from pathlib import Path
from typing import Any

import jsonschema
import yaml

Schema = dict[str, Any]

_OBJECT_META: Schema = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "namespace": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
"""What a manifest may say in its metadata; the CRD leaves that to the API server."""


@functools.cache
def crd_schema(crd: Path, version: str) -> Schema:
    """The schema of one version of a CRD, as written."""
    # The C loader where there is one: a CRD is a megabyte, four seconds for the loader in Python.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    versions = yaml.load(crd.read_text(), Loader=loader)["spec"]["versions"]
    (found,) = [entry for entry in versions if entry["name"] == version]
    schema: Schema = found["schema"]["openAPIV3Schema"]
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    schema["properties"]["metadata"] = _OBJECT_META
    return schema


def without_nulls(value: object) -> object:
    """The value with every null field gone, as the API server prunes them before it fills defaults."""
    if isinstance(value, dict):
        return {key: without_nulls(field) for key, field in value.items() if field is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def with_defaults(value: object, schema: Schema) -> object:
    """The value with the schema's defaults where a field is missing."""
    if isinstance(value, list):
        return [with_defaults(item, schema.get("items", {})) for item in value]
    if not isinstance(value, dict):
        return value
    known = schema.get("properties", {})
    rest = schema.get("additionalProperties")
    rest = rest if isinstance(rest, dict) else {}
    missing = {name: sub["default"] for name, sub in known.items() if name not in value and "default" in sub}
    return {name: with_defaults(field, known.get(name, rest)) for name, field in (missing | value).items()}


def closed(schema: Schema) -> Schema:
    """The schema with unknown fields refused, and int-or-string spelled in plain JSON Schema."""
    result = dict(schema)
    if result.pop("x-kubernetes-int-or-string", False):
        result.pop("type", None)
        result["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "items" in result:
        result["items"] = closed(result["items"])
    if isinstance(result.get("additionalProperties"), dict):
        result["additionalProperties"] = closed(result["additionalProperties"])
    if "properties" in result:
        result["properties"] = {name: closed(field) for name, field in result["properties"].items()}
        if not result.get("x-kubernetes-preserve-unknown-fields"):
            result.setdefault("additionalProperties", False)
    return result


def complaints(thing: dict[str, Any], schema: Schema) -> list[str]:
    """What is wrong with the object, each as `path: message`; empty where it is valid."""
    validator = jsonschema.Draft202012Validator(closed(schema))
    errors = validator.iter_errors(with_defaults(without_nulls(thing), schema))
    return [f"{error.json_path}: {error.message}" for error in errors]
