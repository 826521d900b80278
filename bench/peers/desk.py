"""Where requests wait for workers: a rule picks which of them a worker takes."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from serve_app.messages import Img2ImgJob, Pixels

Order = tuple[Img2ImgJob, "Future[Pixels]"]
Rule = Callable[[Sequence[Img2ImgJob]], Sequence[int]]
"""From the jobs that wait, oldest first, to the places of those to take; none: wait on."""


class Desk:
    """Safe to use from any thread."""

    def __init__(self) -> None:
        self._orders: list[Order] = []
        self._changed = threading.Condition()
        self._closed = False

    def put(self, job: Img2ImgJob) -> "Future[Pixels]":
        """Let a job wait."""
        future: Future[Pixels] = Future()
        with self._changed:
            self._orders.append((job, future))
            self._changed.notify_all()
        return future

    def take(self, rule: Rule) -> list[Order]:
        """Wait until `rule` picks some, and take them; none after `close`. The rule is asked under the desk's lock."""
        with self._changed:
            while not self._closed:
                self._orders = [order for order in self._orders if not order[1].cancelled()]
                places = rule([job for job, _ in self._orders]) if self._orders else ()
                taken = [self._orders[place] for place in places]
                self._orders = [order for order in self._orders if order not in taken]
                if taken:
                    return taken
                self._changed.wait()
            return []

    def change(self, act: Callable[[], None]) -> None:
        """Do something that rules look at, under the lock, and ask the waiting workers' rules again."""
        with self._changed:
            act()
            self._changed.notify_all()

    def close(self) -> None:
        """Send the workers home."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def settle(orders: Sequence[Order], work: Callable[[list[Img2ImgJob]], list[Pixels]]) -> None:
    """Do the work of several orders at once; each future hears how it went. What was cancelled is left out."""
    orders = [order for order in orders if order[1].set_running_or_notify_cancel()]
    if not orders:
        return
    try:
        pictures = work([job for job, _ in orders])
    except Exception as error:  # noqa: BLE001 (whoever waits for the futures raises it)
        for _, future in orders:
            future.set_exception(error)
        return
    for (_, future), picture in zip(orders, pictures, strict=True):
        future.set_result(picture)
