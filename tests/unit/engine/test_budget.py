"""How wide calls are, for pictures of any size."""

import pytest

from serve_app.config import POCKET
from serve_app.engine.budget import LATENT_PIXEL, CallBudget
from serve_app.engine.state import GroupKey


@pytest.mark.parametrize(("side", "rows"), [(64, 16), (128, 4), (256, 2), (1024, 2)])
def test_larger_pictures_share_calls_with_fewer_and_never_with_less_than_a_guided_sample(side: int, rows: int) -> None:
    assert POCKET.rows_per_call is not None
    budget = CallBudget(POCKET.rows_per_call, POCKET.knee_pixels // LATENT_PIXEL)
    assert budget.of(GroupKey(side // 8, side // 8)) == rows


def test_smaller_pictures_get_more_rows_of_as_many_pixels() -> None:
    assert CallBudget(16, 64 * 64).of(GroupKey(32, 32)) == 64
