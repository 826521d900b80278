"""These tests run where `pytest --gpu DEVICE` names a torch device; elsewhere they are skipped."""

import pytest


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """The device that was named."""
    named: str | None = request.config.getoption("--gpu")
    if named is None:
        pytest.skip("for a GPU: pytest tests/gpu --gpu cuda")
    return named
