"""The small routes: what there is, and what a browser sees."""

import pytest

from serve_app.messages import SAMPLER_NAMES
from tests.conftest import Service
from tests.integration.asking import ask


def test_health_needs_no_key(service: Service) -> None:
    with service.client() as client:
        assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize("path", ["/api/v4/dreambooth/model_list", "/api/v3/dreambooth/model_list"])
def test_the_model_list_is_a_bare_array(service: Service, path: str) -> None:
    with service.client() as client:
        models = client.post(path, json={"key": service.key}).json()
    assert [model["model_id"] for model in models] == ["pocket"]


def test_the_models_route_tells_what_a_request_can_choose(service: Service) -> None:
    with service.client() as client:
        model = client.get("/v1/models", headers={"Authorization": f"Bearer {service.key}"}).json()["models"][0]
    assert (model["vaes"], model["loras"], model["embeddings"]) == (["pastel"], ["stripes", "frame"], ["dusk"])
    assert model["default_scheduler"] == "DDIMScheduler"


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/v4/dreambooth/model_list"), ("GET", "/v1/models")])
def test_the_catalogue_wants_a_key(service: Service, method: str, path: str) -> None:
    with service.client() as client:
        assert client.request(method, path).status_code == 401


def test_every_listed_scheduler_makes_a_picture(service: Service) -> None:
    with service.client() as client:
        names = client.post("/api/v1/enterprise/schedulers_list", json={"key": service.key}).json()["schedulers"]
    assert names == list(SAMPLER_NAMES)
    for name in names:
        assert ask(service, scheduler=name, num_inference_steps=3)["meta"]["scheduler"] == name


@pytest.mark.parametrize(("path", "words"), [("/", "/docs"), ("/docs", "num_inference_steps")])
def test_a_browser_gets_a_page(service: Service, path: str, words: str) -> None:
    with service.client() as client:
        page = client.get(path)
    assert page.headers["content-type"].startswith("text/html")
    assert words in page.text


def test_the_openapi_document_describes_what_is_served(service: Service) -> None:
    with service.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
        for path, verbs in paths.items():
            for verb in verbs:
                answer = client.request(verb, path.replace("{name}", "x"))
                assert answer.status_code in ((404,) if "{name}" in path else (200, 401)), (verb, path)
