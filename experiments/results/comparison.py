"""From by_model and ranks to a table's cells: means, spreads, places, significance."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.results import significance
from harness import metrics, run_folder
from harness.metrics import METRICS
from harness.passport import Run, Runs

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05  # of significance, as in the paper
# By runs of a smaller budget models are not ranked.
LEAST_EPOCHS = 10


@dataclasses.dataclass(frozen=True)
class Cell:
    """One metric of one model on one data set.

    Attributes:
        mean, sd: over seeds; sd is None for one seed.
        place: 1 for the best of the column, 2 for the second, else 0.
        by_seeds: the best, or what the others are compared with, differs, paired
            t-test over seeds, Holm-corrected.
        by_users: the same by the paired bootstrap over users.
    """

    mean: float
    sd: float | None
    place: int
    by_seeds: bool
    by_users: bool


def is_comparison(by_model: Runs) -> bool:
    """Whether models may be ranked by the runs: none had a budget of few epochs."""
    budgets = {
        run.passport["training"]["max_epochs"]
        for runs in by_model.values()
        for run in runs
    }
    return not any(0 < epochs < LEAST_EPOCHS for epochs in budgets)


def compare(by_model: Runs, reference: str | None = None) -> dict[str, dict[str, Cell]]:
    """The cells of a table, each tested against the column's best or a reference."""
    cells: dict[str, dict[str, Cell]] = {model: {} for model in by_model}
    ranks = {model: mean_ranks(runs) for model, runs in by_model.items()}
    for metric in METRICS:
        by_seed = {
            model: {run.seed: run.test_metrics()[metric] for run in runs}
            for model, runs in by_model.items()
        }
        means = {m: significance.mean_and_sd([*v.values()]) for m, v in by_seed.items()}
        places = sorted(means, key=lambda model: -means[model][0])
        against = reference or places[0]
        others = [model for model in places if model != against]
        by_seeds = below(_seed_p_values(by_seed, against, others))
        by_users = below(_user_p_values(ranks, metric, against, others))
        for model in by_model:
            cells[model][metric] = Cell(
                *means[model],
                place=places.index(model) + 1 if model in places[:2] else 0,
                by_seeds=by_seeds.get(model, False),
                by_users=by_users.get(model, False),
            )
    return cells


def unmarked(by_model: Runs) -> dict[str, dict[str, Cell]]:
    """The cells of a table that compares nothing: no place, and no test."""
    return {
        model: {
            metric: Cell(
                *significance.mean_and_sd([one.test_metrics()[metric] for one in runs]),
                place=0,
                by_seeds=False,
                by_users=False,
            )
            for metric in METRICS
        }
        for model, runs in by_model.items()
    }


def _seed_p_values(
    by_seed: dict[str, dict[int, float]], best: str, others: list[str]
) -> dict[str, float]:
    p_values = {}
    for model in others:
        seeds = sorted(by_seed[best].keys() & by_seed[model].keys())
        ours = [by_seed[best][seed] for seed in seeds]
        theirs = [by_seed[model][seed] for seed in seeds]
        p_values[model] = significance.paired_t_test(ours, theirs)
    return p_values


def _user_p_values(
    ranks: dict[str, Any], metric: str, best: str, others: list[str]
) -> dict[str, float]:
    """Instances are averaged over seeds first, so that users alone are resampled."""
    if not others:
        return {}
    pairs = [(ranks[best], ranks[model], metric) for model in others]
    return dict(zip(others, user_p_values(pairs)))


def user_p_values(
    pairs: Sequence[tuple[dict[str, np.ndarray], dict[str, np.ndarray], str]],
) -> list[float]:
    """Paired bootstrap over users of each (ranks, other ranks, metric), all at once.

    Drawing the users takes most of the time, and they are the same for all. The mean
    that is compared is the one that is printed: GAUC weighs a list by its size.
    """
    differences = [one[metric] - other[metric] for one, other, metric in pairs]
    weights = [
        one["size"] if metric == "gauc" else np.ones(len(one["size"]))
        for one, _, metric in pairs
    ]
    tested = significance.paired_bootstraps(
        np.stack(differences, axis=1),
        pairs[0][0]["user"],
        np.stack(weights, axis=1),
        resamples=2_000,
    )
    return [difference.p_value for difference in tested]


def below(p_values: dict[Any, float]) -> dict[Any, bool]:
    """Which of a family of comparisons are below `LEVEL`, Holm-corrected."""
    adjusted = significance.holm(list(p_values.values()))
    return {model: p < LEVEL for model, p in zip(p_values, adjusted)}


def mean_ranks(runs: list[Run], protocol: str = "uni1000") -> dict[str, np.ndarray]:
    """Each metric of each instance, averaged over seeds; users and lists' sizes."""
    tables = [run_folder.read_ranks(run.folder) for run in runs]
    return mean_of_tables([one[one["protocol"] == protocol] for one in tables])


def mean_of_tables(tables: Sequence[pd.DataFrame]) -> dict[str, np.ndarray]:
    """Each metric of each instance, averaged over tables; users and lists' sizes."""
    values: dict[str, list[np.ndarray]] = defaultdict(list)
    for table in tables:
        ranks = metrics.Ranks(
            pessimistic=table["rank_pessimistic"].to_numpy(),
            optimistic=table["rank_optimistic"].to_numpy(),
            negatives=table["candidates"].to_numpy() - 1,
        )
        values["gauc"].append(metrics.auc_of(ranks))
        for metric in METRICS[1:]:
            name, k = metric.split("@")
            values[metric].append(metrics.at_cutoff(ranks.pessimistic, name, int(k)))
    same = {
        "user": tables[0]["user"].to_numpy(),
        "size": tables[0]["candidates"].to_numpy(),
    }
    return {**same, **{key: np.mean(v, axis=0) for key, v in values.items()}}
