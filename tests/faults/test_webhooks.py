"""Webhooks against receivers that misbehave, and a courier that dies between sending and marking."""

import asyncio

import pytest

from tests.conftest import free_port
from tests.faults.late_receiver import receiving_late
from tests.faults.service import COURIER
from tests.faults.trial import SEEDS, Trial, check
from tests.servers.hook_receiver import hang, status

AWAY_S = 10.0


async def test_a_courier_that_dies_between_send_and_mark_sends_again_under_the_same_webhook_id(trial: Trial) -> None:
    struck = asyncio.Event()

    async def kill_the_sender(_: asyncio.StreamWriter) -> None:
        trial.strikes()
        for pid in trial.service.pids(COURIER):
            trial.service.send(pid)
        struck.set()

    trial.receiver.answer(trial.path(SEEDS[0]), kill_the_sender, status("200 OK"))
    await trial.submit()
    await asyncio.wait_for(struck.wait(), 240)
    row = await trial.finish("SIGKILL the courier between send and mark")
    check(row)
    assert row.duplicates >= 1


@pytest.mark.thorough
async def test_receivers_that_misbehave_get_their_webhooks_once_they_take_them(trial: Trial) -> None:
    hangs, fails, redirects, later, is_gone, refuses, *_ = (trial.path(seed) for seed in SEEDS)
    answers = {
        hangs: [hang, status("204 No Content")],
        fails: [status("500 Internal Server Error"), status("500 Internal Server Error"), status("200 OK")],
        redirects: [status("302 Found", f"Location: {trial.receiver.url}/elsewhere"), status("200 OK")],
        later: [status("503 Service Unavailable", "Retry-After: 6"), status("200 OK")],
    }
    for path, given in answers.items():
        trial.receiver.answer(path, *given)
        trial.hook_failures[path] = len(given) - 1
    trial.receiver.answer(is_gone, status("410 Gone"))
    trial.hook_statuses[is_gone] = "failed 410"
    port = free_port()
    trial.hook_hosts[refuses] = f"http://127.0.0.1:{port}"
    trial.strikes()
    await trial.submit()
    await trial.until_ended()
    await asyncio.sleep(AWAY_S)
    assert refuses not in trial.receiver.paths()
    trial.strikes()
    async with receiving_late(trial.receiver, port):
        check(await trial.finish("webhook receivers refuse, hang, answer 500, 302, 410, Retry-After"))
    assert "/elsewhere" not in trial.receiver.paths()
    first, second = (request.at for request in trial.receiver.received if request.path == later)
    assert second - first >= 6
