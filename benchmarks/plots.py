"""Plots of the results, as SVG that is the same for the same figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.ingest_run import Run
from benchmarks.scale import AXES, Point

__all__ = ["scale", "throughput"]

STYLE = {"svg.hashsalt": "mqueduct", "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}
COLOUR = "#1f6f8b"


def throughput(medians: Mapping[Any, Mapping[str, Run]], target: Path) -> None:
    """Messages per second of each contender on each database."""
    measured = {kind: runs for kind, runs in medians.items() if runs}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 2.2 * len(measured) + 0.4), layout="constrained")
        for row, (kind, runs) in enumerate(measured.items(), 1):
            axes = figure.add_subplot(len(measured), 1, row)
            names, rates = list(runs), [run.rate for run in runs.values()]
            bars = axes.barh(names, rates, color=COLOUR)
            axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3)
            axes.invert_yaxis()
            axes.set_title(f"{kind}: messages per second until committed", loc="left")
        _save(figure, target)


def scale(points: Sequence[Point], target: Path) -> None:
    """Messages per second along each axis."""
    names = [axis.name for axis in AXES if any(point.axis == axis.name for point in points)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3 * len(names), 3), layout="constrained")
        for column, name in enumerate(names, 1):
            axes = figure.add_subplot(1, len(names), column)
            own = [point for point in points if point.axis == name]
            axes.plot([point.value for point in own], [point.run.rate for point in own], "o-", color=COLOUR)
            axes.set_xscale("log")
            axes.set_ylim(bottom=0)
            axes.set_title(name, loc="left")
        _save(figure, target)


def _save(figure: Figure, target: Path) -> None:
    # Without a date, so that nothing changes when no figure does.
    figure.savefig(target, metadata={"Date": None})
