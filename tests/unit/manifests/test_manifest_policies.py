"""What the manifests promise beyond schemas: room for every replica, shared records and pictures, no root."""

import pytest
import yaml

from deployments.app import SHUTDOWN_S
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
    others = (config.ingress, config.courier, config.postprocess)
    cpus_asked += sum(part.num_replicas * part.num_cpus for part in others)
    gpus_asked = sum(entry.num_replicas * entry.num_gpus for entry in config.catalogue)
    assert cpus_asked <= sum(group["replicas"] * cpus(group) for group in workers(kustomization))
    assert gpus_asked <= sum(group["replicas"] * gpus(group) for group in workers(kustomization))


def test_a_model_on_a_gpu_asks_for_no_cpu_that_its_group_does_not_offer(kustomization: str) -> None:
    offered = max((cpus(group) for group in workers(kustomization) if gpus(group)), default=0.0)
    assert all(entry.num_cpus <= offered for entry in application(kustomization).catalogue if entry.num_gpus)


def test_records_are_in_a_database_whose_url_every_pod_reads_from_a_secret(kustomization: str) -> None:
    assert application(kustomization).records.url is None
    for group in groups(ray_service(kustomization)):
        (url,) = [entry for entry in container(group)["env"] if entry["name"] == "DARKROOM_RECORDS_URL"]
        assert url["valueFrom"] == {"secretKeyRef": {"name": "darkroom-records", "key": "url"}}


def test_pictures_are_in_a_bucket_whose_credentials_are_a_secret_of_the_pods_that_reach_it(kustomization: str) -> None:
    assert application(kustomization).storage.s3 is not None
    for group in groups(ray_service(kustomization)):
        secrets = [source["secretRef"]["name"] for source in container(group).get("envFrom", [])]
        assert secrets == (["darkroom-bucket"] if cpus(group) > 0 else [])


def test_keys_are_in_the_config_since_pods_share_no_folder(kustomization: str) -> None:
    assert application(kustomization).auth.keys
    assert not any("volumes" in group["template"]["spec"] for group in groups(ray_service(kustomization)))


def test_ingress_courier_and_postprocess_ask_for_cpu_so_that_they_stay_off_pods_that_offer_none(
    kustomization: str,
) -> None:
    config = application(kustomization)
    assert min(part.num_cpus for part in (config.ingress, config.courier, config.postprocess)) > 0


def test_a_pod_may_take_longer_to_end_than_any_replica_to_finish_what_it_does(kustomization: str) -> None:
    longest = max(SHUTDOWN_S, application(kustomization).api.sync_timeout_s + 10)
    for group in groups(ray_service(kustomization)):
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] > longest


def test_every_pod_runs_the_same_versioned_image(kustomization: str) -> None:
    (image,) = {container(group)["image"] for group in groups(ray_service(kustomization))}
    name, _, tag = image.partition(":")
    assert "/" in name
    assert tag not in ("", "latest")


def test_no_pod_runs_as_root_or_may_become_it(kustomization: str) -> None:
    for group in groups(ray_service(kustomization)):
        pod = group["template"]["spec"]["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert pod["runAsUser"] == pod["runAsGroup"] == 1000
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
