"""Cancelling and watching: in the middle of a job, and from where the client left off."""

import base64
import time

from tests.conftest import Service
from tests.integration.asking import pixels_of
from tests.integration.jobs import LONG, QUICK, bearer, fetch, fetched, resource, submit, watching


def test_a_job_is_cancelled_in_the_middle_of_its_steps(service: Service) -> None:
    answer = submit(service, **LONG)
    with watching(service, answer["id"]) as events:
        next(event for event in events if event.data["progress"]["done"] > 0)
    assert resource(service, answer["id"], "DELETE").status_code == 202
    while (job := resource(service, answer["id"]).json())["status"] in ("queued", "running"):
        time.sleep(0.05)
    assert job["status"] == "cancelled"
    assert job["progress"]["done"] < job["progress"]["total"]
    failed = fetch(service, answer["id"])
    assert (failed["status"], failed["message"]) == ("failed", "The request was cancelled")
    assert resource(service, answer["id"], "DELETE").status_code == 200
    with service.client() as client:
        assert client.get(answer["future_links"][0]).status_code == 404


def test_progress_and_previews_come_as_events_until_the_end(service: Service) -> None:
    id = submit(service, **LONG | {"samples": 2, "width": 256, "height": 256})["id"]
    with watching(service, id) as events:
        seen = list(events)
    versions = [event.id for event in seen]
    assert versions == sorted(set(versions))
    done = [event.data["progress"]["done"] for event in seen]
    assert done == sorted(done)
    assert len(set(done)) > 3
    previews = [event.data["preview"] for event in seen if event.name == "preview"]
    assert {pixels_of(base64.b64decode(uri.partition(",")[2])).shape for uri in previews} == {(128, 256, 3)}, (
        "both samples side by side"
    )
    assert (seen[-1].name, seen[-1].data["output"]) == ("success", fetched(service, id)["output"])


def test_a_stream_goes_on_where_the_client_left_it(service: Service) -> None:
    id = submit(service, **LONG)["id"]
    with watching(service, id) as events:
        first = next(events)
    with watching(service, id, first.id) as events:
        later = list(events)
    assert later[0].id > first.id
    assert later[-1].name == "success"
    with service.client() as client:
        again = client.get(f"/v1/jobs/{id}/events", headers=bearer(service.key) | {"Last-Event-ID": str(later[-1].id)})
    assert (again.status_code, again.content) == (204, b"")


def test_the_events_of_an_ended_job_are_its_end(service: Service) -> None:
    id = submit(service, **QUICK)["id"]
    fetched(service, id)
    with watching(service, id) as events:
        assert [event.name for event in events] == ["success"]


def test_an_event_source_follows_a_job_with_a_ticket_in_its_url_alone(service: Service) -> None:
    id = submit(service, **QUICK)["id"]
    with service.client() as client:
        told = client.post(f"/v1/jobs/{id}/ticket", headers=bearer(service.key)).json()
        with client.sse(told["events"]) as source:
            names = [event.event for event in source if event.data]
    assert names[-1] == "success"
