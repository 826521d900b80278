"""The secrets that sign webhooks, on a real database: one at a time for a key, changed without a gap."""

import asyncio

from sqlalchemy import select

from serve_app.records.database import Database
from serve_app.records.tables import hook_secrets
from serve_app.webhooks.secrets import HookSecrets

NOW = 1_700_000_000.0


async def test_a_key_has_one_secret_from_its_first_need_on(database: Database) -> None:
    secrets = HookSecrets(database)
    first = await secrets.current("first", NOW)
    assert first.startswith("whsec_")
    assert await secrets.signing("first", NOW + 1e9) == (first,)
    assert await secrets.current("second", NOW) != first


async def test_a_first_secret_made_by_several_processes_at_once_is_one(database_url: str) -> None:
    several = [Database(database_url) for _ in range(4)]
    for key_name in (f"key-{number}" for number in range(4)):
        made = await asyncio.gather(*(HookSecrets(each).current(key_name, NOW) for each in several))
        assert len(set(made)) == 1
    for each in several:
        await each.close()


async def test_a_retiring_secret_signs_along_until_its_overlap_is_over(database: Database) -> None:
    secrets = HookSecrets(database)
    old = await secrets.current("first", NOW)
    new = await secrets.rotate("first", 3600, NOW)
    assert await secrets.signing("first", NOW + 3599) == (new, old)
    assert await secrets.signing("first", NOW + 3600) == (new,)
    newest = await secrets.rotate("first", 60, NOW + 10)
    assert await secrets.signing("first", NOW + 20) == (newest, old, new)
    assert await secrets.signing("first", NOW + 70) == (newest, old)


async def test_a_rotation_without_overlap_stops_the_old_secret_at_once_and_later_forgets_it(database: Database) -> None:
    secrets = HookSecrets(database)
    await secrets.current("first", NOW)
    new = await secrets.rotate("first", 0, NOW)
    assert await secrets.signing("first", NOW) == (new,)
    await secrets.rotate("first", 0, NOW + 1)
    async with database.read() as connection:
        assert len((await connection.execute(select(hook_secrets.c.id))).all()) == 2


async def test_a_rotation_of_a_key_that_has_none_makes_its_first(database: Database) -> None:
    secrets = HookSecrets(database)
    made = await secrets.rotate("first", 60, NOW)
    assert await secrets.signing("first", NOW) == (made,)


async def test_a_rotation_leaves_other_keys_alone(database: Database) -> None:
    secrets = HookSecrets(database)
    other = await secrets.current("second", NOW)
    await secrets.rotate("first", 0, NOW)
    await secrets.rotate("first", 0, NOW + 1)
    assert await secrets.signing("second", NOW + 2) == (other,)


async def test_rotations_at_once_leave_one_current_secret(database_url: str) -> None:
    several = [Database(database_url) for _ in range(4)]
    for number in range(4):
        made = await asyncio.gather(*(HookSecrets(each).rotate("first", 0, NOW + number) for each in several))
        [current] = await HookSecrets(several[0]).signing("first", NOW + number)
        assert current in made
    for each in several:
        await each.close()
