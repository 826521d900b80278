"""How the integration tests ask for pictures, and what they measure on them."""

import base64
import io
from typing import Any

import httpx2
import numpy as np
import numpy.typing as npt
from PIL import Image

from models.pocket.world import Scene, draw
from tests.conftest import Service

IMG2IMG = "/api/v4/dreambooth/img2img"
INIT = Scene("circle", "yellow", "green")
Pixels = npt.NDArray[np.uint8]


def png(pixels: Pixels) -> bytes:
    """A picture as PNG bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def b64(data: bytes) -> str:
    """Bytes as base64 text."""
    return base64.b64encode(data).decode()


INIT_PIXELS = draw(INIT, 128)
INIT_B64 = b64(png(INIT_PIXELS))


def body(service: Service, **fields: object) -> dict[str, object]:
    """A complete request at 128 px; `fields` change it, None takes a field away."""
    whole: dict[str, object] = {
        "key": service.key,
        "model_id": "pocket",
        "prompt": "a red star on a blue background",
        "init_image": INIT_B64,
        "num_inference_steps": 12,
        "strength": 0.9,
        "seed": 11,
        "safety_checker": "no",
        **fields,
    }
    return {name: value for name, value in whole.items() if value is not None}


def ask(service: Service, **fields: object) -> dict[str, Any]:
    """A success answer to `body`."""
    with service.client() as client:
        response = client.post(IMG2IMG, json=body(service, **fields))
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    assert answer["status"] == "success", answer
    return answer


def download(service: Service, link: str) -> bytes:
    """The bytes behind a link."""
    with service.client() as client:
        response: httpx2.Response = client.get(link)
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    return response.content


def pictures(service: Service, **fields: object) -> list[Pixels]:
    """The pictures of a request, as pixels."""
    return [pixels_of(download(service, link)) for link in ask(service, **fields)["output"]]


def pixels_of(data: bytes) -> Pixels:
    """An encoded picture as RGB pixels."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def distance(one: Pixels, other: Pixels) -> float:
    """Mean absolute difference, 0..255."""
    return float(np.abs(one.astype(float) - other.astype(float)).mean())
