"""Figures 3 and 4: a metric along one argument of the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from experiments.reports.drawing import (
    COLOURS,
    error_bars,
    panels,
    point,
    save,
    seeds_note,
)
from experiments.results import variants
from harness.metrics import METRICS
from harness.passport import Runs


def draw_sweep(
    folder: Path,
    name: str,
    variant: Callable[[str, int], variants.Variant],
    runs: dict[tuple[str, str], Runs],
) -> list[Path]:
    """A metric over L or K: a row of panels a data set."""
    label, full = {
        "fig3": ("graph layers L", variants.FULL["num_layers"]),
        "fig4": ("interests K", variants.FULL["num_interests"]),
    }[name]
    lines = {}
    for (dataset, split), by_model in runs.items():
        points = [
            point(x, [run.test_metrics() for run in by_model[folder_name]])
            for x in range(9)
            if (folder_name := variant(dataset, x).folder) in by_model
        ]
        # One alone, the full model, is no line.
        if len(points) > 1:
            lines[dataset, split] = points
    if not lines:
        return []
    figure, axes = panels(len(lines), len(METRICS))
    for row, ((dataset, _), points) in zip(axes, lines.items()):
        for axis, metric in zip(row, METRICS):
            means, sds = zip(*(point.metrics[metric] for point in points))
            axis.errorbar(
                [point.x for point in points],
                means,
                yerr=error_bars(sds),
                color=COLOURS[0],
                marker="o",
                markersize=4,
                capsize=3,
            )
            axis.axvline(full, color="#555555", linestyle=":", linewidth=1)
            axis.set_title(metric.upper())
            axis.set_xlabel(label)
            axis.set_xticks([point.x for point in points])
            axis.grid(axis="y", color="#dddddd")
        row[0].set_ylabel(dataset)
    heads = ("dataset", "split", "x", "metric", "mean", "sd", "seeds")
    rows = [
        (dataset, split, point.x, metric, *point.metrics[metric], point.seeds)
        for (dataset, split), points in lines.items()
        for point in points
        for metric in METRICS
    ]
    other = {"fig3": "K = 4", "fig4": "L = 3"}[name]
    title = f"Figure {name[-1]}. MGNM with other numbers of {label} ({other}), uni1000"
    note = f"{seeds_note(lines)} Dotted: the full model. Axes do not begin at 0."
    return save(folder, name, figure, (title, note), heads, rows)
