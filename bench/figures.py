"""From times to figures: medians over rounds, percentiles, ratios, the printed table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from bench.load import Trace

Figures = dict[str, object]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` percent of the values do not pass."""
    return float(np.percentile(values, share))


@dataclass(slots=True)
class Rounds:
    """One peer's rounds of one workload, in order."""

    traces: list[Trace] = field(default_factory=list)

    @property
    def images_per_s(self) -> list[float]:
        """Of each round; only those that ended count."""
        return [sum(end is not None for end in trace.ended) / trace.seconds for trace in self.traces]

    def latency(self, share: float) -> list[float]:
        """A percentile of each round."""
        return [percentile(trace.latencies(), share) for trace in self.traces]

    def figures(self, evaluations: float) -> Figures:
        """Raw figures; `evaluations` says how many UNet rows a job needs on average."""
        return {
            "images_per_s": _rounded(self.images_per_s),
            "images_per_s_median": round(median(self.images_per_s), 4),
            "unet_rows_per_s": round(median(self.images_per_s) * evaluations, 2),
            "p50_s": _rounded(self.latency(50)),
            "p95_s": _rounded(self.latency(95)),
            "p50_s_median": round(median(self.latency(50)), 4),
            "p95_s_median": round(median(self.latency(95)), 4),
        }


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds of ours / theirs: rounds are interleaved, so what slows a whole round cancels out."""
    return median(one / other for one, other in zip(ours, theirs, strict=True))


def table(figures: Mapping[str, object]) -> str:
    """The figures that are numbers, one a line."""
    numbers = {key: value for key, value in figures.items() if isinstance(value, (int, float))}
    width = max(map(len, numbers), default=0)
    return "\n".join(f"{key:<{width}}  {value:>10.4g}" for key, value in numbers.items())


def peers_table(workload: str, peers: Mapping[str, Mapping[str, object]]) -> str:
    """One line a peer."""
    lines = [f"{workload:<22}{'images/s':>10}{'p50 s':>9}{'p95 s':>9}{'UNet rows/s':>13}"]
    for name, own in peers.items():
        columns = ("images_per_s_median", "p50_s_median", "p95_s_median", "unet_rows_per_s")
        rate, middle, late, rows = (float(str(own[column])) for column in columns)
        lines.append(f"  {name:<20}{rate:>10.3f}{middle:>9.2f}{late:>9.2f}{rows:>13.1f}")
    return "\n".join(lines)


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in values]
