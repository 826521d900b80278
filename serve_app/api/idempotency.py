"""The Idempotency-Key header: a request that is sent again under its key is the same request.

After draft-ietf-httpapi-idempotency-key-header, with the key's text taken as it comes.
"""

import hashlib
import json
from collections.abc import Mapping

from serve_app.errors import InvalidFields, UnreadableBody

HEADER = "Idempotency-Key"
LONGEST_KEY = 255
LONG_TEXT = 4096
"""Characters."""
SENTENCE = f"The {HEADER} must be 1 to {LONGEST_KEY} printable ASCII characters."


def idempotency_of(header: str | None, body: Mapping[str, object]) -> tuple[str, str] | None:
    """The key and the SHA-256 of the body in hex; None without the header. Raises InvalidFields, UnreadableBody."""
    if header is None:
        return None
    if not (1 <= len(header) <= LONGEST_KEY and header.isascii() and header.isprintable()):
        raise InvalidFields({HEADER: [SENTENCE]})
    return header, body_digest(body)


def body_digest(body: Mapping[str, object]) -> str:
    """The SHA-256, in hex, of the fields in their canonical order, without the API key.

    The same fields have the same digest in every encoding of a body. A picture takes some 3 ms for each MB.
    """
    fields = {name: _short(value) for name, value in body.items() if name != "key"}
    try:
        text = json.dumps(fields, sort_keys=True)
    except RecursionError as error:
        raise UnreadableBody("nested too deeply") from error
    return hashlib.sha256(text.encode()).hexdigest()


def _short(value: object) -> object:
    """Pictures by their digests: to write them as JSON would take four times as long."""
    if isinstance(value, bytes):
        return {"file": hashlib.sha256(value).hexdigest()}
    if isinstance(value, str) and len(value) > LONG_TEXT:
        return {"text": hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()}
    return value
