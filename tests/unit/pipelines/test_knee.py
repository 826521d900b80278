"""How many rows a call should have, by how long calls take."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from serve_app.config import POCKET, ModelEntry
from serve_app.errors import ConfigError
from serve_app.pipelines import load_pipeline, rows_per_call
from serve_app.pipelines.knee import LONG_S, REPEATS, WIDTHS, call_seconds, knee_of, measured_rows
from serve_app.pipelines.rows import LatentRow
from serve_app.pipelines.sd import SdPipeline
from serve_app.prompts.weights import parse_weights
from tests.unit.pipelines.small_models import make_model

UNSET = POCKET.model_copy(update={"torch_threads": 1, "rows_per_call": None})
SIDE = 64


class Device(SdPipeline):
    """The real pipeline on a device whose calls take as long as a test says, by its own clock."""

    now = 0.0
    seconds: Callable[[int], float]
    memory = max(WIDTHS)
    """UNet rows that it has memory for."""
    calls: list[int]

    def denoise(self, rows: Sequence[LatentRow]) -> torch.Tensor:
        """As the real one."""
        width = sum(row.width for row in rows)
        self.calls.append(width)
        if width > self.memory:
            raise torch.OutOfMemoryError("a test's")
        self.now += self.seconds(width)
        return super().denoise(rows)

    def clock(self) -> float:
        """Seconds that its calls have taken."""
        return self.now


@pytest.fixture(scope="module")
def loaded() -> Device:
    return Device(UNSET, parse_weights)


@pytest.fixture
def device(loaded: Device) -> Device:
    loaded.now, loaded.memory, loaded.calls = 0.0, max(WIDTHS), []
    return loaded


def launches_then_arithmetic(width: int) -> float:
    """A GPU's: twelve rows are computed in the time that it takes to launch them."""
    return max(0.024, 0.002 * width)


def test_company_that_is_free_is_taken_and_what_only_waits_is_not(device: Device) -> None:
    device.seconds = launches_then_arithmetic
    seconds = call_seconds(device, SIDE, device.clock)
    assert seconds == pytest.approx({2: 0.024, 4: 0.024, 8: 0.024, 16: 0.032, 32: 0.064})
    assert knee_of(seconds) == 16


def test_a_device_that_only_computes_takes_one_guided_sample_at_a_time(device: Device) -> None:
    device.seconds = lambda width: 0.1 * width
    assert knee_of(call_seconds(device, SIDE, device.clock)) == 2
    assert max(device.calls) == 4


def test_a_call_that_gains_ever_more_stays_within_its_slowdown() -> None:
    seconds = {width: 0.0073 + 0.00098 * width for width in WIDTHS}  # the pocket model on a CPU core
    assert knee_of(seconds) == 12


@pytest.mark.parametrize("widest", WIDTHS)
def test_where_the_knee_was_not_reached_the_widest_call_is_it(widest: int) -> None:
    assert knee_of({width: 0.02 for width in WIDTHS if width <= widest}) == widest


def test_measuring_ends_where_memory_does(device: Device) -> None:
    device.seconds, device.memory = launches_then_arithmetic, 8
    assert knee_of(call_seconds(device, SIDE, device.clock)) == 8


def test_a_device_without_memory_for_one_sample_is_refused_with_the_size(device: Device) -> None:
    device.memory = 1
    with pytest.raises(ConfigError, match=r"'pocket': .*64 x 64"):
        measured_rows(UNSET, device)


def test_a_slow_device_is_not_measured_for_long(device: Device) -> None:
    device.seconds = lambda _: LONG_S
    assert knee_of(call_seconds(device, SIDE, device.clock)) == 2
    assert device.calls == [2]


def test_each_width_is_warmed_up_and_taken_at_its_best(device: Device) -> None:
    device.seconds = lambda width: 0.5 if device.calls.count(width) == 1 else 0.01 + 0.001 * (len(device.calls) % 3)
    assert call_seconds(device, SIDE, device.clock)[2] == pytest.approx(0.01)
    assert device.calls.count(2) == 1 + REPEATS


def test_an_entry_that_says_nothing_is_measured_and_one_that_does_is_believed(device: Device) -> None:
    device.seconds = lambda _: 0.0
    assert rows_per_call(UNSET, device) in range(2, max(WIDTHS) + 1, 2)
    assert device.calls
    device.calls = []
    assert rows_per_call(UNSET.model_copy(update={"rows_per_call": 5}), device) == 5
    assert device.calls == []


@pytest.mark.parametrize(("model", "family"), [("sd2", "sd"), ("sdxl", "sdxl")])
def test_every_family_can_be_measured(model: str, family: str, tmp_path: Path) -> None:
    make_model(model).save_pretrained(tmp_path)
    told = {"id": model, "source": str(tmp_path), "family": family, "knee_pixels": SIDE**2, "torch_threads": 1}
    entry = ModelEntry.model_validate(told)
    assert 2 <= rows_per_call(entry, load_pipeline(entry, parse_weights)) <= max(WIDTHS)
