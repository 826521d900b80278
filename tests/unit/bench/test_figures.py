"""From times to figures."""

import pytest

from bench.figures import Rounds, percentile, ratio, table
from bench.load import Trace


def trace(*ended: float | None, seconds: float = 4.0) -> Trace:
    return Trace(seconds, tuple(float(place) for place in range(len(ended))), ended, (None,) * len(ended))


def test_latency_is_from_coming_to_ending() -> None:
    assert trace(1.0, 3.0).latencies() == [1.0, 2.0]


def test_a_job_without_an_end_counts_with_the_time_that_it_has_waited() -> None:
    assert trace(1.0, None, seconds=9.0).latencies() == [1.0, 8.0]


def test_only_jobs_that_ended_in_time_are_served() -> None:
    assert trace(1.0, 2.0, 6.0, None).served_share(5.0) == 0.5


def test_throughput_counts_what_ended() -> None:
    assert Rounds([trace(1.0, 2.0, None, seconds=4.0)]).images_per_s == [0.5]


def test_ratios_are_taken_round_by_round() -> None:
    assert ratio([4.0, 40.0, 6.0], [2.0, 20.0, 1.0]) == 2.0


def test_a_percentile_lies_between_its_neighbours() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.5


def test_raw_figures_are_medians_over_rounds() -> None:
    rounds = Rounds([trace(1.0, 3.0, seconds=3.0), trace(1.0, 2.0, seconds=2.0), trace(1.0, 4.0, seconds=4.0)])
    figures = rounds.figures(evaluations=10)
    assert figures["images_per_s_median"] == pytest.approx(2 / 3, abs=1e-3)
    assert figures["unet_rows_per_s"] == pytest.approx(20 / 3, abs=1e-2)


def test_the_table_shows_numbers_only() -> None:
    assert "mixed.vs_key" in table({"mixed.vs_key": 2.5, "mixed.raw": {}})
    assert "raw" not in table({"mixed.vs_key": 2.5, "mixed.raw": {}})
