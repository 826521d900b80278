"""Plans are kept, bounded, made once, and their making disturbs nobody."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor

from serve_app.messages import SAMPLER_NAMES, SamplerChoice
from serve_app.samplers import plan as plans
from serve_app.samplers.names import build_sampler
from serve_app.samplers.plan import Plan, SamplerTables
from serve_app.samplers.probe import Probe, probe
from tests.unit.samplers.walking import BASE, bent, init_latents, seeded, walk, walk_diffusers

PROBED = "EulerAncestralDiscreteScheduler"


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names probed, as they are."""
    seen: list[str] = []

    def counting(sampler: str, *rest: Any) -> Probe:  # noqa: ANN401 (as probe takes them)
        seen.append(sampler)
        return probe(sampler, *rest)

    monkeypatch.setattr(plans, "probe", counting)
    return seen


def ask(tables: SamplerTables, steps: int = 4, strength: float = 1.0, **choice: Any) -> Plan:  # noqa: ANN401 (any field)
    return tables.plan(SamplerChoice(**choice), "DDIMScheduler", BASE, steps, strength)


def test_the_same_choice_is_probed_once(probes: list[str]) -> None:
    tables = SamplerTables()
    assert ask(tables) is ask(tables, name="DDIMScheduler") is ask(tables, karras=False)  # DDIM has no Karras levels
    assert probes == ["DDIMScheduler"]


def test_what_changes_coefficients_is_another_plan(probes: list[str]) -> None:
    tables = SamplerTables()
    ask(tables)
    ask(tables, steps=5)
    ask(tables, strength=0.5)
    ask(tables, name=PROBED)
    tables.plan(SamplerChoice(), "DDIMScheduler", {**BASE, "prediction_type": "v_prediction"}, 4, 1.0)
    assert len(probes) == len(tables) == 5


def test_strengths_that_leave_the_same_steps_share_a_plan() -> None:
    tables = SamplerTables()
    assert ask(tables, 8, strength=0.5) is ask(tables, 8, strength=0.6)


def test_the_least_recently_used_plan_leaves_first(probes: list[str]) -> None:
    tables = SamplerTables(capacity=2)
    for steps in (3, 4, 3, 5):
        ask(tables, steps)
    assert len(tables) == 2
    kept = len(probes)
    ask(tables, 3)
    assert len(probes) == kept
    ask(tables, 4)
    assert len(probes) == kept + 1


def test_threads_that_miss_together_probe_once(probes: list[str]) -> None:
    tables, ready = SamplerTables(), threading.Barrier(8)

    def job(_: int) -> Plan:
        ready.wait()
        return ask(tables, 20, name=PROBED)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(job, range(8)))
    assert probes == [PROBED]
    assert all(plan is found[0] for plan in found)


def test_a_refused_choice_is_refused_again_and_blocks_no_other() -> None:
    tables = SamplerTables()
    for _ in range(2):
        with pytest.raises(ValueError, match="smaller than `num_inference_steps`"):
            ask(tables, 60, name="LCMScheduler")
    assert ask(tables).evaluations == 4


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_warming_leaves_common_choices_ready(
    prediction: str, probes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "COMMON_STEPS", (4,))
    tables, base = SamplerTables(), {**BASE, "prediction_type": prediction}
    tables.warm(base, "DDIMScheduler")
    warmed = len(probes)
    tables.plan(SamplerChoice(), "DDIMScheduler", base, 4, plans.COMMON_STRENGTH)
    assert warmed == len(probes) > 1


@pytest.mark.parametrize("name", SAMPLER_NAMES)
def test_rows_of_one_plan_do_not_see_each_other(name: str) -> None:
    plan = ask(SamplerTables(), 6, name=name)
    alone = walk(plan.stepper(), bent, init_latents(), seeded())
    first, second = plan.stepper(), plan.stepper()
    walk(first, bent, -init_latents(), seeded(1))
    assert torch.equal(walk(second, bent, init_latents(), seeded()), alone)


def test_tables_made_under_inference_mode_are_ordinary_tensors() -> None:
    with torch.inference_mode():
        table = ask(SamplerTables(), name=PROBED).table
    assert table is not None
    assert not table.coefficients.is_inference()


def test_a_real_scheduler_in_another_thread_is_not_disturbed_by_probing() -> None:
    def real() -> torch.Tensor:
        return walk_diffusers(build_sampler(SamplerChoice(PROBED), "", BASE), bent, init_latents(), 10, 1.0, seeded())

    wanted, stop = real(), threading.Event()

    def keep_probing() -> None:
        while not stop.is_set():
            ask(SamplerTables(), 10, name=PROBED)

    with ThreadPoolExecutor(1) as pool:
        probing = pool.submit(keep_probing)
        results = [real() for _ in range(15)]
        noises = [randn_tensor((1, 4), seeded()) for _ in range(200)]
        stop.set()
        probing.result()
    assert all(torch.equal(result, wanted) for result in results)
    assert all(torch.equal(noise, noises[0]) for noise in noises)


def test_probing_leaves_the_global_random_stream_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.randn(3)
    torch.manual_seed(5)
    ask(SamplerTables(), name="DDPMScheduler")
    assert torch.equal(torch.randn(3), wanted)
