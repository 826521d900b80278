"""Who is measured: ours, and four ways in which others serve. Each must be as good as its real model."""

from concurrent.futures import Future
from typing import Protocol

from serve_app.messages import Img2ImgJob, Pixels


class Peer(Protocol):
    """Something that makes pictures."""

    @property
    def name(self) -> str:
        """In tables and plots."""

    def submit(self, job: Img2ImgJob) -> "Future[Pixels]":
        """Take a job; the future gives its picture. A job that has not started may be cancelled."""

    def close(self) -> None:
        """End its threads."""
