"""One job for one request, however often it is sent and whether or not its client waits."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from tests.conftest import Service
from tests.integration.asking import IMG2IMG, INIT_PIXELS, ask, body, png
from tests.integration.jobs import LONG, QUICK, fetched, resource, submit


def test_the_same_key_and_body_give_the_first_jobs_answer(service: Service) -> None:
    key = {"Idempotency-Key": "the same"}
    first = submit(service, key, **QUICK)
    assert submit(service, key, **QUICK)["id"] == first["id"]
    fetched(service, first["id"])
    again = submit(service, key, **QUICK)
    assert (again["status"], again["id"], again["output"]) == ("success", first["id"], first["future_links"])


def test_the_same_key_with_another_body_is_refused(service: Service) -> None:
    key = {"Idempotency-Key": "another body"}
    submit(service, key, **QUICK)
    with service.client() as client:
        response = client.post(IMG2IMG, json=body(service, seed=12, **QUICK), headers=key)
    assert (response.status_code, response.json()["status"]) == (422, "error")


def test_concurrent_duplicates_are_one_job(service: Service) -> None:
    key = {"Idempotency-Key": "at once"}
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: submit(service, key, **QUICK), range(6)))
    assert len({answer["id"] for answer in answers}) == 1
    assert fetched(service, answers[0]["id"])["status"] == "success"


def test_a_client_that_hangs_up_does_not_lose_its_job(service: Service) -> None:
    key = {"Idempotency-Key": "hung up"}
    asked = body(service, **LONG)
    with pytest.raises(httpx2.ReadTimeout), service.client() as client:
        client.post(IMG2IMG, json=asked, headers=key, timeout=httpx2.Timeout(30, read=0.8))
    time.sleep(0.5)
    with service.client() as client:
        answer = client.post(IMG2IMG, json=asked, headers=key).json()
    assert answer["status"] == "success", answer
    job = resource(service, answer["id"]).json()
    assert job["attempts"] == 0
    assert len(answer["output"]) == LONG["samples"]


def test_the_command_line_submits_follows_and_saves(service: Service, tmp_path: Path) -> None:
    picture = tmp_path / "circle.png"
    picture.write_bytes(png(INIT_PIXELS))
    command = [sys.executable, "-m", "serve_app.cli", "submit", str(picture), "--url", service.url]
    options = ["--prompt", "a red star", "--steps", "4", "--seed", "11", "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, *options],
        env={**os.environ, "DARKROOM_KEY": service.key},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with Image.open(done.stdout.strip()) as saved:
        assert saved.size == (128, 128)


def test_a_request_without_a_key_for_it_is_a_new_job_each_time(service: Service) -> None:
    assert ask(service, **QUICK)["id"] != ask(service, **QUICK)["id"]
