"""What bodies and answers of the OpenAPI document are made of: references to schemas, with their examples."""

from serve_app.api.body import FORM, MULTIPART
from serve_app.api.examples import EXAMPLES, error_example
from serve_app.api.failures import code_of
from serve_app.api.kinds import Schema
from serve_app.api.problems import TABLE

JSON = "application/json"
BODY_TYPES = (JSON, FORM, MULTIPART)
UPLOADS = {"Img2ImgRequest": "Img2ImgUpload", "DefaultModelRequest": "DefaultModelUpload"}
"""Bodies that hold a picture, and what they are called where it is a file part."""


def ref(name: str) -> Schema:
    """A schema of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def content(*names: str) -> Schema:
    """One of these schemas, with an example of each."""
    schema = ref(names[0]) if len(names) == 1 else {"anyOf": [ref(name) for name in names]}
    return {"schema": schema, "examples": {name: {"value": EXAMPLES[name]} for name in names}}


def body(request: str, *, required: bool) -> Schema:
    """A request's body, in any of the three encodings."""
    named = {kind: UPLOADS.get(request, request) if kind == MULTIPART else request for kind in BODY_TYPES}
    return {"required": required, "content": {kind: content(name) for kind, name in named.items()}}


def ok(*names: str, headers: Schema | None = None) -> dict[str, object]:
    """An answer with status 200 of one of these schemas."""
    told: Schema = {"description": "Done.", "content": {JSON: content(*names)}}
    return {"200": told if headers is None else {**told, "headers": headers}}


def errors(statuses: list[int]) -> dict[str, object]:
    """The answers to failures with these statuses."""
    return {str(status): _error(status) for status in statuses}


def _error(status: int) -> Schema:
    kinds = [cls for cls, (other, _) in TABLE.items() if other == status]
    shown = {code_of(cls): {"value": error_example(cls)} for cls in kinds}
    texts = " · ".join(dict.fromkeys(TABLE[cls][1] for cls in kinds))
    return {"description": texts, "content": {JSON: {"schema": ref("Error"), "examples": shown}}}
