"""Ours: the step engine as the deployment runs it."""

from concurrent.futures import Future

from serve_app.config import ModelEntry
from serve_app.engine import build_engine
from serve_app.engine.loop import Event
from serve_app.messages import Img2ImgJob, Pixels, Progress, Raster
from serve_app.pipelines import flight_bytes
from serve_app.pipelines.latent import LatentPipeline


class Own:
    """A step engine with the budgets of a catalogue entry."""

    name = "darkroom"

    def __init__(self, entry: ModelEntry, pipeline: LatentPipeline, rows_per_call: int) -> None:
        self._engine = build_engine(entry, pipeline, rows_per_call, flight_bytes(entry, pipeline))
        self._engine.start()

    def submit(self, job: Img2ImgJob) -> "Future[Pixels]":
        """As `Peer.submit`; a job may be cancelled at any time."""
        future: Future[Pixels] = Future()

        def listen(event: Event) -> None:
            if isinstance(event, Progress) or not future.set_running_or_notify_cancel():
                return
            if isinstance(event, Raster):
                future.set_result(event.pixels[0])
            else:
                future.set_exception(event)

        flight = self._engine.submit(job, listen)
        future.add_done_callback(lambda done: flight.cancel() if done.cancelled() else None)
        return future

    def close(self) -> None:
        """As `Peer.close`."""
        self._engine.stop()
