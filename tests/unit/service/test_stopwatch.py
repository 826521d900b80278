"""Laps of a request's way: they add up to the whole time, whatever lies inside what."""

import pytest

from serve_app.service.stopwatch import Stage, Stopwatch


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> Stopwatch:
    return Stopwatch(clock)


def test_a_lap_is_the_time_since_the_last_one_and_laps_of_one_stage_add_up(clock: Clock, watch: Stopwatch) -> None:
    for stage, seconds in ((Stage.READ, 1.0), (Stage.FINISH, 2.0), (Stage.READ, 4.0)):
        clock.now += seconds
        watch.lap(stage)
    assert watch.laps == {Stage.READ: 5.0, Stage.FINISH: 2.0}


def test_stages_are_told_in_the_order_of_the_way(watch: Stopwatch) -> None:
    for stage in (Stage.ANSWER, Stage.READ, Stage.ENGINE):
        watch.lap(stage)
    assert list(watch.laps) == [Stage.READ, Stage.ENGINE, Stage.ANSWER]


def test_a_second_word_counts_to_the_next_stage(clock: Clock, watch: Stopwatch) -> None:
    for _ in range(2):
        clock.now += 1.0
        watch.first_lap(Stage.REACH)
    watch.lap(Stage.HANDOVER)
    assert watch.laps == {Stage.REACH: 1.0, Stage.HANDOVER: 1.0}


@pytest.mark.parametrize(("engine", "reach", "handover"), [(3.0, 2.0, 1.0), (5.0, 1.0, 0.0)])
def test_what_lies_inside_other_laps_is_taken_out_of_them(
    clock: Clock, watch: Stopwatch, engine: float, reach: float, handover: float
) -> None:
    for stage, seconds in ((Stage.REACH, 2.0), (Stage.HANDOVER, 4.0)):
        clock.now += seconds
        watch.lap(stage)
    watch.carve({Stage.ENGINE: engine}, Stage.HANDOVER, Stage.REACH)
    assert watch.laps == {Stage.REACH: reach, Stage.ENGINE: engine, Stage.HANDOVER: handover}
    assert sum(watch.laps.values()) == 6.0
