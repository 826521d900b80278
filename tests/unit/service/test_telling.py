"""A fact of the result is told in every channel, and in the same words."""

import json
from pathlib import Path

from sqlalchemy import select, update

from serve_app.api.answers import outcome, success
from serve_app.api.job_resource import job_resource
from serve_app.records.tables import jobs, outbox
from tests.unit.service.stand_in import Bench, bench

HOOK = "https://receiver.test/hook"
LAST_SEED = 2**32 - 1


async def sent(one: Bench) -> dict[str, object]:
    """The payload of the only webhook."""
    async with one.database.read() as connection:
        payload: dict[str, object] = json.loads((await connection.execute(select(outbox.c.payload))).scalar_one())
    return payload


async def test_seeds_replaced_pictures_and_timings_are_the_same_in_every_channel(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.replicas.flagged = {1}
        record = await one.accept(samples=3, seed=LAST_SEED, webhook=HOOK, safety_checker="yes")
        awaited = (await one.watcher.awaited(record, 8.0)).view
        fetched = (await one.watcher.seen(await one.ended(record.id))).view
        hook = await sent(one)
    assert [(one.seed, one.replaced) for one in fetched.pictures] == [(LAST_SEED, False), (0, True), (1, False)]
    assert fetched.stages.keys() >= {"reach", "queue", "engine", "handover", "finish"}
    answers = [success(awaited, ()), success(fetched, ()), hook, job_resource(fetched, "")]
    assert [{name: answer[name] for name in outcome(fetched)} for answer in answers] == [outcome(fetched)] * 4
    assert [answer["meta"] for answer in answers] == [answers[0]["meta"]] * 4


async def test_a_record_of_an_older_version_tells_what_it_knows(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        id = (await one.accept(samples=2)).id
        await one.ended(id)
        async with one.database.write() as connection:
            await connection.execute(update(jobs).values(result=None, flagged=True))
        unsure = (await one.watcher.seen(await one.read(id))).view
        async with one.database.write() as connection:
            await connection.execute(update(jobs).values(flagged=False))
        sure = (await one.watcher.seen(await one.read(id))).view
    assert ([one.replaced for one in unsure.pictures], unsure.stages) == ([None, None], {})
    assert [one.replaced for one in sure.pictures] == [False, False]
