"""Why a replica did not start is told in a line as soon as Serve knows it, not after it has tried for minutes."""

from deployments.faults import start_faults
from serve_app.config import config_of

CONFIG = config_of(
    {"catalogue": [{"id": "pocket", "source": "models/pocket/checkpoint"}, {"id": "sd15", "source": "org/sd15"}]}
)
SERVE_SAYS = """A replica failed to start with exception. Retrying 2 more time(s). Error:
Traceback (most recent call last):
  File "/x/ray/serve/_private/replica.py", line 1, in initialize
    await self._replica_impl.initialize(deployment_config)
OSError: no file named model_index.json

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/x/deployments/diffusion.py", line 41, in __init__
    pipeline = load_pipeline(entry, parse_weights)
serve_app.errors.{kind}: {text}
"""


def said(kind: str, text: str) -> str:
    return SERVE_SAYS.replace("{kind}", kind).replace("{text}", text)


def test_a_model_that_cannot_be_loaded_is_told_with_its_place_at_the_first_failure() -> None:
    messages = {"Diffusion-sd15": said("ConfigError", "model 'sd15': cannot load 'org/sd15'"), "Ingress": ""}
    assert start_faults(CONFIG, messages, given_up=False) == ["catalogue[1]: model 'sd15': cannot load 'org/sd15'"]


def test_several_that_fail_are_told_together() -> None:
    messages = {
        "Diffusion-pocket": said("ConfigError", "one"),
        "Postprocess": said("ConfigError", "safety of model 'sd15': none"),
    }
    assert start_faults(CONFIG, messages, given_up=False) == ["catalogue[0]: one", "safety of model 'sd15': none"]


def test_what_may_pass_is_left_to_serve_until_it_gives_up() -> None:
    messages = {"Diffusion-sd15": said("X", "").replace("serve_app.errors.X: ", "RuntimeError: the actor died")}
    assert start_faults(CONFIG, messages, given_up=False) == []
    assert start_faults(CONFIG, messages, given_up=True) == ["catalogue[1]: RuntimeError: the actor died"]


def test_replicas_that_start_slowly_are_no_fault() -> None:
    messages = {"Ingress": "Deployment has 1 replicas that have taken more than 30s to initialize."}
    assert start_faults(CONFIG, messages, given_up=False) == []
