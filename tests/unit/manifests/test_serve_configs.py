"""Each Serve config, at the top of the repository or in a RayService, is one that Serve and the application take."""

import re
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from serve_app.config import AppConfig
from tests.unit.manifests.manifest_reading import (
    KUSTOMIZATIONS,
    ROOT,
    SERVE_CONFIGS,
    ray_service,
    serve_config_text,
    with_every_knob_on,
)

# Ray's own model still declares fields in the manner of Pydantic 1, and says so when it is first imported.
ray_warns = pytest.mark.filterwarnings(
    r"ignore:Using extra keyword arguments on `Field` is deprecated:DeprecationWarning"
)


def check_serve_schema(text: str) -> dict[str, Any]:
    """The text as Serve reads it, defaults filled; raises ValidationError where Serve would."""
    from ray.serve.schema import ServeDeploySchema

    read: dict[str, Any] = ServeDeploySchema.model_validate(yaml.safe_load(text)).model_dump()
    return read


def app_config(text: str) -> AppConfig:
    (application,) = yaml.safe_load(text)["applications"]
    return AppConfig.model_validate(application["args"])


def unknown_fields(text: str) -> set[str]:
    """Names that Serve would pass over in silence, since its schemas allow names from the future."""
    from ray.serve.schema import HTTPOptionsSchema, ServeApplicationSchema, ServeDeploySchema

    raw = yaml.safe_load(text)
    (application,) = raw["applications"]
    parts = [(raw, ServeDeploySchema), (raw["http_options"], HTTPOptionsSchema), (application, ServeApplicationSchema)]
    return {name for part, schema in parts for name in set(part) - set(schema.model_fields)}


@ray_warns
@pytest.mark.parametrize("source", SERVE_CONFIGS)
def test_serve_takes_the_config_and_knows_every_name_in_it(source: str) -> None:
    text = serve_config_text(source)
    (application,) = check_serve_schema(text)["applications"]
    assert (application["name"], application["route_prefix"]) == ("darkroom", "/")
    assert application["import_path"] == "deployments.app:build_app"
    assert unknown_fields(text) == set()


@ray_warns
def test_a_planted_fault_in_a_serve_config_is_caught() -> None:
    text = serve_config_text("serve_config.yaml")
    with pytest.raises(ValidationError, match=r"http_options\.port"):
        check_serve_schema(text.replace("port: 8000", "port: eight thousand"))
    assert unknown_fields(text.replace("proxy_location", "proxy_locations")) == {"proxy_locations"}


@pytest.mark.parametrize("source", SERVE_CONFIGS)
def test_the_application_takes_its_arguments(source: str) -> None:
    assert app_config(serve_config_text(source)).default_model_id == "pocket"


@ray_warns
@pytest.mark.parametrize("source", SERVE_CONFIGS)
def test_every_setting_shown_as_a_comment_is_valid_when_it_is_switched_on(source: str) -> None:
    text = serve_config_text(source)
    switched_on = with_every_knob_on(text)
    check_serve_schema(switched_on)
    assert app_config(switched_on).auth.keys
    assert app_config(switched_on) != app_config(text)


def test_an_unknown_setting_of_the_application_is_caught() -> None:
    switched_on = with_every_knob_on(serve_config_text("serve_config.yaml"))
    with pytest.raises(ValidationError, match="data_dirs"):
        app_config(switched_on.replace("data_dir:", "data_dirs:"))


def test_the_shipped_config_says_the_same_as_the_embedded_default() -> None:
    assert app_config(serve_config_text("serve_config.yaml")) == AppConfig()


def test_a_first_start_opens_no_port_to_the_network() -> None:
    assert yaml.safe_load(serve_config_text("serve_config.yaml"))["http_options"]["host"] == "127.0.0.1"


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_a_cluster_listens_on_every_interface_of_its_pods(kustomization: str) -> None:
    assert yaml.safe_load(serve_config_text(kustomization))["http_options"]["host"] == "0.0.0.0"


@pytest.mark.parametrize("source", SERVE_CONFIGS)
def test_the_deadline_is_the_applications_own_and_not_serves(source: str) -> None:
    assert "request_timeout_s" not in yaml.safe_load(serve_config_text(source))["http_options"]


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_manifests_name_the_ray_that_is_installed_in_the_image(kustomization: str) -> None:
    constraints = ROOT / "constraints.txt"
    pinned = re.search(r"^ray(?:\[[^]]*])?==(\S+)", constraints.read_text(), flags=re.MULTILINE)
    assert pinned is not None
    assert ray_service(kustomization)["spec"]["rayClusterConfig"]["rayVersion"] == pinned.group(1)
