"""The seam between the engine and a model family: four verbs over a generation's own state.

The loop knows no torch; a pipeline knows no thread, no queue and no other job.
"""

from typing import Protocol, TypeVar

from serve_app.messages import Img2ImgJob, Raster


class Generation(Protocol):
    """What the loop reads of a job in flight; the pipeline's own class holds the tensors."""

    @property
    def done(self) -> int:
        """UNet evaluations made so far, counted per sample."""

    @property
    def total(self) -> int:
        """UNet evaluations that the job needs, counted per sample; 0 where strength leaves nothing to do."""


G = TypeVar("G", bound=Generation)
Output = TypeVar("Output")


class Pipeline(Protocol[G, Output]):
    """One model, loaded on one device. Called from the step thread only."""

    def encode(self, job: Img2ImgJob) -> G:
        """Text and picture to embeddings and noised latents. Raises `InvalidFields` for what only a model can tell."""

    def denoise(self, generation: G) -> Output:
        """One UNet call over the generation's rows, guidance applied."""

    def advance(self, generation: G, output: Output) -> None:
        """One sampler step: the latents move on, `done` grows by one."""

    def decode(self, generation: G) -> Raster:
        """Latents to pixels."""
