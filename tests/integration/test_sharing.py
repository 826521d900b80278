"""Jobs of several sizes at once: a large picture keeps nobody waiting."""

from models.pocket.world import draw
from tests.conftest import Service
from tests.integration.asking import INIT, ask, b64, png
from tests.integration.jobs import resource, submit, watching

SIDE = 512
"""The size of the hosted API's own example."""


def test_small_jobs_end_while_a_large_one_is_at_work(service: Service) -> None:
    picture = b64(png(draw(INIT, SIDE)))
    large = submit(service, init_image=picture, num_inference_steps=50, guidance_scale=1.0, samples=4)["id"]
    try:
        with watching(service, large) as events:
            next(event for event in events if event.data["progress"]["done"] > 0)
        for side in (64, 128):
            ask(service, width=side, height=side, num_inference_steps=4)
        assert resource(service, large).json()["status"] == "running"
    finally:
        resource(service, large, "DELETE")
