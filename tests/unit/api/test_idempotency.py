"""The Idempotency-Key: the same fields are the same request, in whatever way they come."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.api.body import read_body
from serve_app.api.idempotency import HEADER, body_digest, idempotency_of
from serve_app.api.problems import problem
from serve_app.errors import InvalidFields, UnreadableBody
from tests.unit.api.test_body_reading import FORM, JSON, MULTIPART, part, request_of

BODY: dict[str, object] = {"key": "k", "prompt": "a star", "seed": 7, "init_image": "https://example.com/a.png"}
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(), max_size=5)
VALUES = LEAVES | st.binary(max_size=5) | st.lists(LEAVES, max_size=3) | st.dictionaries(st.text(), LEAVES, max_size=3)


def test_without_the_header_there_is_no_idempotency() -> None:
    assert idempotency_of(None, BODY) is None


@pytest.mark.parametrize("header", ["a", "8e03978e-40d5-43dd-bc93-6894a57f9324", '"quoted"', "a b", "x" * 255, "~!"])
def test_a_key_is_taken_as_it_comes(header: str) -> None:
    assert idempotency_of(header, BODY) == (header, body_digest(BODY))
    assert len(body_digest(BODY)) == 64


@pytest.mark.parametrize("header", ["", "x" * 256, "a\tb", "a\x7f", "schlüssel", "a\nb", "\x00"])
def test_other_keys_are_bad_fields(header: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        idempotency_of(header, BODY)
    status, body, _ = problem(caught.value)
    assert (status, body["message"]) == (
        422,
        {HEADER: ["The Idempotency-Key must be 1 to 255 printable ASCII characters."]},
    )


@given(st.dictionaries(st.text(max_size=5), VALUES), st.randoms())
def test_the_order_of_the_fields_does_not_count(body: dict[str, object], chance: random.Random) -> None:
    items = list(body.items())
    chance.shuffle(items)
    assert body_digest(dict(items)) == body_digest(body)


@pytest.mark.parametrize("key", [None, "", "another", 7])
def test_the_api_key_is_no_part_of_the_request(key: object) -> None:
    assert body_digest({**BODY, "key": key}) == body_digest({name: BODY[name] for name in BODY if name != "key"})


@given(st.sampled_from(["prompt", "seed", "init_image", "more"]), VALUES)
def test_every_other_field_counts(name: str, value: object) -> None:
    if BODY.get(name, ...) != value:
        assert body_digest({**BODY, name: value}) != body_digest(BODY)


async def test_the_same_fields_have_one_digest_in_every_encoding() -> None:
    fields = {"prompt": "ein Käfer 🐞", "width": "512"}
    multipart = b"".join(part(name, value.encode()) for name, value in fields.items()) + b"--edge--\r\n"
    raws = [
        (json.dumps(fields).encode(), JSON),
        (json.dumps(dict(reversed(fields.items())), ensure_ascii=False, indent=1).encode(), JSON),
        ("prompt=ein+Käfer 🐞&width=512".encode(), FORM),
        (multipart, MULTIPART),
    ]
    digests = {body_digest(await read_body(request_of(raw, kind), 10_000)) for raw, kind in raws}
    assert digests == {body_digest(fields)}


def test_an_uploaded_picture_counts_by_its_bytes() -> None:
    first, second = (body_digest({"init_image": picture}) for picture in (b"\x89PNG", b"\x89PNG."))
    assert first != second
    assert first == body_digest({"init_image": b"\x89PNG"})
    assert first != body_digest({"init_image": "\x89PNG"})


@pytest.mark.parametrize("length", [4096, 4097, 100_000])
def test_a_long_text_counts_to_its_last_character(length: int) -> None:
    digests = {body_digest({"init_image": "A" * (length - 1) + last}) for last in ("A", "B", "ü", "\ud800", "")}
    assert len(digests) == 5


def test_a_body_nested_too_deeply_to_be_written_is_unreadable() -> None:
    body: dict[str, object] = {}
    for _ in range(100_000):
        body = {"a": body}
    with pytest.raises(UnreadableBody):
        body_digest(body)
    while body:  # taken apart by hand: the interpreter would recurse
        body = body["a"]  # type: ignore[assignment]
