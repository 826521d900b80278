"""Every manifest is what the API server takes: core kinds by their schemas, the RayService by KubeRay's CRD."""

import copy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.unit.manifests.crd_schema import Schema, closed, complaints, crd_schema, with_defaults, without_nulls
from tests.unit.manifests.manifest_reading import (
    CRDS,
    KUSTOMIZATIONS,
    ROOT,
    YAML_FILES,
    Object,
    groups,
    ray_service,
    rendered,
)

KUBERNETES = kubernetes_validate.latest_version()


def check_core(thing: Object) -> None:
    kubernetes_validate.validate(thing, KUBERNETES, strict=True)


def pods(service: Object) -> list[Object]:
    """The pods of a RayService, as KubeRay takes them before it adds its own parts."""
    templates = [group["template"] for group in groups(service)]
    return [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **template} for template in templates]


@pytest.fixture(scope="module")
def ray_service_schema() -> Schema:
    """The RayService of `ray.io/v1` in the one KubeRay release whose CRD lies beside the repository."""
    found = sorted(CRDS.glob("ray.io_rayservices.*.yaml"))
    if not found:
        pytest.skip("../shared/crds, with KubeRay's CRD, is not beside this repository")
    return crd_schema(found[-1], "v1")


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_yaml_file_parses_and_holds_something(path: Path) -> None:
    assert all(document for document in yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_a_kustomization_renders_into_kinds_that_are_checked_here(kustomization: str) -> None:
    kinds = [thing["kind"] for thing in rendered(kustomization)]
    assert sorted(kinds) == ["Namespace", "RayService"]


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_core_kinds_hold_to_their_schemas(kustomization: str) -> None:
    for thing in rendered(kustomization):
        if thing["kind"] != "RayService":
            check_core(thing)


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_the_pods_of_the_ray_service_hold_to_the_pod_schema(kustomization: str) -> None:
    for pod in pods(ray_service(kustomization)):
        check_core(pod)


def test_an_unknown_field_in_a_core_kind_is_caught() -> None:
    (pod, *_) = copy.deepcopy(pods(ray_service("k8s/base")))
    pod["spec"]["containers"][0]["resorces"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="resorces"):
        check_core(pod)


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_the_ray_service_holds_to_kuberays_schema(kustomization: str, ray_service_schema: Schema) -> None:
    assert complaints(ray_service(kustomization), ray_service_schema) == []


PLANTED = [
    (("spec", "serveConfigV3"), "x", "$.spec: ", "'serveConfigV3' was unexpected"),
    (("spec", "excludeHeadPodFromServeSvc"), "yes", "$.spec.excludeHeadPodFromServeSvc: ", "not of type 'boolean'"),
    (
        ("spec", "rayClusterConfig", "headGroupSpec", "rayStartParams", "num-cpus"),
        0,
        "$.spec.rayClusterConfig.headGroupSpec.rayStartParams['num-cpus']: ",
        "not of type 'string'",
    ),
    (
        ("spec", "rayClusterConfig", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "imagePullPolice"),
        "Always",
        "$.spec.rayClusterConfig.workerGroupSpecs[0].template.spec.containers[0]: ",
        "'imagePullPolice' was unexpected",
    ),
    (
        ("spec", "rayClusterConfig", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "resources", "limits"),
        {"memory": 1.5},
        "$.spec.rayClusterConfig.workerGroupSpecs[0].template.spec.containers[0].resources.limits.memory: ",
        "is not valid under any of the given schemas",
    ),
    (("metadata", "label"), {}, "$.metadata: ", "'label' was unexpected"),
    (("spec", "rayClusterConfig", "headGroupSpec"), None, "$.spec.rayClusterConfig: ", "is a required property"),
]


@pytest.mark.parametrize(("path", "planted", "where", "what"), PLANTED, ids=lambda value: str(value)[:60])
def test_a_planted_fault_in_the_ray_service_is_caught(
    path: tuple[str | int, ...], planted: object, where: str, what: str, ray_service_schema: Schema
) -> None:
    service = copy.deepcopy(ray_service("k8s/base"))
    parent: Any = service
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = planted
    (complaint,) = complaints(service, ray_service_schema)
    assert complaint.startswith(where)
    assert what in complaint


def test_defaults_are_filled_and_nulls_are_dropped_before_a_schema_judges() -> None:
    schema: Schema = {"type": "object", "properties": {"size": {"type": "integer", "default": 3}, "name": {}}}
    assert with_defaults(without_nulls({"size": None, "name": None}), schema) == {"size": 3}


def test_closing_a_schema_leaves_free_maps_open_and_a_field_called_properties_alone() -> None:
    schema: Schema = {"properties": {"labels": {"additionalProperties": {"type": "string"}}, "properties": {}}}
    assert closed(schema) == {**schema, "additionalProperties": False}
