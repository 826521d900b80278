"""What the manifests promise beyond schemas: room for every replica, shared pictures, no root, no probe of ours."""

from pathlib import Path

import pytest
import yaml

from serve_app.config import AppConfig
from tests.unit.manifests.manifest_reading import KUSTOMIZATIONS, Object, groups, ray_service, serve_config_text

pytestmark = pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)


def application(kustomization: str) -> AppConfig:
    return AppConfig.model_validate(yaml.safe_load(serve_config_text(kustomization))["applications"][0]["args"])


def container(group: Object) -> Object:
    only: Object
    (only,) = group["template"]["spec"]["containers"]
    return only


def cpus(group: Object) -> float:
    """The CPUs that Ray may give away on one pod of the group."""
    limit = container(group)["resources"]["limits"]["cpu"]
    return float(group["rayStartParams"].get("num-cpus", limit))


def gpus(group: Object) -> int:
    return int(container(group)["resources"]["limits"].get("nvidia.com/gpu", 0))


def workers(kustomization: str) -> list[Object]:
    return groups(ray_service(kustomization))[1:]


def test_no_replica_runs_on_the_head(kustomization: str) -> None:
    head = groups(ray_service(kustomization))[0]
    assert cpus(head) == 0
    assert gpus(head) == 0


def test_there_is_room_for_every_replica_of_the_config(kustomization: str) -> None:
    config = application(kustomization)
    cpus_asked = sum(entry.num_replicas * entry.num_cpus for entry in config.catalogue)
    cpus_asked += config.ingress.num_replicas * config.ingress.num_cpus
    cpus_asked += config.postprocess.num_replicas * config.postprocess.num_cpus
    gpus_asked = sum(entry.num_replicas * entry.num_gpus for entry in config.catalogue)
    assert cpus_asked <= sum(group["replicas"] * cpus(group) for group in workers(kustomization))
    assert gpus_asked <= sum(group["replicas"] * gpus(group) for group in workers(kustomization))


def test_a_model_on_a_gpu_asks_for_no_cpu_that_its_group_does_not_offer(kustomization: str) -> None:
    offered = max((cpus(group) for group in workers(kustomization) if gpus(group)), default=0.0)
    assert all(entry.num_cpus <= offered for entry in application(kustomization).catalogue if entry.num_gpus)


def test_wherever_ingress_or_postprocess_can_run_the_pictures_are_mounted_at_the_data_directory(
    kustomization: str,
) -> None:
    data_dir = application(kustomization).storage.data_dir
    assert Path(data_dir).is_absolute()
    homes = [group for group in workers(kustomization) if cpus(group) > 0]
    assert homes
    for group in homes:
        (mount,) = [mount for mount in container(group)["volumeMounts"] if mount["mountPath"] == data_dir]
        (volume,) = [one for one in group["template"]["spec"]["volumes"] if one["name"] == mount["name"]]
        assert volume["persistentVolumeClaim"]["claimName"] == "darkroom-pictures"


def test_ingress_and_postprocess_ask_for_cpu_so_that_they_stay_off_pods_that_offer_none(kustomization: str) -> None:
    config = application(kustomization)
    assert config.ingress.num_cpus > 0
    assert config.postprocess.num_cpus > 0


def test_every_pod_runs_the_same_versioned_image(kustomization: str) -> None:
    (image,) = {container(group)["image"] for group in groups(ray_service(kustomization))}
    name, _, tag = image.partition(":")
    assert "/" in name
    assert tag not in ("", "latest")


def test_no_pod_runs_as_root_or_may_become_it(kustomization: str) -> None:
    for group in groups(ray_service(kustomization)):
        pod = group["template"]["spec"]["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert pod["runAsUser"] == pod["fsGroup"] == 1000
        assert container(group)["securityContext"]["allowPrivilegeEscalation"] is False


def test_memory_that_is_asked_for_is_the_memory_that_is_there(kustomization: str) -> None:
    for group in groups(ray_service(kustomization)):
        resources = container(group)["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]


def test_no_probe_of_ours_displaces_one_of_kuberays(kustomization: str) -> None:
    for group in groups(ray_service(kustomization)):
        assert not {"readinessProbe", "livenessProbe", "startupProbe"} & set(container(group))


def test_an_old_cluster_outlives_its_longest_job(kustomization: str) -> None:
    delay = ray_service(kustomization)["spec"]["rayClusterDeletionDelaySeconds"]
    assert delay > application(kustomization).api.job_deadline_s
