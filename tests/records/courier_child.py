"""A process that delivers one outbox until it is killed: `python -m tests.records.courier_child DATABASE_URL`."""

import asyncio
import sys
import time

from serve_app.records.database import Database
from tests.records.delivering import delivering


async def main(url: str) -> None:
    """Renewal after round."""
    async with delivering(Database(url), "child") as deliverer:
        while True:
            await deliverer.round(time.time())
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
