"""What tests of several modules ask for."""

from collections.abc import Iterator
from math import inf

import pytest
import torch

from serve_app.samplers import tempering


@pytest.fixture(scope="module")
def untempered() -> Iterator[None]:
    """Steps as diffusers has them, however far they leap."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempering, "MOST", inf)
        yield


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """torch with so many threads as the test's parameter says."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)
