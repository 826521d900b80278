"""OpenAI's own SDK lists the models, as tools for many servers do before anything else."""

from collections.abc import Iterator

import openai
import pytest

from tests.conftest import Service


@pytest.fixture
def client(service: Service) -> Iterator[openai.OpenAI]:
    """The SDK with its base URL and key changed."""
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.key, max_retries=0) as client:
        yield client


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.object, model.owned_by, type(model.created)) == ("pocket", "model", "darkroom", int)


def test_one_model_is_looked_up(client: openai.OpenAI) -> None:
    assert client.models.retrieve("pocket").id == "pocket"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("ghost")


def test_a_wrong_key_is_an_authentication_error(service: Service) -> None:
    with (
        openai.OpenAI(base_url=f"{service.url}/v1", api_key="wrong") as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()
