"""What a browser is shown: the reference with a viewer of our own, and a page where nothing is."""

import re
from pathlib import Path

import pytest

from serve_app.api.pages import STYLE, wants_page
from tests.unit.deployments.over_asgi import app_of, client_of, stranger
from tests.unit.service.stand_in import bench

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"}


async def test_the_reference_loads_nothing_from_elsewhere_and_runs_only_our_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as one, app_of(one, monkeypatch) as (app, _), stranger(app) as client:
        page = await client.get("/docs", headers=BROWSER)
        named = re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text)
        files = [await client.get(f"/{name}") for name in named]
        again = await client.get(f"/{named[0]}", headers={"If-None-Match": files[0].headers["etag"]})
        assert (await client.get("/docs/other.js")).status_code == 404
    assert [file.status_code for file in files] == [200] * 4
    assert {file.headers["content-type"].partition(";")[0] for file in files} == {
        "text/css",
        "image/png",
        "text/javascript",
    }
    assert again.status_code == 304
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "width=device-width, initial-scale=1" in page.text
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page.text)
    assert not re.search(r"<script>|<script [^>]*>[^<]|\son\w+=", page.text)
    assert page.text.count("<style>") == page.text.count(f"<style>{STYLE}</style>")


async def test_the_document_and_the_reference_name_the_address_that_the_client_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch) as client:
        assert (await client.get("/openapi.json")).json()["servers"][0]["url"] == "http://here.test"
    public = "https://images.example.com"
    async with bench(tmp_path / "public") as one, client_of(one, monkeypatch, public_url=public) as client:
        assert (await client.get("/openapi.json")).json()["servers"][0]["url"] == public
        assert f"connect-src 'self' {public}/;" in (await client.get("/docs")).headers["content-security-policy"]


@pytest.mark.parametrize("errors_as_200", [False, True])
async def test_a_person_finds_a_page_where_nothing_is_and_a_program_the_contracts_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors_as_200: bool
) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch, errors_as_200=errors_as_200) as client:
        pages = [await client.get(path, headers=BROWSER) for path in ("/nothing", "/files/nothing.png")]
        answers = [await client.get(path, headers=BROWSER) for path in ("/api/v4/nothing", "/v1/nothing")]
        answers += [await client.get("/nothing"), await client.get("/files/nothing.png"), await client.post("/nothing")]
        markup = await client.get("/<script>alert(1)</script>", headers=BROWSER)
    for page in pages:
        assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (404, "text/html")
        assert page.headers["cache-control"] == "no-store"
        assert 'href="/docs"' in page.text
    assert [answer.status_code for answer in answers] == [404] * 5
    assert {answer.json()["message"] for answer in answers} == {"Not found"}
    assert "<script>" not in markup.text


@pytest.mark.parametrize(
    ("method", "path", "accept", "page"),
    [
        ("GET", "/x", "text/html", True),
        ("HEAD", "/x", "TEXT/HTML;q=1", True),
        ("POST", "/x", "text/html", False),
        ("GET", "/x", "*/*", False),
        ("GET", "/x", "application/json, text/html", False),
        ("GET", "/v1/models", "text/html", False),
        ("GET", "/x", "", False),
    ],
)
def test_only_a_browser_outside_of_the_api_wants_a_page(method: str, path: str, accept: str, page: bool) -> None:
    assert wants_page(method, path, accept) is page
