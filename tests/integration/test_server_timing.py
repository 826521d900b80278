"""The Server-Timing header of an answer that was waited for."""

import time

import pytest

from bench.overhead import ENGINE, read_server_timing
from tests.conftest import Service
from tests.integration.asking import IMG2IMG, body
from tests.integration.jobs import QUICK, resource

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
    answer = response.json()
    assert answer["timings"] == resource(service, answer["id"]).json()["timings"]
    assert {stage: pytest.approx(1000 * seconds, abs=0.1) for stage, seconds in answer["timings"].items()} == {
        stage: told[stage] for stage in ("reach", "queue", "engine", "handover", "finish")
    }


def test_an_answer_before_the_end_tells_no_stages(service: Service) -> None:
    with service.client() as client:
        response = client.post(IMG2IMG, json=body(service, instant_response="yes", **QUICK))
    assert "server-timing" not in response.headers
