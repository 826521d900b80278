"""A replica's death in the middle of a job: the very same picture, a little later."""

import os
import signal
import time

from tests.conftest import Service
from tests.integration.asking import download
from tests.integration.jobs import LONG, fetched, resource, submit, watching
from tests.integration.processes import replica_pids


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
