"""The vendor's own SDK, `modelslab` 0.2, with its base URL and key changed and nothing else."""

import io
import json
import time

import pytest
import requests
from modelslab import CommunityModels
from PIL import Image

from tests.conftest import Service
from tests.integration.asking import INIT_B64
from tests.integration.jobs import PATIENCE_S


@pytest.fixture
def sdk(service: Service) -> CommunityModels:
    """The SDK's client, pointed at the running service."""
    client = CommunityModels()
    client.base_url = f"{service.url}/api/v4/dreambooth"
    return client


def test_the_vendors_sdk_gets_a_picture_back(service: Service, sdk: CommunityModels) -> None:
    text = sdk.img2img(
        key=service.key, model_id="pocket", prompt="a red star on a blue background", negative_prompt=None,
        init_image=INIT_B64, width="128", height="128", samples="1", num_inference_steps="8", safety_checker="no",
        enhance_prompt="yes", guidance_scale=7.5, strength=0.9, scheduler="UniPCMultistepScheduler", seed=None,
        lora_model=None, tomesd="yes", use_karras_sigmas="yes", vae=None, lora_strength=None, embeddings_model=None,
        webhook=None, track_id=None,
    )  # fmt: skip
    answer = json.loads(text)
    assert answer["status"] == "success", answer
    picture = requests.get(answer["output"][0], timeout=60).content
    assert Image.open(io.BytesIO(picture)).size == (128, 128)


def test_the_vendors_sdk_polls_for_a_slow_picture(hasty: Service) -> None:
    sdk = CommunityModels()
    sdk.base_url = f"{hasty.url}/api/v4/dreambooth"
    text = sdk.img2img(
        key=hasty.key, model_id="pocket", prompt="a red star on a blue background", negative_prompt="",
        init_image=INIT_B64, width="128", height="128", samples="2", num_inference_steps="50", safety_checker="no",
        enhance_prompt="yes", guidance_scale=7.5, strength=0.9, scheduler="", seed="", lora_model="", tomesd="yes",
        use_karras_sigmas="yes", vae="", lora_strength="", embeddings_model="", webhook="", track_id="",
    )  # fmt: skip
    first = answer = json.loads(text)
    assert first["status"] == "processing", first
    until = time.monotonic() + PATIENCE_S
    while answer["status"] == "processing":
        assert time.monotonic() < until
        time.sleep(0.2)
        answer = json.loads(sdk.fetch_queued(hasty.key, first["id"]))
    assert (answer["status"], answer["output"]) == ("success", first["future_links"])
    pictures = [requests.get(link, timeout=60).content for link in answer["output"]]
    assert [Image.open(io.BytesIO(picture)).size for picture in pictures] == [(128, 128)] * 2


def test_the_vendors_sdk_reads_an_error(sdk: CommunityModels) -> None:
    text = sdk.img2img(
        key="wrong", model_id="pocket", prompt="x", negative_prompt="", init_image=INIT_B64, width="", height="",
        samples="", num_inference_steps="", safety_checker="", enhance_prompt="", guidance_scale="", strength="",
        scheduler="", seed="", lora_model="", tomesd="", use_karras_sigmas="", vae="", lora_strength="",
        embeddings_model="", webhook="", track_id="",
    )  # fmt: skip
    assert json.loads(text) == {"status": "error", "message": "Invalid Api Key"}
