"""A model without a safety checker, as its clients meet it."""

from pathlib import Path

import pytest

from tests.unit.deployments.over_asgi import BODY, client_of
from tests.unit.service.stand_in import bench

PATH = "/api/v4/dreambooth/img2img"


@pytest.mark.parametrize("asked", ["yes", None, ""])
async def test_a_check_that_nobody_can_make_is_refused_by_name_also_where_it_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None
) -> None:
    async with bench(tmp_path) as one:
        pocket = one.config.catalogue[0].model_copy(update={"safety": "none"})
        one.config = one.config.model_copy(update={"catalogue": (pocket,)})
        async with client_of(one, monkeypatch) as client:
            answer = await client.post(PATH, json={**BODY, "model_id": pocket.id, "safety_checker": asked})
    assert answer.status_code == 422
    (sentence,) = answer.json()["message"]["safety_checker"]
    assert sentence == f"The safety checker field must be no: the model {pocket.id} has no safety checker."
