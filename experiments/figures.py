"""Figures 3 to 7 from stored runs: PNG, SVG, and the numbers of each as CSV."""

from __future__ import annotations

import dataclasses
import json
import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments import comparison, configs, finished_runs, levels, statistics, studies
from experiments.paper import METRICS
from experiments.report_text import write_files

# Okabe & Ito's palette, told apart by the colour-blind; hatches for print.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
_HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "+++")
_STYLE = {
    "font.size": 8,
    "axes.titlesize": 9,
    "svg.hashsalt": "mgnm",  # Else ids differ from one drawing to the next.
    "svg.fonttype": "none",  # Text stays text.
    "hatch.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_WIDTH, _ROW_HEIGHT = 7.2, 1.9  # inches; the width of a page of two columns


@dataclasses.dataclass(frozen=True)
class Point:
    """The four metrics of one variant, by metric: mean and standard deviation."""

    x: int | str
    metrics: dict[str, tuple[float, float | None]]
    seeds: int


Passports = dict[str, list[dict[str, Any]]]


def write(
    output_dir: Path, runs_dir: Path, datasets: list[tuple[str, str]]
) -> list[Path]:
    """Writes what the stored runs allow to `<output_dir>/figures/`; returns the paths.

    Figure 5 has the micro-video logs, Figure 6 all other data sets, as in the paper.
    """
    folder = output_dir / "figures"
    found = {pair: finished_runs.read_passports(runs_dir, *pair) for pair in datasets}
    return [
        *_sweep(folder, "fig3", studies.with_layers, found),
        *_sweep(folder, "fig4", studies.with_interests, found),
        *_wins(folder, "fig5", {p: f for p, f in found.items() if _is_video(p[0])}),
        *_wins(folder, "fig6", {p: f for p, f in found.items() if not _is_video(p[0])}),
        *_poolings(folder, found),
    ]


# Figures 3 and 4


def _sweep(
    folder: Path,
    name: str,
    variant: Callable[[str, int], studies.Variant],
    found: dict[tuple[str, str], Passports],
) -> list[Path]:
    """A metric over L or K: a row of panels a data set."""
    label, full = {
        "fig3": ("graph layers L", studies.FULL["num_layers"]),
        "fig4": ("interests K", studies.FULL["num_interests"]),
    }[name]
    lines = {}
    for (dataset, split), passports in found.items():
        points = [
            _point(x, passports[variant(dataset, x).folder])
            for x in range(9)
            if variant(dataset, x).folder in passports
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
                yerr=_bars(sds),
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
    heads = "dataset,split,x,metric,mean,sd,seeds"
    rows = [
        f"{dataset},{split},{point.x},{metric},{_csv(point.metrics[metric])},{point.seeds}"
        for (dataset, split), points in lines.items()
        for point in points
        for metric in METRICS
    ]
    other = {"fig3": "K = 4", "fig4": "L = 3"}[name]
    title = f"Figure {name[-1]}. MGNM with other numbers of {label} ({other}), uni1000"
    note = f"{_seeds_note(lines)} Dotted: the full model. Axes do not begin at 0."
    return save(folder, name, figure, (title, note), heads, rows)


def _point(x: int | str, runs: list[dict[str, Any]]) -> Point:
    values = [comparison.test_metrics(run) for run in runs]
    found = {
        metric: statistics.mean_and_sd([one[metric] for one in values])
        for metric in METRICS
    }
    return Point(x, found, len(runs))


# Figures 5 and 6


def _wins(
    folder: Path, name: str, found: dict[tuple[str, str], Passports]
) -> list[Path]:
    """Which level wins the maximum, by user: test items, and their negatives."""
    import pandas as pd

    tables = {}
    for (dataset, split), passports in found.items():
        for run in passports.get(studies.full(dataset).folder, []):
            path = run["folder"] / levels.FOLDER / levels.WINS
            if path.exists():  # The first seed is enough: users are drawn alike.
                table = pd.read_csv(path).assign(seed=run["seed"])
                tables[dataset, split] = table
                break
    if not tables:
        return []
    figure, axes = panels(len(tables), 2, height=2.2)
    for row, ((dataset, _), table) in zip(axes, tables.items()):
        shares = {kind: _shares(table, kind) for kind in ("positive", "negative")}
        # Users stand in one order in both panels: by what level 0 wins of negatives.
        order = np.argsort(-shares["negative"][0], kind="stable")
        for axis, (kind, by_level) in zip(row, shares.items()):
            _stack(axis, by_level[:, order])
            axis.set_title(
                {"positive": "test items", "negative": "sampled negatives"}[kind]
            )
            axis.set_xlabel(f"{by_level.shape[1]} users, in one order left and right")
        row[0].set_ylabel(f"{dataset}\nshare of wins", linespacing=1.5)
    handles, labels = max(
        (row[0].get_legend_handles_labels() for row in axes),
        key=lambda pair: len(pair[1]),
    )
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    heads = "dataset,split,seed,user,kind,level,wins"
    rows = [
        f"{dataset},{split},{line.seed},{line.user},{line.kind},{line.level},{line.wins}"
        for (dataset, split), table in tables.items()
        for line in table.itertuples()
    ]
    seeds = " or ".join(sorted({str(table["seed"][0]) for table in tables.values()}))
    title = (
        f"Figure {name[-1]}. The level whose score is the highest (Eq. 15): shares "
        "of each user's items"
    )
    note = f"One run of each data set, seed {seeds}."
    return save(folder, name, figure, (title, note), heads, rows)


def _shares(table: Any, kind: str) -> np.ndarray:
    """Of each user's wins, the share of each level: [L, users]."""
    chosen = table[table["kind"] == kind]
    wins = chosen.pivot(index="level", columns="user", values="wins").to_numpy()
    return wins / wins.sum(axis=0)


def _stack(axis: Any, by_level: np.ndarray) -> None:
    users = np.arange(by_level.shape[1])
    bottom = np.zeros(len(users))
    for level, share in enumerate(by_level):
        axis.bar(
            users,
            share,
            bottom=bottom,
            width=1.0,
            color=COLOURS[level % len(COLOURS)],
            hatch=_HATCHES[level % len(_HATCHES)],
            edgecolor="white",
            linewidth=0.3,
            label=f"level {level}" + (" (the items)" if level == 0 else ""),
        )
        bottom += share
    axis.set_xlim(-0.5, len(users) - 0.5)
    axis.set_ylim(0, 1)
    axis.set_xticks([])


# Figure 7


def _poolings(folder: Path, found: dict[tuple[str, str], Passports]) -> list[Path]:
    """The maximum of the levels beside their sum, of the same weights."""
    bars = {}
    for (dataset, split), passports in found.items():
        runs = passports.get(studies.full(dataset).folder, [])
        paths = {
            run["seed"]: run["folder"] / levels.FOLDER / levels.SUM for run in runs
        }
        runs = [run for run in runs if paths[run["seed"]].exists()]
        if runs:
            sums = [json.loads(paths[run["seed"]].read_text()) for run in runs]
            bars[dataset, split] = [_point("max", runs), _point("sum", sums)]
    if not bars:
        return []
    figure, axes = panels(len(bars), len(METRICS))
    for row, ((dataset, _), points) in zip(axes, bars.items()):
        for axis, metric in zip(row, METRICS):
            means, sds = zip(*(point.metrics[metric] for point in points))
            axis.bar(
                [point.x for point in points],
                means,
                yerr=_bars(sds),
                color=COLOURS[:2],
                hatch=_HATCHES[:2],
                edgecolor="white",
                width=0.6,
                capsize=4,
            )
            axis.set_title(metric.upper())
            _zoom(axis, means, sds, chance=0.5 if metric == "gauc" else 0.0)
        row[0].set_ylabel(dataset)
    heads = "dataset,split,pooling,metric,mean,sd,seeds"
    rows = [
        f"{dataset},{split},{point.x},{metric},{_csv(point.metrics[metric])},{point.seeds}"
        for (dataset, split), points in bars.items()
        for point in points
        for metric in METRICS
    ]
    title = (
        "Figure 7. Maximum and sum of the levels' scores, at inference alone, uni1000"
    )
    note = f"{_seeds_note(bars)} The same weights left and right."
    return save(folder, "fig7", figure, (title, note), heads, rows)


def _zoom(axis: Any, means: Any, sds: Any, chance: float) -> None:
    """Bars begin at what chance gives; 0 but for GAUC, whose panel says it."""
    top = max(mean + (sd or 0.0) for mean, sd in zip(means, sds))
    bottom = min(chance, *means)
    axis.set_ylim(bottom, bottom + 1.1 * (top - bottom))
    if chance:
        axis.set_title(f"GAUC (from {bottom:.1f})")


# All of them


def _bars(sds: Any) -> list[float]:
    """Error bars; one seed has none, and zero would be drawn."""
    return [float("nan") if sd is None else sd for sd in sds]


def panels(rows: int, columns: int, height: float = _ROW_HEIGHT) -> Any:
    """A figure as wide as a page, and its axes [rows, columns]; `height` a row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update(_STYLE)
    return pyplot.subplots(
        rows,
        columns,
        figsize=(_WIDTH, height * rows + 0.7),
        squeeze=False,
        layout="constrained",
    )


def save(
    folder: Path,
    name: str,
    figure: Any,
    titles: tuple[str, str],
    heads: str,
    rows: list[str],
) -> list[Path]:
    """Writes `<name>.csv`, `.png` and `.svg` to the folder; returns the paths.

    Each file is there whole or not at all; the same input gives the same bytes.
    `titles` are a title and a note below it, `heads` and `rows` the lines of the CSV.
    """
    from matplotlib import pyplot

    title, note = titles
    figure.suptitle("\n".join([title, *textwrap.wrap(note, 100)]), fontsize=9)
    write_files(folder, {f"{name}.csv": "\n".join([heads, *rows]) + "\n"})
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        partial = folder / f".{name}.{kind}.partial"
        figure.savefig(partial, format=kind, dpi=150, metadata=metadata)
        os.replace(partial, folder / f"{name}.{kind}")
    pyplot.close(figure)
    return [folder / f"{name}.{kind}" for kind in ("csv", "png", "svg")]


def _is_video(dataset: str) -> bool:
    known = configs.KNOWN_FILES.get(dataset, {}).get("dataset", dataset)
    return known == "micro_video"


def _csv(cell: tuple[float, float | None]) -> str:
    mean, sd = cell
    return f"{mean:.6f}," + ("" if sd is None else f"{sd:.6f}")


def _seeds_note(points: dict[tuple[str, str], list[Point]]) -> str:
    counts = sorted({point.seeds for line in points.values() for point in line})
    if counts == [1]:
        return "One seed."
    *others, last = map(str, counts)
    shown = f"{', '.join(others)} or {last}" if others else last
    return f"Mean ± standard deviation over {shown} seeds."
