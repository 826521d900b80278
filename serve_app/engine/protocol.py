"""The seam between the engine and a model family: six verbs over drafts and rows.

The engine knows no tensor; a pipeline knows no thread, no queue and no order. A row is one sample of a job.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from serve_app.engine.state import GroupKey
from serve_app.messages import Img2ImgJob, Pixels


class Draft(Protocol):
    """A job that is ready to be encoded: its sampler and its files are loaded, nothing of it is on the device."""

    @property
    def job(self) -> Img2ImgJob:
        """What was asked."""

    @property
    def group(self) -> GroupKey:
        """What its rows share with the rows of the same UNet call."""

    @property
    def sampler(self) -> str:
        """The class name that runs."""

    @property
    def evaluations(self) -> int:
        """UNet evaluations that each row needs; 0 where strength leaves nothing to do."""

    @property
    def width(self) -> int:
        """UNet rows that a row's first evaluation takes: 2 with guidance, else 1."""

    @property
    def held(self) -> int:
        """Bytes that each row is expected to hold on the device between calls."""


class Row(Protocol):
    """One sample in flight; the pipeline's own class holds its tensors, and no other row's."""

    @property
    def remaining(self) -> int:
        """UNet evaluations to come."""

    @property
    def width(self) -> int:
        """UNet rows that the next evaluation takes."""

    @property
    def held(self) -> int:
        """Bytes that it holds on the device between calls, with all the history that it will have."""


D = TypeVar("D", bound=Draft)
R = TypeVar("R", bound=Row)
Output = TypeVar("Output")


class Pipeline(Protocol[D, R, Output]):
    """One model, loaded on one device. All verbs but `prepare` are called from the step thread only."""

    def prepare(self, job: Img2ImgJob) -> D:
        """Load what the job needs; called from any thread. Raises `InvalidFields` for what only a model can tell."""

    def encode(self, drafts: Sequence[D]) -> list[list[R]]:
        """Text and pictures to embeddings and noised latents, in micro-batches: for each draft, a row a sample."""

    def denoise(self, rows: Sequence[R]) -> Output:
        """One UNet call over rows of one group, guidance applied. Changes nothing: it may be called again."""

    def advance(self, rows: Sequence[R], output: Output) -> None:
        """One step of each row's own sampler."""

    def decode(self, rows: Sequence[R]) -> list[Pixels]:
        """Latents to pixels, in micro-batches; rows without a single evaluation give the init image itself."""

    def preview(self, row: R) -> Pixels:
        """What the row is becoming: a small picture, an eighth of the side."""
