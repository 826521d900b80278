"""From a sampler choice to what an engine runs, kept for the next job that chooses the same.

`SamplerTables` may be asked from any thread; a table that several ask for at once is made once.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import torch
from diffusers import SchedulerMixin

from serve_app.messages import SamplerChoice
from serve_app.samplers.adams import ipndm_table
from serve_app.samplers.exploding import LangevinStepper, karras_ve_table, langevin_course
from serve_app.samplers.inversion import inversion_table
from serve_app.samplers.names import UNUSUAL, build_sampler, sampler_name, sampler_options
from serve_app.samplers.probe import probe
from serve_app.samplers.steppers import SchedulerStepper, TableStepper
from serve_app.samplers.table import HISTORY, SamplerTable, Stepper

CAPACITY = 512
"""Plans kept; each is a few kilobytes."""

PROTOTYPES = 64
"""diffusers' objects kept to copy from."""

COMMON_STEPS = (20, 30, 50)
COMMON_STRENGTH = 0.7
COMMON_NAMES = ("DDIMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")
COMMON_MULTISTEP = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "PNDMScheduler")


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How one row gets from init latents to finished ones."""

    sampler: str
    """The class name that runs."""
    evaluations: int
    """UNet evaluations of one row."""
    table: SamplerTable | None
    """The whole of it, where the sampler is linear."""
    make: Callable[[], Stepper] = field(repr=False)

    def stepper(self) -> Stepper:
        """A fresh object for one row; for a linear sampler one that walks the table."""
        return self.make()


class SamplerTables:
    """The plans made so far, the latest used of them, on the noise schedules of any number of models."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        """Held to look up, never to make."""
        self._slots: OrderedDict[_Key, _Slot] = OrderedDict()

    def __len__(self) -> int:
        return len(self._slots)

    def plan(self, choice: SamplerChoice, default: str, base: Mapping[str, Any], steps: int, strength: float) -> Plan:
        """The plan of a choice, probed at first use (milliseconds to a second).

        `default` is the class name for a choice without one, `base` the model's scheduler
        configuration. Raises ValueError, in diffusers' words, for what cannot run.
        """
        name = sampler_name(choice, default)
        kept = min(int(steps * strength), steps)
        recipe = _Recipe(name, _frozen(sampler_options(name, choice)), _frozen(base), choice, base)
        slot = self._slot(_Key(recipe, steps, kept))
        with slot.lock:
            if slot.plan is None:
                slot.plan = _make(recipe, steps, kept)
            return slot.plan

    def warm(self, base: Mapping[str, Any], default: str) -> None:
        """Make the plans that most jobs ask for, before they do; what this model's samplers refuse is left out."""
        names = dict.fromkeys((default, *COMMON_NAMES, *COMMON_MULTISTEP))
        for name in names:
            for steps in COMMON_STEPS:
                with suppress(ValueError):
                    self.plan(SamplerChoice(name), default, base, steps, COMMON_STRENGTH)

    def _slot(self, key: "_Key") -> "_Slot":
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            while len(self._slots) > self._capacity:
                self._slots.popitem(last=False)
            return slot


_Frozen = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Recipe:
    """A sampler on a model's noise schedule, equal to another by what the class makes of the choice."""

    name: str
    options: _Frozen
    base_items: _Frozen
    choice: SamplerChoice = field(compare=False)
    base: Mapping[str, Any] = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Key:
    """All that decides a plan. Size, prompt, guidance and seed stay out: no coefficient knows them."""

    recipe: _Recipe
    steps: int
    kept: int
    """How many of the steps strength leaves."""


@dataclass(slots=True, eq=False)
class _Slot:
    """One plan, or the wait for it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    plan: Plan | None = None
    """Written once, under the lock, by the first that asks."""


def _frozen(config: Mapping[str, Any]) -> _Frozen:
    return tuple(sorted((key, repr(value)) for key, value in config.items()))


def _make(recipe: _Recipe, steps: int, kept: int) -> Plan:
    try:
        return _unusual(recipe, steps, kept) if recipe.name in UNUSUAL else _ordinary(recipe, steps, kept)
    except NotImplementedError as error:
        raise ValueError(str(error)) from error


def _unusual(recipe: _Recipe, steps: int, kept: int) -> Plan:
    name, base = recipe.name, recipe.base
    if kept == 0:
        return _of_table(_nothing(name))
    if name == "IPNDMScheduler":
        return _of_table(ipndm_table(base, steps, kept))
    if name == "KarrasVeScheduler":
        return _of_table(karras_ve_table(base, steps, kept))
    if name == "DDIMInverseScheduler":
        return _of_table(inversion_table(base, steps, kept))
    course = langevin_course(base, steps, kept)
    return Plan(name, len(course.timesteps), None, partial(LangevinStepper, course))


def _ordinary(recipe: _Recipe, steps: int, kept: int) -> Plan:
    scheduler, begin = _begin(recipe, steps, kept)
    timesteps = scheduler.timesteps[begin:] if kept else scheduler.timesteps[:0]  # PNDM has one more than steps
    found = probe(recipe.name, scheduler, timesteps)
    if found.fits:
        return _of_table(found.table)
    own = partial(_begin, recipe, steps, kept)
    return Plan(recipe.name, found.table.evaluations, None, lambda: SchedulerStepper(*own(), found.table))


def _begin(recipe: _Recipe, steps: int, kept: int) -> tuple[SchedulerMixin, int]:
    """diffusers' object at the start that strength leaves (`get_timesteps` of its img2img pipelines)."""
    scheduler = deepcopy(_prototype(recipe))
    scheduler.set_timesteps(steps)
    begin = (steps - kept) * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    return scheduler, begin


@lru_cache(maxsize=PROTOTYPES)
def _prototype(recipe: _Recipe) -> SchedulerMixin:
    """diffusers' object as made and never stepped; some classes take half a second to make."""
    return build_sampler(recipe.choice, recipe.name, recipe.base)


def _of_table(table: SamplerTable) -> Plan:
    return Plan(table.sampler, table.evaluations, table, partial(TableStepper, table))


def _nothing(name: str) -> SamplerTable:
    """The table of a strength that leaves no step."""
    return SamplerTable(name, torch.zeros(0), torch.zeros(0), torch.zeros(0, HISTORY), (), (1.0, 0.0))
