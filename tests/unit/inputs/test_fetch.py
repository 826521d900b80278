"""The downloader: where it goes, where it refuses to go, and when it stops."""

import asyncio
import gzip
import ssl
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.config import InputsConfig
from serve_app.errors import ImageFetchFailed
from serve_app.inputs.fetch import ImageFetcher, Resolver, resolve_name
from tests.unit.inputs.loopback_site import Answer, Site, plain, redirect

LOOPBACK = (ip_network("127.0.0.0/8"),)
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody; it is made once because the system's certificates take a tenth of a second to load."""


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    yield site
    await site.close()


def names(**addresses: str | Sequence[str]) -> Resolver:
    """A resolver that knows these names (with _ for a dot) and no others."""

    async def resolve(host: str, port: int) -> Sequence[str]:  # noqa: ARG001
        found = addresses.get(host.replace(".", "_"))
        if found is None:
            raise OSError(f"no such host: {host}")
        return [found] if isinstance(found, str) else found

    return resolve


@asynccontextmanager
async def fetching(resolve: Resolver = resolve_name, **options: object) -> AsyncIterator[ImageFetcher]:
    defaults = {"allowed_networks": LOOPBACK, "fetch_timeout_s": 30.0}
    fetcher = ImageFetcher(InputsConfig.model_validate(defaults | options), resolve, NO_TLS)
    yield fetcher
    await fetcher.close()


async def refused(url: str, resolve: Resolver = resolve_name, **options: object) -> str:
    """Why a fetch of this URL fails, for the logs."""
    async with fetching(resolve, **options) as fetcher:
        with pytest.raises(ImageFetchFailed) as caught:
            await fetcher.fetch(url)
    return caught.value.detail


async def test_a_url_gives_its_bytes_and_the_server_sees_the_name(site: Site) -> None:
    site.answers["/a.png?x=1"] = plain(b"picture")
    port = await site.open()
    async with fetching(names(pictures_test="127.0.0.1")) as fetcher:
        assert await fetcher.fetch(f"http://pictures.test:{port}/a.png?x=1") == b"picture"
    assert site.hosts == [f"pictures.test:{port}"]


async def test_a_body_without_a_length_is_read_to_its_end(site: Site) -> None:
    async def until_close(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(100_000))

    site.answers["/"] = until_close
    port = await site.open()
    async with fetching() as fetcher:
        assert await fetcher.fetch(f"http://127.0.0.1:{port}/") == bytes(100_000)


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "127.1", "0x7f.1", "localhost", "0", "[::1]", "[::]"])
async def test_no_spelling_of_this_machine_passes(host: str) -> None:
    assert "not public" in await refused(f"http://{host}:9/", allowed_networks=())


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.com/a.png", "file:///etc/passwd", "gopher://127.0.0.1/", "//example.com/", "a.png", ""),
        *("http://", "http:///a.png", "http://user@127.0.0.1/", "http://user:word@127.0.0.1/", "http://[::1"),
        *("http://127.0.0.1:99999/", "http://127.0.0.1:x/", "http://0177.0.0.1/", "http://1.2.3.4.5/", "http://a\0b/"),
        *("http://" + "a" * 70 + ".com/", "http://127.0.0.1/" + "a" * 70_000, "http://127.0.0.1:0/"),
    ],
)
async def test_a_url_of_another_kind_is_refused(url: str) -> None:
    assert await refused(url)


@settings(deadline=None)
@given(
    st.lists(st.ip_addresses(v=4).map(str), min_size=1, max_size=3),
    st.sampled_from(["10.0.0.7", "169.254.169.254", "::1", "64:ff9b::7f00:1", "::ffff:10.0.0.1", "2002:7f00:1::"]),
    st.randoms(use_true_random=False),
)
def test_one_denied_address_among_many_refuses_the_name(others: list[str], denied: str, random: Random) -> None:
    addresses = [*others, denied]
    random.shuffle(addresses)
    detail = asyncio.run(refused("http://pictures.test/", names(pictures_test=addresses), allowed_networks=()))
    assert "not public" in detail


async def test_only_the_judged_address_is_connected_to_when_a_name_is_rebound(site: Site) -> None:
    """The second answer of the resolver would lead home; it must never be asked for."""
    site.answers["/"] = plain(b"judged")
    port = await site.open()
    answers = iter([["127.0.0.1"], ["10.0.0.1"], ["127.0.0.2"]])

    async def rebinding(host: str, port: int) -> Sequence[str]:  # noqa: ARG001
        return next(answers)

    async with fetching(rebinding) as fetcher:
        assert await fetcher.fetch(f"http://rebind.test:{port}/") == b"judged"
    assert next(answers) == ["10.0.0.1"]


async def test_the_next_judged_address_is_tried_when_one_does_not_answer(site: Site) -> None:
    site.answers["/"] = plain(b"picture")
    port = await site.open()
    async with fetching(names(pictures_test=["127.0.0.2", "127.0.0.1"])) as fetcher:
        assert await fetcher.fetch(f"http://pictures.test:{port}/") == b"picture"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_redirects_are_followed(site: Site, status: str) -> None:
    site.answers |= {"/a/b": redirect("../c?d", status), "/c?d": plain(b"picture")}
    port = await site.open()
    async with fetching() as fetcher:
        assert await fetcher.fetch(f"http://127.0.0.1:{port}/a/b") == b"picture"


@pytest.mark.parametrize(
    "location",
    ["http://10.0.0.1/", "http://169.254.169.254/latest/meta-data/", "http://metadata.test/", "http://[::1]/"],
)
async def test_a_redirect_to_a_denied_address_is_refused(site: Site, location: str) -> None:
    site.answers["/"] = redirect(location)
    port = await site.open()
    resolve = names(
        pictures_test="127.0.0.1",
        metadata_test="169.254.169.254",
        **{"10_0_0_1": "10.0.0.1", "169_254_169_254": "169.254.169.254", "::1": "::1"},
    )
    assert "not public" in await refused(f"http://pictures.test:{port}/", resolve)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "http://[", ""]
)
async def test_a_redirect_to_a_url_of_another_kind_is_refused(site: Site, location: str) -> None:
    site.answers["/"] = redirect(location)
    assert await refused(f"http://127.0.0.1:{await site.open()}/")


async def test_redirects_are_counted(site: Site) -> None:
    site.answers["/"] = redirect("/")
    detail = await refused(f"http://127.0.0.1:{await site.open()}/", max_redirects=3)
    assert detail == "more than 3 redirects"
    assert site.connections == 4


@pytest.mark.parametrize("status", ["404 Not Found", "204 No Content", "206 Partial Content", "500 Oops"])
async def test_a_status_without_success_or_without_a_body_is_no_picture(site: Site, status: str) -> None:
    site.answers["/"] = plain(b"", status)
    assert status[:3] in await refused(f"http://127.0.0.1:{await site.open()}/")


async def test_an_announced_oversize_is_refused_before_its_body(site: Site) -> None:
    async def announce(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n")
        await asyncio.sleep(60)

    site.answers["/"] = announce
    detail = await refused(f"http://127.0.0.1:{await site.open()}/", max_image_bytes=1000)
    assert "announces" in detail


async def test_an_unannounced_oversize_is_cut(site: Site) -> None:
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 200 * 2**20:
            writer.write(bytes(2**16))
            await writer.drain()
            sent += 2**16

    site.answers["/"] = flood
    detail = await refused(f"http://127.0.0.1:{await site.open()}/", max_image_bytes=10_000)
    assert "longer than 10000 bytes" in detail
    assert sent < 100 * 2**20


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
async def test_a_server_that_drips_is_cut_at_the_deadline(site: Site, head: bytes) -> None:
    """Every byte comes well within any read timeout; only a deadline over all stops it."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in range(100):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    site.answers["/"] = drip
    detail = await refused(f"http://127.0.0.1:{await site.open()}/", fetch_timeout_s=0.4)
    assert detail == "not done within 0.4 s"


async def test_a_resolver_that_hangs_is_cut_at_the_deadline() -> None:
    async def hang(host: str, port: int) -> Sequence[str]:  # noqa: ARG001
        await asyncio.sleep(60)
        return []

    assert await refused("http://pictures.test/", hang, fetch_timeout_s=0.2) == "not done within 0.2 s"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**18,
    ],
)
async def test_a_broken_answer_fails(site: Site, answer: bytes) -> None:
    async def broken(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    site.answers["/"] = broken
    assert await refused(f"http://127.0.0.1:{await site.open()}/")


PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8


async def fetched(site: Site, answer: Answer) -> bytes:
    site.answers["/"] = answer
    async with fetching() as fetcher:
        return await fetcher.fetch(f"http://127.0.0.1:{await site.open()}/")


@pytest.mark.parametrize(
    "headers",
    [
        *(["Content-Encoding:"], ["Content-Encoding: "], ["Content-Encoding: ,"], ["Content-Encoding: identity"]),
        *(["Content-Encoding: base64"], ["Content-Encoding: aws-chunked"], ["Content-Encoding: utf-8"]),
        *(["Content-Encoding: none"], ["Content-Encoding: binary"], ["Content-Encoding: UTF-8, aws-chunked"]),
        *(["Content-Encoding: gzip"], ["Content-Encoding: deflate"], ["Content-Encoding: br"], ["Content-Encoding: ü"]),
        *(["Content-Encoding: x", "Content-Encoding: y"], ["Content-Type: text/html"], ["Content-Type:"], []),
        *(["Content-Type: image/png; charset=utf-8"], ["Content-Type: image/png", "Content-Type: text/plain"]),
        *(["Content-Disposition: attachment; filename="], ["Content-Range: bytes 0-1/9"], ["Content-MD5: wrong"]),
        *(["Set-Cookie: =;;;"], ["Last-Modified: never"], ["Content-Transfer-Encoding: base64"]),
    ],
)
async def test_no_header_spoils_a_picture(site: Site, headers: list[str]) -> None:
    assert await fetched(site, plain(PICTURE, "200 OK", *headers)) == PICTURE


@pytest.mark.parametrize("status", ["201 Created", "202 ", "203 Non-Authoritative", "206 Partial", "226 IM Used"])
async def test_every_status_of_success_is_one(site: Site, status: str) -> None:
    assert await fetched(site, plain(PICTURE, status)) == PICTURE


def raw_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(9, zlib.DEFLATED, -15)
    return made.compress(data) + made.flush()


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("gzip", gzip.compress(PICTURE)),
        ("GZip", gzip.compress(PICTURE)),
        ("x-gzip", gzip.compress(PICTURE)),
        ("deflate", zlib.compress(PICTURE)),
        ("deflate", raw_deflate(PICTURE)),
        ("aws-chunked,gzip", gzip.compress(PICTURE)),
        ("deflate, gzip", gzip.compress(zlib.compress(PICTURE))),
        ("gzip, gzip", gzip.compress(gzip.compress(PICTURE))),
        ("gzip", gzip.compress(PICTURE[:99]) + gzip.compress(PICTURE[99:])),
        ("gzip", gzip.compress(PICTURE)[:-8]),
        ("gzip", zlib.compress(PICTURE)),
        ("deflate", gzip.compress(PICTURE)),
        ("gzip;q=1", gzip.compress(PICTURE)),
        ('"gzip"', gzip.compress(PICTURE)),
        ("gzip", gzip.compress(PICTURE) + b"garbage"),
        ("gzip, gzip", gzip.compress(PICTURE)),
    ],
)
async def test_an_answer_that_is_really_coded_is_decoded(site: Site, header: str, body: bytes) -> None:
    assert await fetched(site, plain(body, "200 OK", f"Content-Encoding: {header}")) == PICTURE


@pytest.mark.parametrize("times", [1, 2])
async def test_a_bomb_is_cut_at_the_cap_of_bytes(site: Site, times: int) -> None:
    body = bytes(20 * 2**20)
    for _ in range(times):
        body = gzip.compress(body, 9)
    site.answers["/"] = plain(body, "200 OK", "Content-Encoding: " + ", ".join(["gzip"] * times))
    detail = await refused(f"http://127.0.0.1:{await site.open()}/", max_image_bytes=2**20)
    assert detail == "the answer is longer than 1048576 bytes"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n808\r\n",
    ],
)
async def test_a_picture_that_is_all_there_is_taken_though_its_answer_is_not(site: Site, head: bytes) -> None:
    async def short(writer: asyncio.StreamWriter) -> None:
        writer.write(head + PICTURE)
        await writer.drain()

    assert await fetched(site, short) == PICTURE


def written(*lines: bytes, body: bytes = PICTURE, end: bytes = b"\r\n") -> Answer:
    """An answer of these lines as they are, its connection closed at its end."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(end.join([*lines, b"", body]))
        await writer.drain()

    return write


OK = b"HTTP/1.1 200 OK"
LENGTH = b"Content-Length: %d" % len(PICTURE)


@pytest.mark.parametrize(
    "lines",
    [
        *([OK, b"no colon here", LENGTH], [OK, b": no name", LENGTH], [OK, b"  folded without a header", LENGTH]),
        *([OK, b"Content-Length: abc"], [OK, b"Content-Length: -1"], [OK, b"Content-Length:"], [OK, LENGTH, LENGTH]),
        *(
            [OK, b"Content-Length: +%d" % len(PICTURE)],
            [OK, b"Content-Length: 1", LENGTH],
            [OK, b"Content-Length : %d" % len(PICTURE)],
        ),
        *([OK, b"Content-Length: " + b"9" * 5000], [OK, b"Transfer-Encoding: identity", LENGTH]),
        *(
            [OK, b"Transfer-Encoding: nonsense"],
            [OK, b"Transfer-Encoding: identity"],
            [OK, b"Connection: x\0y", LENGTH],
        ),
        *([b"", b"", OK, LENGTH], [OK, b"X-Large: " + b"a" * 200_000, LENGTH], [OK, b"X-Many: 1"] * 3000 + [LENGTH]),
        *([b"HTTP/1.0 200 OK", LENGTH], [b"HTTP/1.1 200", LENGTH], [b"http/1.1 200 ok", LENGTH], [b"HTTP/1 200 OK"]),
        *(
            [b"HTTP 200 OK", LENGTH],
            [b"HTTP/1.1 200OK", LENGTH],
            [b"HTTP/1. 200 OK", LENGTH],
            [b" HTTP/1.1 200", LENGTH],
        ),
        *([b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked", LENGTH], [OK, b"Set-Cookie: a=b\rX: y", LENGTH]),
        *([OK, b"Content-Encoding: identity\rX: y", LENGTH], [OK + b"\rX: y", LENGTH]),
        *([b"HTTP/2 200", LENGTH], [OK, b"X-Odd: \x01\x7f\xff", LENGTH], [OK, b"\xff\xfe: x", LENGTH], [OK, b"A B: c"]),
        *([b"HTTP/1.1 100 Continue", b"", OK, LENGTH], [b"HTTP/1.1 103 Early Hints", b"Link: <a>", b"", OK, LENGTH]),
    ],
)
async def test_no_head_that_can_be_read_spoils_a_picture(site: Site, lines: list[bytes]) -> None:
    assert await fetched(site, written(*lines)) == PICTURE


async def test_lines_that_end_without_a_carriage_return_are_lines(site: Site) -> None:
    assert await fetched(site, written(OK, LENGTH, end=b"\n")) == PICTURE


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"GZIP,Chunked", b"identity, chunked", b"chunked"])
async def test_transfer_codings_are_undone_as_codings_of_the_content_are(site: Site, coding: bytes) -> None:
    body = gzip.compress(PICTURE) if b"gzip" in coding.lower() else PICTURE
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    lines = (OK, b"Transfer-Encoding: " + coding, b"Content-Length: 7")
    assert await fetched(site, written(*lines, body=chunks)) == PICTURE


async def test_a_head_comes_in_any_pieces_and_a_body_is_never_read_as_one(site: Site) -> None:
    async def dribble(writer: asyncio.StreamWriter) -> None:
        answer = b"\r\n".join(
            [b"HTTP/1.1 103 Wait", b"", OK, b"X: y", LENGTH, b"", b"\n\nHTTP/1.1 100 No\n\n" + PICTURE]
        )
        for place in range(0, 120):
            writer.write(answer[place : place + 1])
            await writer.drain()
        writer.write(answer[120:])
        await writer.drain()

    assert await fetched(site, dribble) == (b"\n\nHTTP/1.1 100 No\n\n" + PICTURE)[: len(PICTURE)]


async def test_two_lines_of_one_coding_are_two_codings(site: Site) -> None:
    body = gzip.compress(gzip.compress(PICTURE))
    coded = b"Content-Encoding: gzip"
    assert await fetched(site, written(OK, coded, coded, body=body)) == PICTURE


async def test_heads_that_only_announce_others_come_to_an_end(site: Site) -> None:
    lines = [b"HTTP/1.1 103 Wait", b"X: " + b"y" * 1000, b""] * 300
    site.answers["/"] = written(*lines, OK, LENGTH)
    assert await reason(f"http://127.0.0.1:{await site.open()}/") == "its server does not answer as HTTP says"


async def test_a_long_answer_that_is_none_is_told_in_short(site: Site) -> None:
    site.answers["/"] = written(b"a" * 60_000, body=b"")
    detail = await refused(f"http://127.0.0.1:{await site.open()}/")
    assert "RemoteProtocolError" in detail
    assert len(detail) <= 500


async def test_a_head_without_an_end_is_given_up(site: Site) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n" + b"X: y\r\n" * 100_000)
        await writer.drain()

    site.answers["/"] = endless
    assert await reason(f"http://127.0.0.1:{await site.open()}/") == "its server does not answer as HTTP says"


@pytest.mark.parametrize(
    "headers",
    [
        ["Location: /b", "Location: /b"],
        ["Location: \\\\{host}\\b"],
        ["Location: \\b"],
        ["location:/b"],
        ["Location: b "],
    ],
)
async def test_redirects_are_followed_as_browsers_follow_them(site: Site, headers: list[str]) -> None:
    port = await site.open()
    moved = [header.replace("{host}", f"127.0.0.1:{port}") for header in headers]
    site.answers |= {"/a": plain(b"", "302 Found", *moved), "/b": plain(PICTURE)}
    async with fetching() as fetcher:
        assert await fetcher.fetch(f"http://127.0.0.1:{port}/a") == PICTURE


async def test_two_places_to_go_are_none(site: Site) -> None:
    site.answers["/"] = plain(b"", "302 Found", "Location: /a", "Location: /b")
    told = await reason(f"http://127.0.0.1:{await site.open()}/")
    assert told == "the server answered 302 with more than one place"


async def test_a_server_that_finds_nothing_acceptable_is_asked_for_anything(site: Site) -> None:
    asked: list[str] = []

    async def picky(writer: asyncio.StreamWriter) -> None:
        asked.append(site.heads[-1]["accept"])
        await plain(PICTURE, "406 Not Acceptable" if "png" in asked[-1] else "200 OK")(writer)

    assert await fetched(site, picky) == PICTURE
    assert asked == ["image/png, image/jpeg, image/webp, */*;q=0.1", "*/*"]


async def test_twenty_redirects_are_followed(site: Site) -> None:
    site.answers |= {f"/{n}": redirect(f"/{n + 1}") for n in range(20)} | {"/20": plain(PICTURE)}
    async with fetching() as fetcher:
        assert await fetcher.fetch(f"http://127.0.0.1:{await site.open()}/0") == PICTURE


async def test_a_redirects_cookie_goes_back_to_its_own_host_and_path_alone(site: Site) -> None:
    port = await site.open()
    site.answers |= {
        "/in": plain(b"", "302 Found", "Location: /a/x", "Set-Cookie: one=1; Path=/a", "Set-Cookie: safe=1; Secure"),
        "/a/x": plain(b"", "302 Found", "Location: /b/x", "Set-Cookie: two=2; Path=/; HttpOnly"),
        "/b/x": redirect(f"http://other.test:{port}/c"),
        "/c": plain(PICTURE),
    }
    async with fetching(names(pictures_test="127.0.0.1", other_test="127.0.0.1")) as fetcher:
        assert await fetcher.fetch(f"http://pictures.test:{port}/in") == PICTURE
        assert [head.get("cookie") for head in site.heads] == [None, "one=1", "two=2", None]
        assert await fetcher.fetch(f"http://pictures.test:{port}/b/x") == PICTURE
    assert site.heads[-1].get("cookie") is None, "a fetch knows nothing of another's cookies"


async def reason(url: str, resolve: Resolver = resolve_name, **options: object) -> str:
    """Why a fetch of this URL fails, for its sender."""
    async with fetching(resolve, **options) as fetcher:
        with pytest.raises(ImageFetchFailed) as caught:
            await fetcher.fetch(url)
    return caught.value.reason


async def test_the_sender_is_told_what_to_do(site: Site) -> None:
    async def hang(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)
        writer.close()

    async def nonsense(writer: asyncio.StreamWriter) -> None:
        writer.write(b"nonsense\r\n\r\n")

    site.answers |= {
        "/gone": plain(b"", "404 Not Found"),
        "/empty": plain(b"", "204 No Content"),
        "/large": plain(bytes(2000)),
        "/round": redirect("/round"),
        "/nowhere": plain(b"", "302 Found"),
        "/file": redirect("file:///etc/passwd"),
        "/hang": hang,
        "/nonsense": nonsense,
    }
    here = f"http://127.0.0.1:{await site.open()}"
    told = {path: await reason(here + path, max_image_bytes=1000) for path in site.answers if path != "/hang"}
    assert told == {
        "/gone": "the server answered 404",
        "/empty": "the server answered 204 with nothing",
        "/large": "larger than 1000 bytes",
        "/round": "more than 20 redirects",
        "/nowhere": "the server answered 302 without saying where the picture is",
        "/file": "not an http or https URL that can be called",
        "/nonsense": "its server does not answer as HTTP says",
    }
    assert await reason(here + "/hang", fetch_timeout_s=0.2) == "took longer than 0.2 s"
    assert await reason("http://127.0.0.1:1/") == "its server cannot be connected to"


async def test_the_sender_cannot_tell_an_inner_name_from_one_that_does_not_exist() -> None:
    inner = names(inner_test="10.0.0.1", metadata_test="169.254.169.254")
    told = {
        await reason(url, inner)
        for url in ("http://inner.test/", "http://metadata.test/", "http://none.test/", "http://inner.test:9/")
    }
    assert told == {"its host has no public address"}
    assert await reason("http://10.0.0.1/") == await reason("http://[::1]/") == "its host has no public address"


async def test_the_operators_log_tells_the_address_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    url = "http://inner.test/a.png?token=hidden-word&size=1"
    await reason(url, names(inner_test="10.0.0.1"))
    assert "inner.test/a.png?token=***&size=1" in caplog.text
    assert "10.0.0.1, which is not public" in caplog.text
    assert "hidden-word" not in caplog.text


async def test_proxies_of_the_environment_are_not_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    site.answers["/"] = plain(b"picture")
    port = await site.open()
    async with fetching() as fetcher:
        assert await fetcher.fetch(f"http://127.0.0.1:{port}/") == b"picture"


@pytest.mark.parametrize("found", [[], ["nonsense"]])
async def test_a_name_without_usable_addresses_fails(found: list[str]) -> None:
    assert await refused("http://pictures.test/", names(pictures_test=found))


async def test_the_cause_of_a_failure_is_kept() -> None:
    async with fetching() as fetcher:
        with pytest.raises(ImageFetchFailed) as caught:
            await fetcher.fetch("http://127.0.0.1:1/")
    assert caught.value.__cause__ is not None
