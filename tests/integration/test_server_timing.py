"""The Server-Timing header of an answer that was waited for."""

import time

from bench.overhead import ENGINE, read_server_timing
from tests.conftest import Service
from tests.integration.asking import IMG2IMG, body
from tests.integration.jobs import QUICK

STAGES = ["read", "accept", "reach", "queue", "engine", "handover", "finish", "end", "answer"]


def test_an_answer_with_its_pictures_says_where_the_time_went(service: Service) -> None:
    with service.client() as client:
        began = time.perf_counter()
        response = client.post(IMG2IMG, json=body(service, **QUICK))
        total_ms = 1000 * (time.perf_counter() - began)
    told = read_server_timing(response.headers["server-timing"])
    assert list(told) == STAGES
    assert 0 < told[ENGINE] < sum(told.values()) < total_ms
    assert told["queue"] > 0


def test_an_answer_before_the_end_tells_no_stages(service: Service) -> None:
    with service.client() as client:
        response = client.post(IMG2IMG, json=body(service, instant_response="yes", **QUICK))
    assert "server-timing" not in response.headers
