"""Routes: one handler under every address that the hosted API and its SDKs have."""

from importlib import import_module
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import requests
from modelslab import CommunityModels

from serve_app.api import routes
from serve_app.api.routes import fetch_url, job_events_url, job_url

JOB_ID = 13443927
CONTRACT = ("/api/v4/dreambooth", "/api/v3/dreambooth", "/api/v3", "/api/v6/images", "/api/v1/enterprise")
PICTURE = {"prompt": "a star", "init_image": "https://example.com/a.png"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The templates of the paths that an SDK posted to, in order; each post is answered with a success."""
    paths: list[str] = []

    def post(url: str, **_: object) -> SimpleNamespace:
        paths.append(urlsplit(url).path.replace(str(JOB_ID), "{id}"))
        return SimpleNamespace(status_code=200, text="{}", json=lambda: {"status": "success"})

    monkeypatch.setattr(requests, "post", post)
    return paths


@pytest.mark.parametrize("prefix", CONTRACT)
def test_every_address_of_the_contract_makes_and_fetches(prefix: str) -> None:
    assert f"{prefix}/img2img" in routes.IMG2IMG_PATHS
    assert f"{prefix}/fetch" in routes.FETCH_PATHS
    assert f"{prefix}/fetch/{{id}}" in routes.FETCH_ID_PATHS


def test_only_v3_v7_and_the_realtime_addresses_do_without_a_model_id() -> None:
    without = {path for path, model_required in routes.IMG2IMG_PATHS.items() if not model_required}
    v7 = {"/api/v7/images/img2img", "/api/v7/images/image-to-image"}
    assert without == v7 | {"/api/v3/img2img", "/api/v6/realtime/img2img", "/api/v1/enterprise/realtime/img2img"}


@pytest.mark.parametrize("base", ["/api/v4/dreambooth", "/api/v6/images"])
def test_the_first_sdks_own_calls_are_served(base: str, asked: list[str]) -> None:
    client = CommunityModels()
    client.base_url = f"https://host{base}"
    client.img2img(*[None] * 23)
    client.fetch_queued("key", JOB_ID)
    assert asked == [f"{base}/img2img", f"{base}/fetch"]
    assert asked[0] in routes.IMG2IMG_PATHS
    assert asked[1] in routes.FETCH_PATHS


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")  # it is written for an older one
@pytest.mark.parametrize("enterprise", [False, True])
@pytest.mark.parametrize(
    ("module", "product", "schema"),
    [("community", "Community", "Image2Image"), ("realtime", "Realtime", "RealtimeImage2ImageSchema")],
)
def test_the_second_sdks_own_calls_are_served(
    module: str, product: str, schema: str, enterprise: bool, asked: list[str]
) -> None:
    client = import_module("modelslab_py.core.client").Client("key")
    client.base_url = "https://host/api/"
    api = getattr(import_module(f"modelslab_py.core.apis.{module}"), product)(client=client, enterprise=enterprise)
    api.image_to_image(getattr(import_module(f"modelslab_py.schemas.{module}"), schema)(**PICTURE))
    api.fetch(str(JOB_ID))
    assert asked[0] in routes.IMG2IMG_PATHS
    assert asked[1] in routes.FETCH_ID_PATHS


@pytest.mark.parametrize("path", routes.IMG2IMG_PATHS)
@pytest.mark.parametrize("base", ["https://host:8000", "https://host:8000/"])
def test_a_job_is_fetched_under_the_address_that_made_it(path: str, base: str) -> None:
    url = fetch_url(base, path, JOB_ID)
    template = urlsplit(url).path.replace(str(JOB_ID), "{id}")
    assert url.startswith("https://host:8000/api/")
    assert template in routes.FETCH_ID_PATHS
    assert template.removesuffix("/fetch/{id}") == path.rpartition("/")[0]


def test_a_jobs_own_urls_stand_on_the_base_url() -> None:
    assert job_url("https://host/", JOB_ID) == f"https://host/v1/jobs/{JOB_ID}"
    assert job_events_url("https://host", JOB_ID) == f"https://host/v1/jobs/{JOB_ID}/events"
