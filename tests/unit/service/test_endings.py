"""How jobs end whose webhook holds the pictures themselves."""

import json
import time
from pathlib import Path

import pytest

from serve_app.errors import StoreUnavailable
from serve_app.postprocess.storage import StoredFile
from tests.unit.service.stand_in import bench


async def test_a_webhook_with_pictures_waits_until_the_store_gives_them_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(tmp_path) as one:
        get, tries = one.store.get, list[str]()

        async def away_at_first(name: str) -> StoredFile:
            tries.append(name)
            if len(tries) < 3:
                raise StoreUnavailable("away")
            return await get(name)

        monkeypatch.setattr(one.store, "get", away_at_first)
        ended = await one.ended((await one.accept(base64="yes", webhook="https://good.test/hook")).id)
        assert (ended.state, len(tries)) == ("success", 3)
        (due,) = await one.outbox.claim("me", time.time() + 9, time.time() + 1, 9, 9, {})
        (picture,) = json.loads(due.entry.payload)["output"]
        assert picture.startswith("iVBORw0K")
