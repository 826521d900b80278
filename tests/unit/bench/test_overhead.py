"""From answers of the service to its overhead by stages."""

from math import fsum

import pytest

from bench.overhead import AIM_MS, Sample, costliest, over_rounds, read_server_timing, spreads, table, verdict

TOLD = {"read": 1.0, "engine": 100.0, "finish": 20.0}


def samples(*totals: float) -> list[Sample]:
    return [Sample(total, TOLD) for total in totals]


def test_a_header_is_read_as_milliseconds_by_stage() -> None:
    assert read_server_timing("read;dur=1.25, engine;dur=1500.00") == {"read": 1.25, "engine": 1500.0}


@pytest.mark.parametrize("header", ["", "read", "read;desc=x", "read;dur=x"])
def test_another_header_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match="could not convert"):
        read_server_timing(header)


def test_overhead_is_all_but_the_engine_and_its_stages_add_up_to_it() -> None:
    (sample,) = samples(130.0)
    assert sample.overhead == 30.0
    assert sample.stages == {"read": 1.0, "finish": 20.0, "proxy": 9.0}
    assert fsum(sample.stages.values()) == sample.overhead


def test_figures_of_a_round_are_median_p95_and_share() -> None:
    figures = spreads(samples(*range(130, 151)))
    assert (figures["overhead"]["median"], figures["overhead"]["p95"]) == (40.0, 49.0)
    assert figures["engine"] == {"median": 100.0, "p95": 100.0}
    assert figures["finish"]["share"] == 0.5
    assert fsum(spread.get("share", 0.0) for spread in figures.values()) == pytest.approx(1.0)


def test_rounds_count_by_their_median() -> None:
    rounds = [spreads(samples(total)) for total in (130.0, 190.0, 150.0)]
    assert over_rounds(rounds)["proxy"]["median"] == 29.0


def test_what_costs_most_comes_first() -> None:
    figures = spreads(samples(130.0))
    assert costliest(figures) == ["finish", "proxy", "read"]
    assert "finish 20.0 ms (67%), proxy 9.0 ms (30%)" in verdict("serve", figures)


@pytest.mark.parametrize(("overhead", "word"), [(AIM_MS, "within"), (AIM_MS + 1, "over")])
def test_the_verdict_says_whether_the_aim_is_met(overhead: float, word: str) -> None:
    assert f", {word} the aim of 60 ms" in verdict("serve", spreads(samples(100.0 + overhead)))


def test_the_table_has_a_column_for_each_proxy_and_a_line_for_each_stage() -> None:
    lines = table({"serve": spreads(samples(130.0)), "haproxy": spreads(samples(125.0))}).splitlines()
    assert [line.split()[0] for line in lines] == ["ms", "total", "engine", "overhead", "read", "finish", "proxy"]
    assert lines[-1].split() == ["proxy", "9.00", "9.00", "30%", "4.00", "4.00", "16%"]
