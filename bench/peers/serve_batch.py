"""`@serve.batch`: Ray Serve's own queue, in front of one diffusers pipeline.

The decorator is the real one. It needs no cluster, only the context of a replica to read
`max_ongoing_requests` from, which is given to it here. The handler runs the requests of a batch that
agree in one call, one call after the other, off the event loop.
"""

import asyncio
import gc
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ray import serve
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve._private.config import DeploymentConfig
from ray.serve.context import _set_internal_replica_context
from ray.serve.schema import ReplicaRank

from bench.peers.caller import Caller
from bench.peers.desk import Order
from bench.peers.key import groups
from serve_app.messages import Img2ImgJob, Pixels

ONGOING = 1024
DEFAULTS = "serve_batch"


class ServeBatch:
    """Ray's defaults where nothing else is given: ten requests, 0.01 s."""

    def __init__(self, caller: Caller, wait_s: float | None = None, most: int | None = None) -> None:
        self.name = DEFAULTS if wait_s is None else f"{DEFAULTS} {wait_s:g} s"
        self._caller = caller
        self._device = ThreadPoolExecutor(1, thread_name_prefix=self.name)
        given = {"batch_wait_timeout_s": wait_s, "max_batch_size": most}
        self._ask = _decorated(self._handle, {key: value for key, value in given.items() if value is not None})
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=self.name, daemon=True)
        self._thread.start()

    def submit(self, job: Img2ImgJob) -> "Future[Pixels]":
        """As `Peer.submit`."""
        future: Future[Pixels] = Future()
        asyncio.run_coroutine_threadsafe(self._answer((job, future)), self._loop)
        return future

    def close(self) -> None:
        """As `Peer.close`."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._device.shutdown()

    async def _end(self) -> None:
        """Let the decorator's queue go here, where a loop runs: elsewhere its end would make one that nobody closes."""
        await _end_tasks()
        del self._ask
        await asyncio.sleep(0)  # what waited for the tasks holds their errors until then, and those the queue
        gc.collect()

    async def _answer(self, order: Order) -> None:
        """All of a batch hear of their pictures when its last one is made, as from the decorator."""
        _, future = order
        try:
            picture = await self._ask(order)
        except Exception as error:  # noqa: BLE001 (whoever waits for the future raises it)
            if not future.cancelled():
                future.set_exception(error)
        else:
            if picture is not None:
                future.set_result(picture)

    async def _handle(self, orders: list[Order]) -> list[Pixels | None]:
        """None for those that were cancelled before their call: a call that runs cannot be."""
        pictures: dict[int, Pixels] = {}
        for places in groups([job for job, _ in orders]):
            going = [place for place in places if orders[place][1].set_running_or_notify_cancel()]
            if going:
                jobs = [orders[place][0] for place in going]
                made = await asyncio.get_running_loop().run_in_executor(self._device, self._caller.run, jobs)
                pictures.update(zip(going, made, strict=True))
        return [pictures.get(place) for place in range(len(orders))]


def _decorated(handle: Any, options: dict[str, Any]) -> Any:  # noqa: ANN401 (Ray's decorator is untyped)
    _set_internal_replica_context(
        replica_id=ReplicaID("bench", DeploymentID("bench")), servable_object=handle,
        _deployment_config=DeploymentConfig(max_ongoing_requests=ONGOING),
        rank=ReplicaRank(rank=0, node_rank=0, local_rank=0), world_size=1,
    )  # fmt: skip

    async def batched(orders: list[Order]) -> list[Pixels | None]:
        made: list[Pixels | None] = await handle(orders)
        return made

    return serve.batch(**options)(batched)


async def _end_tasks() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
