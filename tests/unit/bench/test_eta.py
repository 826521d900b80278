"""How far an eta is from the truth."""

import pytest

from bench.eta import Promise, _near


def test_the_error_of_an_eta_is_relative_to_the_seconds_that_it_really_took() -> None:
    told = Promise(1, at=100.0, eta_s=12.0)
    assert told.error(ended_at=110.0) == pytest.approx(0.2)
    assert told.error(ended_at=124.0) == pytest.approx(0.5)


def test_the_share_counts_those_within_thirty_percent() -> None:
    told = [Promise(1, 100.0, 12.0), Promise(2, 100.0, 12.0), Promise(3, 100.0, 9.0), Promise(4, 100.0, 1.0)]
    ends = {1: 110.0, 2: 124.0, 3: 110.0, 4: 110.0}
    assert _near(told, ends) == {"share_within_30_percent": 0.5, "median_error": 0.35}
