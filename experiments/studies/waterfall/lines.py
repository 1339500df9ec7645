"""From a step's runs to the lines of the table, with their changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from experiments.results.significance import mean_and_sd
from experiments.studies.waterfall.steps import (
    TRAINED_STEPS,
)

Metrics = dict[str, float]


# A line of a table: its name, and its metrics by seed.
Line = tuple[str, dict[int, Metrics]]


SHOWN = ("gauc", "ndcg@5")


def waterfall(runs: list[dict[str, Any]]) -> list[Line]:
    """The steps in order, each with what it measures, by seed."""
    trained = {
        step: _by_seed(runs, step, _view("as trained")) for step in TRAINED_STEPS
    }
    first, *others = trained.items()
    pooled = _by_seed(runs, "released", _view("as trained", grouping="user"))
    selected = _by_seed(runs, "recipe", _view("as trained", selection="valid"))
    lines = [
        ("released", pooled),
        ("grouping", first[1]),
        *others,
        ("selection", selected),
    ]
    return [line for line in lines if line[1]]


def views(runs: list[dict[str, Any]], popularity: dict[str, Metrics]) -> list[Line]:
    """The released computation under other rows and targets, one list an instance."""
    chance = {run["seed"]: run["evaluation"]["chance"] for run in runs}
    lines = [
        ("its own row order", _by_seed(runs, "released", _view("as trained"))),
        (
            "the same weights, rows shuffled",
            _by_seed(runs, "released", _view("rows shuffled")),
        ),
        (
            "its own row order, each target replaced by a random item",
            _by_seed(runs, "released", _view("random targets")),
        ),
        (
            "rows shuffled in training too",
            _by_seed(runs, "row_order", _view("as trained")),
        ),
        ("*Popularity*", {seed: popularity["instance"] for seed in chance}),
        ("*chance*", chance),
    ]
    return [line for line in lines if line[1]]


def title(runs: list[dict[str, Any]]) -> str:
    return f"{runs[0]['dataset']}, {runs[0]['split']}"


def chance_deviation(runs: list[dict[str, Any]]) -> float:
    """Standard deviation of the mean of uniform ranks, one a list, as a share."""
    return 1.0 / math.sqrt(12 * runs[0]["evaluation"]["instances"])


def _by_seed(
    runs: list[dict[str, Any]], step: str, read: Callable[[Any], Metrics]
) -> dict[int, Metrics]:
    return {
        run["seed"]: read(run["metrics"]["test"]) for run in runs if run["step"] == step
    }


def _view(
    name: str, selection: str = "test", grouping: str = "instance"
) -> Callable[[Any], Metrics]:
    return lambda selections: selections[selection][name][grouping]


def over_seeds(by_seed: dict[int, Metrics], metric: str) -> tuple[float, float | None]:
    return mean_and_sd([values[metric] for values in by_seed.values()])


def change_between(
    before: dict[int, Metrics], by_seed: dict[int, Metrics], metric: str
) -> tuple[float, float | None]:
    seeds = before.keys() & by_seed.keys()
    return mean_and_sd([by_seed[s][metric] - before[s][metric] for s in sorted(seeds)])
