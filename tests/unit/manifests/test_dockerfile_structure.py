"""The Dockerfile copies what is there, pins what it starts from, and ends as a user that is not root.

The image itself is not built here: that needs a container engine.
"""

import json
import re

import pytest
import yaml

from deployments.local import SERVE_SETTINGS
from tests.unit.manifests.manifest_reading import ROOT


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, rest), comments gone and continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    pairs = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(name, " ".join(rest.split())) for name, rest in pairs]


def rests(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def copied() -> list[str]:
    """What COPY takes from the build context, in order."""
    return [source for rest in rests("COPY") for source in rest.split()[:-1]]


@pytest.mark.parametrize("source", copied())
def test_what_the_image_copies_is_in_the_repository(source: str) -> None:
    assert (ROOT / source).exists()


def test_what_the_image_copies_and_nothing_else_travels_to_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(copied())


def test_every_base_is_a_stage_of_this_file_or_names_a_version() -> None:
    stages: set[str] = set()
    for rest in rests("FROM"):
        base, _, stage = rest.partition(" AS ")
        assert base in stages or (":" in base and not base.endswith(":latest"))
        stages.add(stage)


def test_the_image_has_the_python_that_the_project_asks_for() -> None:
    assert "PYTHON_VERSION=3.11" in rests("ARG")


def test_dependencies_are_installed_as_the_constraints_pin_them_before_the_code_is_copied() -> None:
    order = [f"{name} {rest}" for name, rest in instructions()]
    (install,) = [line for line in order if "pip install" in line]
    assert "-c constraints.txt" in install
    assert order.index(install) < order.index("COPY serve_app serve_app")


def test_the_last_user_is_the_one_of_the_pods_and_nothing_is_run_after_it() -> None:
    names = [name for name, _ in instructions()]
    assert rests("USER")[-1] == "1000:1000"
    assert "RUN" not in names[names.index("USER") :]


def test_serve_is_set_as_it_is_on_one_machine() -> None:
    settings = dict(setting.split("=") for rest in rests("ENV") for setting in rest.split())
    assert settings.items() >= SERVE_SETTINGS.items()


def test_wget_is_there_for_kuberays_probes() -> None:
    assert any("apt-get install" in rest and "wget" in rest for rest in rests("RUN"))


def test_the_container_listens_on_every_interface_though_the_config_says_loopback() -> None:
    (edit,) = [rest for rest in rests("RUN") if rest.startswith("sed ")]
    found = re.match(r"sed -i 's/([^/]+)/([^/]+)/' serve_config\.yaml", edit)
    assert found is not None
    edited = re.sub(found.group(1), found.group(2), (ROOT / "serve_config.yaml").read_text())
    assert yaml.safe_load(edited)["http_options"]["host"] == "0.0.0.0"


def test_the_container_serves_the_config_that_it_carries() -> None:
    assert json.loads(rests("CMD")[-1]) == ["serve", "run", "serve_config.yaml"]
    assert "serve_config.yaml" in copied()


def test_the_constraints_name_no_build_that_only_one_index_has() -> None:
    constraints = ROOT / "constraints.txt"
    assert not re.findall(r"^\S+==\S+\+\S+", constraints.read_text(), flags=re.MULTILINE)
