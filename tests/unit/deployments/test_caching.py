"""What caches may keep: a finished picture for ever, and of everything else nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import Route

from serve_app.api.application import Application
from serve_app.records.jobs import JobRecord
from tests.unit.deployments.over_asgi import BODY, app_of, client_of, stranger
from tests.unit.service.stand_in import Bench, bench

FOR_EVER = "public, max-age=31536000, immutable"
MAY_CHANGE = ("no-store", "private, no-store", "no-cache")
"""The last is for what comes with an ETag: kept, and asked for again each time."""
METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT")


async def ended_job(one: Bench, **fields: object) -> JobRecord:
    return await one.ended((await one.accept(None, **fields)).id)


def paths(app: Application, job: JobRecord) -> Iterator[str]:
    """Every route of the table, once with a job that is there and once with what is nowhere."""
    for route in app.routes:
        assert isinstance(route, Route)
        for id in (str(job.id), "1"):
            yield route.path.replace("{id}", id).replace("{name:path}", "nothing.png").replace("{name}", "nothing.js")


@pytest.mark.parametrize("errors_as_200", [False, True])
async def test_no_route_lets_an_answer_be_kept_that_may_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors_as_200: bool
) -> None:
    async with bench(tmp_path) as one, app_of(one, monkeypatch, errors_as_200=errors_as_200) as (app, key):
        job = await ended_job(one)
        keyed = stranger(app)
        keyed.headers["key"] = key
        answers = [
            await client.request(method, path)
            for path in (*paths(app, job), "/no/such/path", "/v1/models/")
            for method in METHODS
            for client in (stranger(app), keyed)
        ]
    assert {answer.status_code for answer in answers} >= {200, 204, 307, 404, 405} | (
        set() if errors_as_200 else {401, 422}
    )
    kept = {str(answer.request.url): told for answer in answers if (told := answer.headers["cache-control"])}
    assert {told for told in kept.values() if told not in MAY_CHANGE} == set()


async def test_a_failure_that_nobody_foresaw_is_not_kept_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch) as client:
        monkeypatch.setattr("deployments.ingress.answers.models", lambda _: 1 / 0)
        answer = await client.get("/v1/models")
    assert (answer.status_code, answer.headers["cache-control"]) == (500, "no-store")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_future_link_is_asked_for_again_and_the_picture_behind_it_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch) as client:
        record = await ended_job(one)
        (link,) = record.links
        ready = await client.request(method, link)
        await one.store.delete(f"{record.file_prefix}-0.png")
        missing = await client.request(method, link)
    assert (ready.status_code, ready.headers["cache-control"]) == (200, FOR_EVER)
    assert (missing.status_code, missing.headers["cache-control"]) == (404, "no-store")


@pytest.mark.parametrize("shown", ["{}", "W/{}", '"other", {}', "*"])
async def test_who_has_a_picture_is_not_sent_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str
) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch) as client:
        (link,) = (await ended_job(one)).links
        first = await client.get(link, headers={"Range": "bytes=0-9"})
        again = await client.get(link, headers={"If-None-Match": shown.format(first.headers["etag"])})
        changed = await client.get(link, headers={"If-None-Match": '"other"'})
    assert (first.status_code, first.headers["accept-ranges"]) == (200, "none")
    assert (again.status_code, again.content, again.headers["cache-control"]) == (304, b"", FOR_EVER)
    assert (changed.status_code, changed.content) == (200, first.content)


async def test_temporary_pictures_are_kept_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch) as client:
        (link,) = (await client.post("/api/v3/img2img", json={**BODY, "temp": "yes"})).json()["output"]
        good, bare = await client.get(link), await client.get(link.partition("?")[0])
    assert (good.status_code, good.headers["cache-control"]) == (200, "private, no-store")
    assert (bare.status_code, bare.headers["cache-control"]) == (403, "no-store")
