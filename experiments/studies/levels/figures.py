"""Figures 5 to 7: which level wins, and what their sum ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from data import manifest
from experiments.reports.drawing import (
    COLOURS,
    HATCHES,
    error_bars,
    panels,
    point,
    save,
    seeds_note,
)
from experiments.results import variants
from experiments.studies.levels import look
from harness import defaults
from harness.metrics import METRICS
from harness.passport import Runs


def wins(
    folder: Path, name: str, by_dataset: dict[tuple[str, str], Runs]
) -> list[Path]:
    """Which level wins the maximum, by user: test items, and their negatives."""
    import pandas as pd

    tables = {}
    for (dataset, split), by_model in by_dataset.items():
        for run in by_model.get(variants.full(dataset).folder, []):
            path = run.folder / look.FOLDER / look.WINS
            manifest.check_folder(path.parent, look.FOLDER, look.REMEDY)
            if path.exists():  # The first seed is enough: users are drawn alike.
                table = pd.read_csv(path).assign(seed=run.seed)
                tables[dataset, split] = table
                break
    if not tables:
        return []
    figure, axes = panels(len(tables), 2, height=2.2)
    for row, ((dataset, _), table) in zip(axes, tables.items()):
        by_kind = {kind: shares(table, kind) for kind in ("positive", "negative")}
        # Users stand in one order in both panels: by what level 0 wins of negatives.
        order = np.argsort(-by_kind["negative"][0], kind="stable")
        for axis, (kind, by_level) in zip(row, by_kind.items()):
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
    heads = ("dataset", "split", "seed", "user", "kind", "level", "wins")
    rows = [
        (dataset, split, line.seed, line.user, line.kind, line.level, line.wins)
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


def shares(table: Any, kind: str) -> np.ndarray:
    """The share that each level has in a user's wins: [L, users]."""
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
            hatch=HATCHES[level % len(HATCHES)],
            edgecolor="white",
            linewidth=0.3,
            label=f"level {level}" + (" (the items)" if level == 0 else ""),
        )
        bottom += share
    axis.set_xlim(-0.5, len(users) - 0.5)
    axis.set_ylim(0, 1)
    axis.set_xticks([])


def poolings(folder: Path, by_dataset: dict[tuple[str, str], Runs]) -> list[Path]:
    """The maximum of the levels beside their sum, of the same weights."""
    bars = {}
    for (dataset, split), by_model in by_dataset.items():
        runs = by_model.get(variants.full(dataset).folder, [])
        paths = {run.seed: run.folder / look.FOLDER / look.SUM for run in runs}
        for run in runs:
            manifest.check_folder(run.folder / look.FOLDER, look.FOLDER, look.REMEDY)
        runs = [run for run in runs if paths[run.seed].exists()]
        if runs:
            sums = [json.loads(paths[run.seed].read_text()) for run in runs]
            values = [one["metrics"]["test"]["uni1000"]["instance"] for one in sums]
            bars[dataset, split] = [
                point("max", [run.test_metrics() for run in runs]),
                point("sum", values),
            ]
    if not bars:
        return []
    figure, axes = panels(len(bars), len(METRICS))
    for row, ((dataset, _), points) in zip(axes, bars.items()):
        for axis, metric in zip(row, METRICS):
            means, sds = zip(*(point.metrics[metric] for point in points))
            axis.bar(
                [point.x for point in points],
                means,
                yerr=error_bars(sds),
                color=COLOURS[:2],
                hatch=HATCHES[:2],
                edgecolor="white",
                width=0.6,
                capsize=4,
            )
            axis.set_title(metric.upper())
            _zoom(axis, means, sds, chance=0.5 if metric == "gauc" else 0.0)
        row[0].set_ylabel(dataset)
    heads = ("dataset", "split", "pooling", "metric", "mean", "sd", "seeds")
    rows = [
        (dataset, split, point.x, metric, *point.metrics[metric], point.seeds)
        for (dataset, split), points in bars.items()
        for point in points
        for metric in METRICS
    ]
    title = (
        "Figure 7. Maximum and sum of the levels' scores, at inference alone, uni1000"
    )
    note = f"{seeds_note(bars)} The same weights left and right."
    return save(folder, "fig7", figure, (title, note), heads, rows)


def _zoom(axis: Any, means: Any, sds: Any, chance: float) -> None:
    """Bars begin at what chance gives; 0 but for GAUC, whose panel says it."""
    top = max(mean + (sd or 0.0) for mean, sd in zip(means, sds))
    bottom = min(chance, *means)
    axis.set_ylim(bottom, bottom + 1.1 * (top - bottom))
    if chance:
        axis.set_title(f"GAUC (from {bottom:.1f})")


def is_video(dataset: str) -> bool:
    known = defaults.KNOWN_FILES.get(dataset, {}).get("dataset", dataset)
    return known == "micro_video"
