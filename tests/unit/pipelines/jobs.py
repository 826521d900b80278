"""The small job that the pipelines' tests run."""

from models.pocket.world import Scene, draw
from serve_app.messages import Img2ImgJob

INIT = draw(Scene("circle", "yellow", "green"), 64)


def make_job(**changes: object) -> Img2ImgJob:
    """A small job: 64 pixels, five steps."""
    fields: dict[str, object] = {
        "id": 1, "model_id": "pocket", "prompt": "a red star on a blue background", "negative_prompt": "blurry",
        "init_image": INIT, "samples": 1, "steps": 5, "guidance_scale": 5.0, "strength": 0.7, "seed": 31,
        "token_merging": False, **changes,
    }  # fmt: skip
    return Img2ImgJob(**fields)  # type: ignore[arg-type]
