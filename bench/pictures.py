"""What every request to a measured service holds: a picture of the pocket world, and a prompt for another one."""

import base64
import io

import numpy as np
from PIL import Image

from bench.serving import Served
from models.pocket.world import draw, prompt_for, random_scene

IMG2IMG = "/api/v4/dreambooth/img2img"


def drawn_fields(service: Served, side: int, rng: np.random.Generator) -> dict[str, object]:
    """Key, model, prompt and init image; `side` in pixels. Another picture and prompt at each call."""
    start, wanted = random_scene(rng), random_scene(rng)
    png = io.BytesIO()
    Image.fromarray(draw(start, side)).save(png, "PNG")
    return {
        "key": service.key,
        "model_id": "pocket",
        "prompt": prompt_for(wanted.colour, wanted.thing, wanted.ground),
        "init_image": base64.b64encode(png.getvalue()).decode(),
    }
