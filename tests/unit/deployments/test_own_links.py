"""Over HTTP: an output link of ours as the next init image, under the default guard."""

from pathlib import Path

import pytest

from tests.unit.deployments.over_asgi import client_of
from tests.unit.deployments.test_ingress import ended_job
from tests.unit.service.stand_in import PATH, bench


@pytest.mark.parametrize("temp", ["no", "yes"])
async def test_an_output_link_is_read_from_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temp: str
) -> None:
    async with bench(tmp_path) as one, client_of(one, monkeypatch) as client:
        (link,) = (await ended_job(one, temp=temp)).links
        fields = {"prompt": "a star", "init_image": link, "seed": 3, "safety_checker": "no"}
        answer = (await client.post(PATH, json=fields)).json()
        assert answer["status"] == "success"
        look_alike = link.replace("here.test", "here.test.invalid")
        refused = (await client.post(PATH, json={**fields, "init_image": look_alike})).json()
    assert refused["message"] == "Unable to fetch image from provided URL: its host has no public address"
    if temp == "yes":
        assert answer["meta"]["init_image"].endswith("signature=***")
