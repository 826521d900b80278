"""Jobs that take longer than a client waits: processing, fetch, the links of the future."""

import base64
import time
from pathlib import Path
from typing import Any

import pytest

from serve_app.access.keys import make_key
from serve_app.api.routes import FETCH_ID_PATHS, FETCH_PATHS
from serve_app.service.forecast import KEPT_S
from tests.conftest import MOST_WAITING, Service
from tests.integration.asking import IMG2IMG, ask, body, download, pixels_of
from tests.integration.jobs import LONG, QUICK, bearer, fetch, fetched, resource, submit

UNKNOWN = {"status": "failed", "id": "", "message": "Request not found", "output": ""}


def test_an_instant_response_tells_the_very_links_that_the_picture_will_have(service: Service) -> None:
    answer = submit(service, **LONG)
    assert set(answer) == {
        "status", "tip", "eta", "messege", "message", "webhook_status", "fetch_result", "id", "output", "meta",
        "future_links",
    }  # fmt: skip
    assert (answer["status"], answer["output"], type(answer["eta"])) == ("processing", [], float)
    assert answer["fetch_result"] == f"{service.url}/api/v4/dreambooth/fetch/{answer['id']}"
    with service.client() as client:
        assert [client.get(link).status_code for link in answer["future_links"]] == [404] * LONG["samples"]
    done = fetched(service, answer["id"])
    assert (done["status"], done["output"], done["meta"]) == ("success", answer["future_links"], answer["meta"])
    assert [pixels_of(download(service, link)).shape for link in done["output"]] == [(128, 128, 3)] * LONG["samples"]


def test_a_job_is_fetched_on_every_alias_by_path_and_by_body(service: Service) -> None:
    id = submit(service, **QUICK)["id"]
    expected = fetched(service, id)
    paths = [path.replace("{id}", str(id)) for path in FETCH_ID_PATHS]
    with service.client() as client:
        by_path = [client.post(path, json={"key": service.key}).json() for path in paths]
        by_get = [client.get(path, headers=bearer(service.key)).json() for path in paths]
        bodies = [{"key": service.key, "request_id": id}, {"key": service.key, "request_id": str(id)}]
        by_body = [client.post(path, json=named).json() for path in FETCH_PATHS for named in bodies]
    assert expected["status"] == "success"
    assert all(answer == expected for answer in (*by_path, *by_get, *by_body))


def test_a_fetch_never_starts_a_job_whatever_its_body_holds(service: Service) -> None:
    answer = submit(service, **QUICK)
    with service.client() as client:
        again = client.post(answer["fetch_result"], json=body(service, prompt="a green ring")).json()
    assert (again["id"], again["meta"]["prompt"]) == (answer["id"], answer["meta"]["prompt"])


@pytest.mark.parametrize("id", ["1", "0", "99999999999", "x", "-1"])
def test_an_unknown_id_is_a_failed_request(service: Service, id: str) -> None:
    with service.client() as client:
        response = client.post(f"/api/v3/fetch/{id}", json={"key": service.key})
    assert (response.status_code, response.json()) == (404, UNKNOWN)


def test_a_job_is_its_own_keys_alone(service: Service) -> None:
    other = make_key(service.data_dir, "other")
    id = submit(service, **QUICK)["id"]
    with service.client() as client:
        response = client.post(f"/api/v3/fetch/{id}", json={"key": other})
        assert (response.status_code, response.json()) == (404, UNKNOWN)
        assert client.post(f"/api/v3/fetch/{id}").status_code == 401
        assert client.get(f"/v1/jobs/{id}/events", headers=bearer(other)).status_code == 404
    assert [resource(service, id, method, other).status_code for method in ("GET", "DELETE")] == [404, 404]
    assert fetched(service, id)["status"] == "success"


def test_base64_pictures_can_be_fetched_again_and_again(service: Service) -> None:
    id = submit(service, base64="yes", **QUICK)["id"]
    first, again = fetched(service, id), fetch(service, id)
    assert first == again
    assert pixels_of(base64.b64decode(first["output"][0])).shape == (64, 64, 3)


def test_the_jobs_own_resource_tells_how_it_stands(service: Service) -> None:
    id = submit(service, **QUICK)["id"]
    fetched(service, id)
    job = resource(service, id).json()
    assert (job["id"], job["status"], job["model_id"], job["attempts"]) == (id, "success", "pocket", 0)
    assert job["progress"]["done"] == job["progress"]["total"] > 0
    assert job["created_at"] <= job["ended_at"]


def test_jobs_that_wait_are_counted_and_know_their_place(service: Service) -> None:
    with service.client() as client:
        assert client.post("/api/v3/system_load", json={}).status_code == 401
        ids = [submit(service, **LONG)["id"] for _ in range(3)]
        time.sleep(KEPT_S)  # what is told of the queue may be as old as this
        load = client.post("/api/v3/system_load", json={"key": service.key}).json()
    waiting = [id for id in ids if resource(service, id).json()["status"] in ("queued", "running")]
    assert waiting
    assert load["status"] == "ok"
    assert len(waiting) <= load["queue_num"] <= 3
    assert isinstance(load["queue_time"], int)
    assert {resource(service, id, "DELETE").status_code for id in waiting} <= {200, 202}


def test_a_slow_job_is_processing_after_the_sync_window_and_a_quick_one_is_not(hasty: Service) -> None:
    with hasty.client() as client:
        slow = client.post(IMG2IMG, json=body(hasty, **LONG)).json()
        quick = client.post(IMG2IMG, json=body(hasty, strength=0, **QUICK)).json()
    assert slow["status"] == "processing"
    assert quick["status"] in ("success", "processing")
    assert fetched(hasty, slow["id"])["output"] == slow["future_links"]


def test_whoever_knows_an_id_may_fetch_it_where_the_configuration_says_so(hasty: Service) -> None:
    id = submit(hasty, **QUICK)["id"]
    assert fetched(hasty, id)["status"] == "success"
    with hasty.client() as client:
        assert client.post(f"/api/v4/dreambooth/fetch/{id}").json()["status"] == "success"
        assert client.get(f"/api/v4/dreambooth/fetch/{id}").json()["status"] == "success"


def test_more_jobs_than_may_wait_are_refused_before_anything_is_written(hasty: Service) -> None:
    with hasty.client() as client:
        asked, taken = body(hasty, instant_response="yes", **LONG), []
        while (answer := client.post(IMG2IMG, json=asked)).status_code == 200:
            taken.append(answer.json()["id"])
        assert {resource(hasty, id, "DELETE").status_code for id in taken} <= {200, 202}
    assert len(taken) >= MOST_WAITING
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


def test_temporary_links_are_signed_and_private(service: Service) -> None:
    done = ask(service, temp="yes", **QUICK)
    link = done["output"][0]
    assert temporary_file(service, done).exists()
    bare, _, query = link.partition("?")
    with service.client() as client:
        good = client.get(link)
        assert (good.status_code, good.headers["cache-control"]) == (200, "private, no-store")
        tampered = query.replace("expires=", "expires=9")
        assert [client.get(url).status_code for url in (bare, f"{bare}?{tampered}", link[:-1])] == [403] * 3
        permanent = client.get(bare.replace("/temp/", "/"))
    assert permanent.status_code == 404


def test_temporary_links_die_and_their_files_are_deleted(hasty: Service) -> None:
    done = fetched(hasty, submit(hasty, temp="yes", **QUICK)["id"])
    assert done["status"] == "success"
    while temporary_file(hasty, done).exists():
        time.sleep(0.2)
    with hasty.client() as client:
        assert client.get(done["output"][0]).status_code in (403, 404)


def temporary_file(service: Service, done: dict[str, Any]) -> Path:
    """Where the first picture of a job with `temp` lies."""
    return service.data_dir / "pictures" / "temp" / f"{done['meta']['file_prefix']}-0.png"
