"""From a sampler choice to what an engine runs, kept for the next job that chooses the same.

`SamplerTables` may be asked from any thread; a table that several ask for at once is made once.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from math import hypot
from typing import Any, TypeVar

import torch
from diffusers import SchedulerMixin
from torch import Tensor

from serve_app.messages import SamplerChoice
from serve_app.samplers.counts import INVERSION, WARMED_UP
from serve_app.samplers.exploding import LangevinStepper, LangevinSteps, karras_ve_table, langevin_steps
from serve_app.samplers.inversion import inversion_table
from serve_app.samplers.ipndm import ipndm_table
from serve_app.samplers.levels import Walk, laid_over, walk_of
from serve_app.samplers.names import UNUSUAL, build_sampler, sampler_name, sampler_options
from serve_app.samplers.probe import probe
from serve_app.samplers.steppers import SchedulerStepper, TableStepper
from serve_app.samplers.table import HISTORY, SamplerTable, Stepper
from serve_app.samplers.tempering import tempered

Facts = TypeVar("Facts", SamplerTable, LangevinSteps)

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
        walk = walk_of(steps, strength)
        choice = replace(choice, karras=choice.karras and walk.steps > 1)  # they space levels, and one has no spaces
        recipe = _Recipe(name, _frozen(sampler_options(name, choice)), _frozen(base), walk.share, choice, base)
        slot = self._slot(_Key(recipe, walk))
        with slot.lock:
            if slot.plan is None:
                slot.plan = _make(recipe, walk)
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
    share: float | None
    """As in Walk: what is cut off the base."""
    choice: SamplerChoice = field(compare=False)
    base: Mapping[str, Any] = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Key:
    """All that decides a plan. Size, prompt, guidance and seed stay out: no coefficient knows them."""

    recipe: _Recipe
    walk: Walk


@dataclass(slots=True, eq=False)
class _Slot:
    """One plan, or the wait for it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    plan: Plan | None = None
    """Written once, under the lock, by the first that asks."""


def _frozen(config: Mapping[str, Any]) -> _Frozen:
    return tuple(sorted((key, repr(value)) for key, value in config.items()))


def _make(recipe: _Recipe, walk: Walk) -> Plan:
    if walk.kept == 0:
        return _of_table(_nothing(recipe.name))
    try:
        base = recipe.base if walk.share is None else laid_over(recipe.base, walk.share)
        whole = replace(recipe, base=base)
        return _unusual(whole, walk) if recipe.name in UNUSUAL else _ordinary(whole, walk)
    except NotImplementedError as error:
        raise ValueError(str(error)) from error


def _unusual(recipe: _Recipe, walk: Walk) -> Plan:
    name, base = recipe.name, recipe.base
    if name == INVERSION:
        return _of_table(inversion_table(base, walk.steps, walk.kept))  # what it starts from is the picture
    if name == "IPNDMScheduler":
        return _of_table(_started(ipndm_table(base, walk.steps, walk.kept), walk))
    if name == "KarrasVeScheduler":
        return _of_table(_started(karras_ve_table(base, walk.steps, walk.kept), walk))
    steps = _started(langevin_steps(base, walk.steps, walk.kept), walk)
    return Plan(name, len(steps.timesteps), None, partial(LangevinStepper, steps))


def _ordinary(recipe: _Recipe, walk: Walk) -> Plan:
    scheduler, timesteps = _begin(recipe, walk)
    noise = float(scheduler.init_noise_sigma)
    found = probe(recipe.name, scheduler, timesteps)
    table = replace(found.table, start=(0.0, noise)) if walk.from_noise else found.table
    if found.fits:
        return _of_table(tempered(table, scheduler))
    own = partial(_begin, recipe, walk)
    return Plan(recipe.name, table.evaluations, None, lambda: SchedulerStepper(*own(), table))


def _started(facts: Facts, walk: Walk) -> Facts:
    """Where the walk is from noise, as much of it as there would be of picture and noise together."""
    return replace(facts, start=(0.0, hypot(*facts.start))) if walk.from_noise else facts


def _begin(recipe: _Recipe, walk: Walk) -> tuple[SchedulerMixin, Tensor]:
    """diffusers' object at the start of a walk (`get_timesteps` of its img2img pipelines), and what is to come."""
    scheduler = deepcopy(_prototype(recipe))
    scheduler.set_timesteps(walk.steps)
    begin = (walk.steps - walk.kept) * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    if recipe.name == WARMED_UP:
        return scheduler, _warming_up(scheduler.timesteps, walk)
    return scheduler, scheduler.timesteps[begin:]


def _warming_up(timesteps: Tensor, walk: Walk) -> Tensor:
    """PNDM sees its second level twice, and diffusers lists it so for a whole walk only."""
    levels = timesteps.unique().flip(0)[walk.steps - walk.kept :]
    return torch.cat([levels[:1], levels[1:2], levels[1:]])


@lru_cache(maxsize=PROTOTYPES)
def _prototype(recipe: _Recipe) -> SchedulerMixin:
    """diffusers' object as made and never stepped; some classes take half a second to make."""
    return build_sampler(recipe.choice, recipe.name, recipe.base)


def _of_table(table: SamplerTable) -> Plan:
    return Plan(table.sampler, table.evaluations, table, partial(TableStepper, table))


def _nothing(name: str) -> SamplerTable:
    """The table of a strength of 0."""
    return SamplerTable(name, torch.zeros(0), torch.zeros(0), torch.zeros(0, HISTORY), (), (1.0, 0.0))
