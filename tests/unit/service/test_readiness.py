"""Readiness: everything is asked, what is missing is told by name, and however many ask, the parts are asked once."""

import asyncio
from collections.abc import Awaitable, Callable

from serve_app.errors import ModelUnavailable, RecordsUnavailable
from serve_app.service.readiness import FRESH_S, Readiness
from serve_app.service.replicas import BrokenOff
from tests.unit.service.stand_in import REQUEST


async def answers() -> None:
    pass


def raises(error: Exception) -> Callable[[], Awaitable[None]]:
    async def check() -> None:
        raise error

    return check


async def silent() -> None:
    await asyncio.Event().wait()


async def test_what_fails_breaks_off_or_stays_silent_is_missing_by_its_name() -> None:
    parts = {
        "records": raises(RecordsUnavailable()),
        "store": answers,
        "model a": raises(ModelUnavailable()),
        "model b": raises(BrokenOff()),
        "model c": silent,
        "postprocess": answers,
    }
    missing = await Readiness(parts, patience_s=0.01).missing()
    assert missing == ("records", "model a", "model b", "model c")


async def test_nothing_is_missing_where_everything_answers() -> None:
    assert await Readiness({"records": answers, "store": answers}).missing() == ()


async def test_the_parts_are_asked_once_for_all_who_ask_within_a_moment() -> None:
    asked, now = [0], [0.0]

    async def count() -> None:
        asked[0] += 1
        await asyncio.sleep(0)

    readiness = Readiness({"records": count}, clock=lambda: now[0])
    await asyncio.gather(*(readiness.missing() for _ in range(50)))
    now[0] += FRESH_S / 2
    await readiness.missing()
    assert asked == [1]
    now[0] += FRESH_S
    await asyncio.gather(*(readiness.missing() for _ in range(50)))
    assert asked == [2]


async def test_what_is_asked_does_not_see_the_request_that_asks() -> None:
    seen = []

    async def look() -> None:
        seen.append(REQUEST.get())

    readiness = Readiness({"records": look})
    REQUEST.set("a request")
    await readiness.missing()
    assert seen == ["none"]


async def test_who_stops_waiting_takes_nobodys_answer_along() -> None:
    go = asyncio.Event()

    async def slow() -> None:
        await go.wait()

    readiness = Readiness({"records": slow})
    impatient, patient = (asyncio.create_task(readiness.missing()) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    go.set()
    assert await patient == ()
