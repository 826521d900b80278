"""What a start asks of Ray and Serve, without starting them."""

import pytest
from ray._private.parameter import RayParams

from deployments.app import build_app
from deployments.node import AGENT_PORTS, _cpus, _patient_ray
from serve_app.config import AppConfig, config_of
from serve_app.errors import ConfigError


def test_rays_agents_get_their_ports_so_that_no_raylet_ends_where_they_are_slow_to_choose_them() -> None:
    own = RayParams.update_pre_selected_port
    with _patient_ray():
        parameters = RayParams()
        parameters.update_pre_selected_port()
    ports = [getattr(parameters, name) for name in AGENT_PORTS]
    assert all(ports)
    assert len(set(ports)) == len(ports)
    assert RayParams.update_pre_selected_port is own


def test_a_start_does_not_wait_for_cores_that_its_own_configuration_asks_for() -> None:
    entry = {"id": "m", "source": "models/pocket/checkpoint", "num_cpus": 6, "num_replicas": 2}
    assert _cpus(config_of({"catalogue": [entry]})) > 12
    assert _cpus(AppConfig()) < 2


def test_serves_own_commands_fail_a_wrong_configuration_with_every_fault_in_a_line() -> None:
    entry = {"id": "m", "source": "models/pocket/extras/lora-frame.safetensors", "famly": "sd"}
    with pytest.raises(ConfigError) as refused:
        build_app({"catalogue": [entry], "api": {"errors_as_200": "maybe"}})
    assert [line.split(": ")[0] for line in str(refused.value).splitlines()] == [
        "catalogue[0].famly",
        "api.errors_as_200",
        "catalogue[0].source",
        "catalogue[0].safety",
    ]
