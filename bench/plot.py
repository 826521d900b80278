"""The picture for the README: throughput of the closed loops, latency of the open one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

OURS, THEIRS = "#c8452d", "#8a8f98"
PANELS = (
    ("mixed", "images_per_s_median", "Jobs that agree in nothing\nimages/s, more is better"),
    ("same", "images_per_s_median", "Jobs that all agree\nimages/s, more is better"),
    ("poisson", "p95_s_median", "Open loop at 70 % of capacity\np95 latency in s, less is better"),
)


def draw(figures: Mapping[str, Any], file: Path) -> None:
    """Write a PNG with a panel for each workload that was measured."""
    panels = [panel for panel in PANELS if f"{panel[0]}.raw" in figures]
    if not panels:
        return
    sheet, axes = pyplot.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.2), squeeze=False)
    for axis, (workload, column, title) in zip(axes[0], panels, strict=True):
        _bars(axis, {name: own[column] for name, own in figures[f"{workload}.raw"]["peers"].items()}, title)
    sheet.tight_layout()
    sheet.savefig(file, dpi=150)
    pyplot.close(sheet)


def _bars(axis: Axes, values: Mapping[str, float], title: str) -> None:
    names = list(values)
    bars = axis.barh(names, list(values.values()), color=[THEIRS if place else OURS for place in range(len(names))])
    axis.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.set_title(title, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
