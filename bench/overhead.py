"""From answers to figures: the service's overhead, which is all of a request's time but the engine's, by stages.

A request's stages and `proxy` add up to its overhead. Medians do not add up; shares are of means, which do.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from bench.figures import percentile

ENGINE = "engine"
PROXY = "proxy"
"""What the header does not explain: the client, the network, the proxy, Serve around our handler."""
AIM_MS = 60.0
"""Of the median overhead, on two cores at 256 px."""

Spread = dict[str, float]
"""median and p95, in milliseconds; `share` of the overhead too, where it is a stage."""
Spreads = dict[str, Spread]
"""total, engine, overhead, then the stages in the order of a request's way."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One request. Milliseconds."""

    total: float
    """From the first byte sent to the last one read."""
    told: Mapping[str, float]
    """What its Server-Timing header says, the engine among it."""

    @property
    def overhead(self) -> float:
        """All but the engine."""
        return self.total - self.told[ENGINE]

    @property
    def stages(self) -> dict[str, float]:
        """The overhead by its stages."""
        ours = {stage: spent for stage, spent in self.told.items() if stage != ENGINE}
        return {**ours, PROXY: self.total - sum(self.told.values())}


def read_server_timing(header: str) -> dict[str, float]:
    """Milliseconds by stage. Raises ValueError for anything but `name;dur=number, ...`."""
    stages: dict[str, float] = {}
    for metric in header.split(","):
        name, _, duration = metric.strip().partition(";dur=")
        stages[name] = float(duration)
    return stages


def spreads(samples: Sequence[Sample]) -> Spreads:
    """Of one round."""
    whole = fmean(sample.overhead for sample in samples)
    stages = {name: [sample.stages[name] for sample in samples] for name in samples[0].stages}
    return {
        "total": _spread([sample.total for sample in samples]),
        ENGINE: _spread([sample.told[ENGINE] for sample in samples]),
        "overhead": _spread([sample.overhead for sample in samples]),
        **{name: {**_spread(values), "share": fmean(values) / whole} for name, values in stages.items()},
    }


def over_rounds(rounds: Sequence[Spreads]) -> Spreads:
    """The median over rounds of each figure."""
    first = rounds[0]
    return {
        name: {key: round(median(one[name][key] for one in rounds), 4) for key in spread}
        for name, spread in first.items()
    }


def costliest(figures: Spreads) -> list[str]:
    """The stages, those first that cost most."""
    stages = [name for name, spread in figures.items() if "share" in spread]
    return sorted(stages, key=lambda name: figures[name]["share"], reverse=True)


def verdict(proxy: str, figures: Spreads) -> str:
    """What costs most, and whether the aim is met."""
    named = [f"{name} {figures[name]['median']:.1f} ms ({figures[name]['share']:.0%})" for name in costliest(figures)]
    whole = figures["overhead"]["median"]
    met = "within" if whole <= AIM_MS else "over"
    return f"{proxy}: {whole:.1f} ms, {met} the aim of {AIM_MS:.0f} ms; costs most: {', '.join(named[:3])}"


def table(columns: Mapping[str, Spreads]) -> str:
    """A line for each figure, three columns for each proxy, in milliseconds."""
    lines = ["".join([f"{'ms':<10}", *(f"{name + ': median':>24}{'p95':>9}{'share':>7}" for name in columns)])]
    for row in _rows(columns.values()):
        cells = [_cells(figures.get(row, {})) for figures in columns.values()]
        lines.append("".join([f"{row:<10}", *cells]))
    return "\n".join(lines)


def _rows(columns: Iterable[Spreads]) -> list[str]:
    return list(dict.fromkeys(row for figures in columns for row in figures))


def _cells(spread: Spread) -> str:
    if not spread:
        return f"{'-':>24}{'-':>9}{'-':>7}"
    share = f"{spread['share']:.0%}" if "share" in spread else ""
    return f"{spread['median']:>24.2f}{spread['p95']:>9.2f}{share:>7}"


def _spread(values: Sequence[float]) -> Spread:
    return {"median": median(values), "p95": percentile(values, 95)}
