"""The paper's printed tables against each other, by arithmetic."""

from __future__ import annotations

import numpy as np

from data.registry import DATASETS
from experiments.reports.text import markdown_head, markdown_row
from experiments.results import paper
from harness import metrics

# Half a unit of the last printed digit; also for MIND's cell of five digits.
_ROUNDING = 5e-5


# What a positive at rank 1, ..., 5 adds to each metric; at a lower rank, nothing.
_WORTH = {
    f"{name}@5": metrics.at_cutoff(np.arange(5), name, 5)
    for name in ("ndcg", "hit", "mrr")
}


# Interactions of the published 5-cores of the same 2014 categories.
FIVE_CORES = {"instruments": 10_261, "toys": 167_597}


Row = tuple[float, float, float, float]


def best_baseline(dataset: str, metric: str) -> tuple[str, float]:
    """The highest cell of a column of Table 2 that is not MGNM's, and whose it is."""
    column = metrics.METRICS.index(metric)
    rows = paper.TABLE2[dataset]
    name = max((name for name in rows if name != "mgnm"), key=lambda n: rows[n][column])
    return name, rows[name][column]


def led() -> list[tuple[str, str]]:
    """The columns of Table 2 in which MGNM's is the highest cell."""
    return [
        (dataset, metric)
        for dataset, rows in paper.TABLE2.items()
        for metric, ours in zip(metrics.METRICS, rows["mgnm"])
        if ours > best_baseline(dataset, metric)[1]
    ]


def attainable(row: Row, metric: str) -> tuple[float, float] | None:
    """What a metric at 5 can be, given the two others of a row.

    With one positive a list, the three are sums over the shares of lists whose positive
    stands at rank 1, ..., 5, so that two of them bound the third; the mean over seeds
    changes nothing in that. Roundings count in favour of the row.

    Args:
        row: four printed values, in the order GAUC, NDCG@5, HIT@5, MRR@5.
        metric: which bound is asked for: `ndcg@5`, `hit@5` or `mrr@5`.

    Returns:
        The least and the greatest value; None where no ranking has the two others.
    """
    from scipy import optimize

    printed = dict(zip(metrics.METRICS, row))
    others = [name for name in _WORTH if name != metric]
    signed = [(sign, name) for name in others for sign in (1, -1)]
    bounds = []
    for direction in (1, -1):
        optimum = optimize.linprog(
            direction * _WORTH[metric],
            A_ub=[sign * _WORTH[name] for sign, name in signed],
            b_ub=[sign * printed[name] + _ROUNDING for sign, name in signed],
            bounds=(0, 1),
        )
        if not optimum.success:
            return None
        bounds.append(direction * optimum.fun)
    return bounds[0], bounds[1]


def is_attainable(row: Row) -> bool:
    """Whether some ranking, of one positive a list, has a row's metrics at 5."""
    bounds = attainable(row, "ndcg@5")
    ndcg = row[metrics.METRICS.index("ndcg@5")]
    return bounds is not None and (
        bounds[0] - _ROUNDING <= ndcg <= bounds[1] + _ROUNDING
    )


def least_five_core(interactions: int, users: int, items: int) -> int:
    """The least size that the 5-core of a log of users and items can have.

    To get there one drops users and items that have at most four interactions left.
    """
    return max(0, interactions - 4 * (users + items))


def to_markdown() -> str:
    parts = [_gains(), _rankings(), _runtimes(), _interactions()]
    return "\n\n".join(parts) + "\n"


def _gains() -> str:
    lines = markdown_head(
        ["data", "metric", "best baseline", "MGNM", "difference × 100", "gain"]
    )
    for dataset, rows in paper.TABLE2.items():
        for metric, ours in zip(metrics.METRICS, rows["mgnm"]):
            name, best = best_baseline(dataset, metric)
            cells = [paper.DATASET_NAMES[dataset], metric.upper()]
            cells += [f"{paper.MODEL_NAMES[name]} {best:.4f}", f"{ours:.4f}"]
            cells += [f"{100 * (ours - best):+.2f}", f"{100 * (ours / best - 1):+.1f}%"]
            lines.append(markdown_row(cells))
    columns = {*led()}
    lines += [
        "",
        f"MGNM is the highest in {len(columns)} of 12; in "
        f"{len(columns - paper.TABLE2_UNMARKED)} of these, all baselines are marked.",
    ]
    return "\n".join(lines)


def _rankings() -> str:
    rows = {
        f"Table 2, {paper.DATASET_NAMES[dataset]}, {paper.MODEL_NAMES[name]}": row
        for dataset, table in paper.TABLE2.items()
        for name, row in table.items()
    }
    rows |= {f"Table 3, {name}": row for name, row in paper.TABLE3.items()}
    lines = markdown_head(
        ["row", *(f"{metric.upper()}: printed, attainable" for metric in _WORTH)]
    )
    outside = {name: row for name, row in rows.items() if not is_attainable(row)}
    for name, row in outside.items():
        cells = []
        for metric in _WORTH:
            bounds = attainable(row, metric)
            text = "none" if bounds is None else f"{bounds[0]:.4f} to {bounds[1]:.4f}"
            cells.append(f"{row[metrics.METRICS.index(metric)]:.4f}, {text}")
        lines.append(markdown_row([name, *cells]))
    lines += [
        "",
        f"In {len(rows) - len(outside)} of {len(rows)} rows they fit together; the "
        f"{len(outside)} others stand above.",
    ]
    return "\n".join(lines)


def _runtimes() -> str:
    lines = markdown_head(
        ["data", "s an iteration × iterations / 60", "printed minutes"]
    )
    for dataset, (seconds, iterations, minutes) in paper.TABLE4.items():
        low, high = (
            iterations * (seconds + off) / 60 for off in (-_ROUNDING, _ROUNDING)
        )
        product = f"{seconds * iterations / 60:.3f} ({low:.3f} to {high:.3f})"
        name = paper.DATASET_NAMES[dataset]
        lines.append(markdown_row([name, product, f"{minutes:.2f}"]))
    return "\n".join(lines)


def _interactions() -> str:
    lines = markdown_head(
        ["data", "interactions", "from", "at least in a 5-core", "published 5-core"]
    )
    for dataset, published in FIVE_CORES.items():
        table1 = DATASETS[dataset].table1
        assert table1 is not None
        readings = {"Table 1": table1[2]}
        for positives in (paper.BATCH_SIZE, paper.POSITIVES_PER_ITERATION):
            implied = paper.implied_interactions(dataset, positives)
            assert implied is not None
            readings[f"Table 4, {positives} positives an iteration"] = implied
        for source, count in readings.items():
            least = least_five_core(count, *table1[:2])
            cells = [paper.DATASET_NAMES[dataset], f"{count:,}", source]
            lines.append(markdown_row([*cells, f"{least:,}", f"{published:,}"]))
    return "\n".join(lines)
