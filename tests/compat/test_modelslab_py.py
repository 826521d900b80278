"""The vendor's newer SDK, `modelslab-py` 0.2.3, with its base URL and key changed and nothing else."""

import io
import warnings
from typing import Any

import pytest
import requests
from PIL import Image

from tests.conftest import Service
from tests.integration.asking import INIT_B64

with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # it speaks Pydantic 1
    from modelslab_py.core.apis.community import Community
    from modelslab_py.core.client import Client
    from modelslab_py.schemas.community import Image2Image


def community(service: Service, *, enterprise: bool = False) -> Community:
    """The SDK's client, which shall not wait a minute between polls."""
    client = Client(service.key, fetch_retry=200, fetch_timeout=0.25)
    client.base_url = f"{service.url}/api/"
    return Community(client, enterprise=enterprise)


def asked(steps: int, side: int, samples: int = 1) -> Image2Image:
    """A request as the SDK makes it."""
    return Image2Image(
        prompt="a red star on a blue background", model_id="pocket", init_image=INIT_B64, safety_checker="no",
        seed=11, strength=0.9, num_inference_steps=steps, width=side, height=side, samples=samples,
    )  # fmt: skip


def sizes(answer: dict[str, Any]) -> list[tuple[int, int]]:
    """Of the pictures that an answer links to."""
    return [Image.open(io.BytesIO(requests.get(link, timeout=60).content)).size for link in answer["output"]]


@pytest.mark.parametrize("enterprise", [False, True])
def test_a_quick_job_is_submitted_and_downloaded(service: Service, enterprise: bool) -> None:
    answer = community(service, enterprise=enterprise).image_to_image(asked(4, 64))
    assert (answer["status"], sizes(answer)) == ("success", [(64, 64)])


@pytest.mark.parametrize("enterprise", [False, True])
def test_a_slow_job_is_submitted_polled_and_downloaded(hasty: Service, enterprise: bool) -> None:
    sdk = community(hasty, enterprise=enterprise)
    first = sdk.image_to_image(asked(50, 128, 2))
    assert first["status"] == "processing"
    answer = sdk.fetch(str(first["id"]))
    assert (answer["status"], answer["output"]) == ("success", first["future_links"])
    assert sizes(answer) == [(128, 128)] * 2
