"""A replica's death in the middle of a job: the very same picture, a little later."""

import os
import signal
import time

from tests.conftest import Service
from tests.integration.asking import download
from tests.integration.jobs import LONG, fetched, resource, submit, watching
from tests.integration.processes import replica_pids

PATIENCE_S = 180.0
"""A replica takes a while to come up where others use the machine too."""


def test_a_job_whose_replica_is_killed_gives_the_picture_of_an_undisturbed_run(hasty: Service) -> None:
    undisturbed = fetched(hasty, submit(hasty, seed=5, **LONG)["id"])
    disturbed = submit(hasty, seed=5, **LONG)["id"]
    with watching(hasty, disturbed) as events:
        next(event for event in events if event.data["progress"]["done"] > 0)
    (pid,) = replica_pids(hasty, "Diffusion-pocket")
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    again = fetched(hasty, disturbed)
    print(f"recovered in {time.monotonic() - killed:.1f} s")
    assert resource(hasty, disturbed).json()["attempts"] == 1
    assert again["status"] == "success"
    expected = [download(hasty, link) for link in undisturbed["output"]]
    assert [download(hasty, link) for link in again["output"]] == expected


def test_a_model_without_a_replica_is_named_by_readiness_until_it_is_back_and_health_stays_well(hasty: Service) -> None:
    def until(status: int) -> dict[str, object]:
        end = time.monotonic() + PATIENCE_S
        with hasty.client() as client:
            while (answer := client.get("/readyz")).status_code != status:
                assert time.monotonic() < end
                assert client.get("/healthz").status_code == 200
                time.sleep(0.1)
        told: dict[str, object] = answer.json()
        return told

    assert until(200) == {"status": "ok", "missing": []}
    (pid,) = replica_pids(hasty, "Diffusion-pocket")
    os.kill(pid, signal.SIGKILL)
    assert until(503)["missing"] == ["model pocket"]
    assert until(200)["missing"] == []
