"""From what `experiments.fragility` left to a table's values, marks and notes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from experiments.results import comparison, finished_runs, significance
from experiments.results.model_names import display_name, ordered
from experiments.studies.fragility import measure
from experiments.studies.fragility.measure import (
    ANOTHER_USER,
    REDRAWN,
    SHUFFLED,
    STORED,
)
from harness import run_folder
from harness.metrics import METRICS
from harness.passport import Run

GROUPINGS = ("instance", "user")
# Orders whose targets and negatives are the stored ones, and what a row calls them.
ALTERED = {SHUFFLED: "history shuffled", ANOTHER_USER: "another user's history"}


@dataclasses.dataclass(frozen=True)
class LookedInto(Run):
    """A finished run, with what `experiments.fragility` left in its folder."""

    fragility: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class FragilityTable:
    """The models of one data set that `experiments.fragility` has looked into.

    Attributes:
        by_model: the runs of a model, one a seed.
        values: by model, order, grouping and metric: float [draws], means over seeds.
            The draws are the same for all models and seeds.
        by_users: by order, model and metric, whether shuffled histories, or another
            user's, give another value than stored ones: paired bootstrap over users,
            Holm-corrected over models.
        notes: sentences that stand below the table, on what its numbers mean.
    """

    dataset: str
    split: str
    by_model: dict[str, list[LookedInto]]
    values: dict[str, dict[str, dict[str, dict[str, np.ndarray]]]]
    by_users: dict[str, dict[str, dict[str, bool]]]
    notes: list[str]


def measured(runs_dir: Path, dataset: str, split: str) -> dict[str, list[LookedInto]]:
    """The runs that the study looked into, by model, in the order of Table 2.

    Raises:
        UserError: if there is no finished run at all.
    """
    looked_into: dict[str, list[LookedInto]] = {}
    by_model = finished_runs.models_runs(runs_dir, dataset, split)
    for model in ordered(by_model):
        for run in by_model[model]:
            results = measure.read_results(run.folder)
            if results is not None:
                looked_into.setdefault(model, []).append(
                    LookedInto(run.folder, run.passport, results)
                )
    return looked_into


def make_table(runs_dir: Path, dataset: str, split: str) -> FragilityTable:
    """Reads what `experiments.fragility` left.

    Raises:
        UserError: if it has looked into no run.
    """
    by_model = measured(runs_dir, dataset, split)
    if not by_model:
        raise UserError(
            f"{runs_dir}/{dataset}/{split} holds no run that `experiments.fragility` "
            "has looked into. `make reproduce-fragility` does."
        )
    values = {model: _values(runs) for model, runs in by_model.items()}
    by_users = _by_users(by_model)
    notes = [*_no_times(by_model), *_seen(by_model)]
    notes.append(_worth_of_order(by_users[SHUFFLED]))
    notes.append(_worth_of_user(by_users[ANOTHER_USER]))
    notes += finished_runs.run_warnings(by_model)
    return FragilityTable(dataset, split, by_model, values, by_users, notes)


def outside(table: FragilityTable, model: str, metric: str) -> bool:
    """Whether the stored order's value is beyond those of all redrawn orders."""
    by_order = table.values[model]
    redrawn = by_order[REDRAWN]["instance"][metric]
    stored = by_order[STORED]["instance"][metric][0]
    return bool(stored < redrawn.min() or stored > redrawn.max())


def taus(table: FragilityTable, order: str, metric: str) -> list[float]:
    """Kendall's tau of the models' order in each draw with the stored one."""
    stored = [by[STORED]["instance"][metric][0] for by in table.values.values()]
    draws = np.stack(
        [by[order]["instance"][metric] for by in table.values.values()], axis=1
    )  # [draws, models]
    all_taus = [significance.kendall_tau(stored, values) for values in draws]
    return [tau for tau in all_taus if tau is not None]


def _values(
    runs: list[LookedInto],
) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    orders = runs[0].fragility["orders"]
    return {
        order: {
            grouping: {
                metric: np.mean(
                    [
                        [
                            draw["metrics"][grouping][metric]
                            for draw in run.fragility["orders"][order]
                        ]
                        for run in runs
                    ],
                    axis=0,
                )
                for metric in METRICS
            }
            for grouping in GROUPINGS
        }
        for order in orders
    }


def _by_users(
    by_model: dict[str, list[LookedInto]],
) -> dict[str, dict[str, dict[str, bool]]]:
    """Whether each altered order changes a metric beyond chance, by order and model."""
    import pandas as pd

    p_values: dict[tuple[str, str], dict[str, float]] = {
        (order, metric): {} for order in ALTERED for metric in METRICS
    }
    for model, runs in by_model.items():
        paths = [run.folder / measure.FOLDER / run_folder.RANKS for run in runs]
        tables = [pd.read_parquet(path) for path in paths]
        stored, *others = (
            comparison.mean_of_tables(
                [
                    rows
                    for table in tables
                    for _, rows in table[table["order"] == order].groupby("draw")
                ]
            )
            for order in (STORED, *ALTERED)
        )
        for order, other in zip(ALTERED, others):
            of_metrics = comparison.user_p_values(
                [(stored, other, metric) for metric in METRICS]
            )
            for metric, p_value in zip(METRICS, of_metrics):
                p_values[order, metric][model] = p_value
    below = {key: comparison.below(of_models) for key, of_models in p_values.items()}
    return {
        order: {
            model: {metric: below[order, metric][model] for metric in METRICS}
            for model in by_model
        }
        for order in ALTERED
    }


def _no_times(by_model: dict[str, list[LookedInto]]) -> list[str]:
    every = [run for runs in by_model.values() for run in runs]
    if any(REDRAWN in run.fragility["orders"] for run in every):
        return []
    return ["The order of simultaneous events is unknown for data without times."]


def _seen(by_model: dict[str, list[LookedInto]]) -> list[str]:
    """Splits that part simultaneous events let training see what a draw asks for."""
    results = next(iter(by_model.values()))[0].fragility
    draws = results["orders"].get(REDRAWN, [])
    trained = [draw["targets_trained"] for draw in draws]
    if not any(trained):
        return []
    return [
        f"In a redrawn order {np.mean(trained):,.0f} of {results['instances']:,} "
        "targets on average are events that training saw, since this split parts a "
        "user's simultaneous events: redrawn values are too high by what the models "
        "remember of them."
    ]


def _worth_of_order(by_users: dict[str, dict[str, bool]]) -> str:
    """How many models know of an order, as far as the instances can tell."""
    return (
        f"Of {len(by_users)} models, shuffled histories change beyond chance: "
        f"{_counts(by_users)}. Where none changes, these instances show nothing that "
        "the order of a history is worth to the models."
    )


def _worth_of_user(by_users: dict[str, dict[str, bool]]) -> str:
    """How many models know of a user, as far as the instances can tell."""
    same = [
        display_name(model)
        for model, marks in by_users.items()
        if not any(marks.values())
    ]
    return (
        f"Of {len(by_users)} models, another user's history changes beyond chance: "
        f"{_counts(by_users)}. Models of which no metric changes rank these candidates "
        f"alike for everyone, as far as the instances can tell: "
        f"{', '.join(same) or 'none'}."
    )


def _counts(by_users: dict[str, dict[str, bool]]) -> str:
    return ", ".join(
        f"{sum(marks[metric] for marks in by_users.values())} in {metric.upper()}"
        for metric in METRICS
    )
