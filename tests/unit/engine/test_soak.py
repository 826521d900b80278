"""What many mixed requests leave behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.engine.soak import BUDGETS


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
@pytest.mark.parametrize("requests", [800, pytest.param(2000, marks=pytest.mark.thorough)])
def test_after_many_requests_nothing_is_left_and_memory_is_as_after_the_first_two_hundred(
    tmp_path: Path, requests: int
) -> None:
    command = [sys.executable, "-m", "tests.unit.engine.soak", str(tmp_path), str(requests)]
    left = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (left["jobs"], left["rows"], left["backlog"]) == (0, 0, 0)
    assert all(left["cached_bytes"][name] <= budget for name, budget in BUDGETS.items())
    assert left["last_mib"] <= 1.1 * left["warm_mib"]
