"""Links: permanent ones are names, temporary ones are signed, expire, and fit one picture only."""

import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.api.links import Links, check_link, permanent_links, signed_links
from serve_app.config import StorageConfig
from serve_app.errors import LinkRefused
from serve_app.messages import cache_control, picture_names

UUID = "6ef3f81f-0d5a-4b7e-9c3e-2f1a0b9c8d7e"
KEPT = picture_names(UUID, 2, temporary=False)
TEMPORARY = picture_names(UUID, 2, temporary=True)
SECRET, BASE, NOW = b"s" * 32, "https://images.example.com/", 1_800_000_000.5


def links(presign: object = None, **storage: object) -> Links:
    return Links(StorageConfig.model_validate(storage), SECRET, presign)  # type: ignore[arg-type]


def parts(url: str) -> tuple[str, dict[str, str]]:
    """What the service sees of a link: the name after /files/ and the query."""
    split = urlsplit(url)
    return split.path.removeprefix("/files/"), dict(parse_qsl(split.query))


async def test_a_permanent_link_is_the_name_on_the_host_the_client_used() -> None:
    assert await links().links_for(KEPT, BASE, NOW) == (
        f"https://images.example.com/files/{UUID}-0.png",
        f"https://images.example.com/files/{UUID}-1.png",
    )


async def test_a_permanent_link_starts_with_the_public_url_where_there_is_one() -> None:
    made = await links(public_url="https://cdn.example.com/pictures/").links_for(KEPT, BASE, NOW)
    assert made[0] == f"https://cdn.example.com/pictures/{UUID}-0.png"


async def test_a_temporary_link_is_never_on_the_public_url_which_would_not_check_it() -> None:
    made = await links(public_url="https://cdn.example.com").links_for(TEMPORARY, BASE, NOW)
    assert all(url.startswith(f"https://images.example.com/files/temp/{UUID}-") for url in made)


async def test_a_temporary_link_is_good_until_it_expires() -> None:
    ours = links(temporary_s=60)
    for url in await ours.links_for(TEMPORARY, BASE, NOW):
        name, query = parts(url)
        assert query["expires"] == str(int(NOW) + 60)
        assert name in TEMPORARY
        ours.check(name, query, NOW)
        ours.check(name, query, NOW + 59)
        for late in (NOW + 60, NOW + 1e9):
            with pytest.raises(LinkRefused):
                ours.check(name, query, late)


async def test_a_link_is_the_same_whenever_and_wherever_it_is_made_for_the_same_end() -> None:
    assert signed_links(TEMPORARY, BASE, SECRET, 100.9) == signed_links(TEMPORARY, BASE, SECRET, 100.0)
    assert await links().links_for(TEMPORARY, BASE, NOW) == await links().links_for(TEMPORARY, BASE, NOW)


def test_a_tampered_link_is_refused() -> None:
    name, query = parts(signed_links(TEMPORARY, BASE, SECRET, NOW + 60)[0])
    check_link(name, query, SECRET, NOW)
    signature, expires = query["signature"], query["expires"]
    tampered = [
        (TEMPORARY[1], query),
        (name, {**query, "expires": str(int(expires) + 1)}),
        (name, {**query, "expires": "0" + expires}),
        (name, {**query, "expires": ""}),
        (name, {**query, "signature": signature[:-1] + ("0" if signature[-1] != "0" else "1")}),
        (name, {**query, "signature": signature.upper()}),
        (name, {**query, "signature": ""}),
        (name, {**query, "signature": "é" * 64}),
        (name, {**query, "signature": "\ud800"}),
        (name, {"expires": expires}),
        (name, {"signature": signature}),
        (name, {}),
    ]
    for bad_name, bad_query in tampered:
        with pytest.raises(LinkRefused):
            check_link(bad_name, bad_query, SECRET, NOW)


def test_a_link_that_another_secret_signed_is_refused() -> None:
    name, query = parts(signed_links(TEMPORARY, BASE, b"t" * 32, NOW + 60)[0])
    with pytest.raises(LinkRefused):
        check_link(name, query, SECRET, NOW)


@pytest.mark.parametrize("expires", ["-1", "+1", " 1", "1.5", "1e9", "nan", "inf", "١", "9" * 13, "x"])
def test_an_end_that_is_no_plain_number_is_refused_even_where_it_is_signed(expires: str) -> None:
    signed = hmac.new(SECRET, f"{TEMPORARY[0]}\n{expires}".encode(), hashlib.sha256).hexdigest()
    query = {"expires": expires, "signature": signed}
    with pytest.raises(LinkRefused):
        check_link(TEMPORARY[0], query, SECRET, 0.0)


def test_a_permanent_name_needs_no_signature_and_other_names_are_the_stores_to_refuse() -> None:
    for name in (*KEPT, "../x", "", "x.html"):
        check_link(name, {}, SECRET, NOW)


@given(st.text(max_size=80), st.dictionaries(st.sampled_from(["expires", "signature", "x"]), st.text(max_size=80)))
def test_nobody_guesses_a_link(name: str, query: dict[str, str]) -> None:
    with pytest.raises(LinkRefused):
        check_link(f"temp/{name}", query, SECRET, 0.0)


async def test_links_of_a_store_that_signs_its_own_come_from_it() -> None:
    asked: list[tuple[tuple[str, ...], float]] = []

    async def presign(names: Sequence[str], seconds: float) -> tuple[str, ...]:
        asked.append((tuple(names), seconds))
        return tuple(f"https://bucket/{name}" for name in names)

    ours = links(presign, temporary_s=60)
    assert await ours.links_for(TEMPORARY, BASE, NOW) == tuple(f"https://bucket/{name}" for name in TEMPORARY)
    assert await ours.links_for(KEPT, BASE, NOW) == permanent_links(KEPT, BASE)
    assert asked == [(TEMPORARY, 60)]


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes of 32"):
        Links(StorageConfig(), b"s" * 16)


def test_only_permanent_pictures_may_be_kept_by_caches() -> None:
    assert cache_control(KEPT[0]) == "public, max-age=31536000, immutable"
    assert cache_control(TEMPORARY[0]) == "private, no-store"
