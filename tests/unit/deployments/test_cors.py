"""Pages of other origins: nobody's unless the configuration names them, and then all of what they need."""

from pathlib import Path

import pytest
from starlette.routing import Route

from serve_app.config.origins import as_sent
from tests.unit.deployments.over_asgi import app_of, client_of, stranger
from tests.unit.service.stand_in import bench

PAGE = "https://app.example.com"
ASKED = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, key,content-type,idempotency-key,last-event-id",
}


async def test_without_origins_in_the_configuration_no_page_may_read_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch) as client:
        answers = [await client.get("/v1/models", headers={"Origin": PAGE})]
        answers.append(await client.options("/api/v4/dreambooth/img2img", headers=ASKED))
    assert [name for answer in answers for name in answer.headers if name.startswith("access-control")] == []


@pytest.mark.parametrize("origins", [[], [PAGE]])
@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/api/v4/dreambooth/img2img", {"POST"}),
        ("/v1/jobs/7", {"GET", "HEAD", "DELETE"}),
        ("/healthz", {"GET", "HEAD"}),
    ],
)
async def test_options_tells_what_a_path_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, allow: set[str], origins: list[str]
) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch, cors_origins=origins) as client:
        answer = await client.options(path)
        nowhere = await client.options("/no/such/path")
    assert (answer.status_code, answer.content) == (204, b"")
    assert set(answer.headers["allow"].split(", ")) == allow | {"OPTIONS"}
    assert nowhere.status_code == 404


@pytest.mark.parametrize(("origins", "told"), [([PAGE], PAGE), (["*"], "*"), (["https://APP.example.com:443/"], PAGE)])
async def test_every_route_answers_the_preflight_of_a_page_that_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origins: list[str], told: str
) -> None:
    async with (
        bench(tmp_path) as one,
        app_of(one, monkeypatch, cors_origins=origins) as (app, _),
        stranger(app) as client,
    ):
        for route in app.routes:
            assert isinstance(route, Route)
            answer = await client.options(route.path, headers=ASKED)
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, told)
            assert {"POST", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
            assert "access-control-allow-credentials" not in answer.headers
        other = await client.options("/v1/models", headers={**ASKED, "Origin": "https://evil.example"})
    assert other.status_code == (200 if told == "*" else 400)
    assert other.headers.get("access-control-allow-origin") == ("*" if told == "*" else None)


@pytest.mark.parametrize("origins", [[PAGE], ["*"]])
async def test_errors_and_pictures_can_be_read_by_a_page_that_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origins: list[str]
) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch, cors_origins=origins) as client:
        client.headers["Origin"] = PAGE
        (link,) = (await one.ended((await one.accept()).id)).links
        monkeypatch.setattr("deployments.ingress.answers.model_list", lambda _: 1 / 0)
        answers = [await client.get(path) for path in (link, "/files/nothing.png", "/no/such/path", "/v1/jobs/1")]
        answers += [
            await client.post("/api/v3/dreambooth/model_list"),
            await client.post("/api/v3/img2img", content="{"),
        ]
    assert [answer.status_code for answer in answers] == [200, 404, 404, 404, 500, 400]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == (PAGE if origins == [PAGE] else "*")
        exposed = answer.headers["access-control-expose-headers"].lower()
        assert all(name in exposed for name in ("server-timing", "retry-after", "x-request-id"))


async def test_a_cache_keeps_answers_to_other_origins_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch, cors_origins=[PAGE]) as client:
        (link,) = (await one.ended((await one.accept()).id)).links
        plain, foreign = await client.get(link), await client.get(link, headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers
    assert plain.headers["vary"] == foreign.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "text", ["app.example.com", "https://", "https://a/b", "https://*.a", "https://u@a", "x://a:b"]
)
def test_what_is_no_origin_is_refused_by_the_configuration(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (each has its own words)
        as_sent(text)


@pytest.mark.parametrize(
    ("text", "sent"),
    [("http://LocalHost:3000/", "http://localhost:3000"), ("http://a:80", "http://a"), ("http://[::1]:8", "http://[::1]:8"),
     ("null", "null"), ("chrome-extension://abc", "chrome-extension://abc")],
)  # fmt: skip
def test_an_origin_is_compared_as_browsers_send_it(text: str, sent: str) -> None:
    assert as_sent(text) == sent
