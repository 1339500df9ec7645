"""What other orders of a history, and other users' histories, make of the metrics."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from experiments import comparison, finished_runs, fragility, statistics
from experiments.fragility import ANOTHER_USER, REDRAWN, SHUFFLED, STORED
from experiments.model_names import marked_name, ordered
from experiments.paper import METRICS
from experiments.report_text import markdown_head, markdown_row, mean_text, write_files

_GROUPINGS = ("instance", "user")
# Those whose targets and negatives are the stored ones, with what a row calls them.
_ALTERED = {
    SHUFFLED: "history shuffled",
    ANOTHER_USER: "another user's history",
}


@dataclasses.dataclass(frozen=True)
class Table:
    """The models of one data set that `experiments.fragility` has looked into.

    Attributes:
        passports: by model, one a seed, with what was left under "fragility".
        values: by model, order, grouping and metric: float [draws], means over seeds.
            The draws are the same for all models and seeds.
        by_users: by order, model and metric, whether shuffled histories, or another
            user's, give another value than stored ones: paired bootstrap over users,
            Holm-corrected over models.
        notes: what a reader has to know.
    """

    dataset: str
    split: str
    passports: dict[str, list[dict[str, Any]]]
    values: dict[str, dict[str, dict[str, dict[str, np.ndarray]]]]
    by_users: dict[str, dict[str, dict[str, bool]]]
    notes: list[str]


def write(output_dir: Path, runs_dir: Path, datasets: list[tuple[str, str]]) -> str:
    """Writes fragility.md and .csv; returns the Markdown.

    Raises:
        ValueError: if a data set has no run that was looked into.
    """
    tables = [make_table(runs_dir, *pair) for pair in datasets]
    text = to_markdown(tables)
    write_files(output_dir, {"fragility.md": text, "fragility.csv": to_csv(tables)})
    return text


def measured(
    runs_dir: Path, dataset: str, split: str
) -> dict[str, list[dict[str, Any]]]:
    """Those runs of Table 2's models that were looked into, by model, in its order.

    Raises:
        ValueError: if there is no finished run at all.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    passports = finished_runs.models_passports(runs_dir, dataset, split)
    for model in ordered(passports):
        for run in passports[model]:
            results = fragility.read_results(run["folder"])
            if results is not None:
                found.setdefault(model, []).append({**run, "fragility": results})
    return found


def make_table(runs_dir: Path, dataset: str, split: str) -> Table:
    """Reads what `experiments.fragility` left.

    Raises:
        ValueError: if it has looked into no run.
    """
    passports = measured(runs_dir, dataset, split)
    if not passports:
        raise ValueError(
            f"{runs_dir}/{dataset}/{split} holds no run that `experiments.fragility` "
            "has looked into. `make reproduce-fragility` does."
        )
    values = {model: _values(runs) for model, runs in passports.items()}
    by_users = {order: _by_users(passports, order) for order in _ALTERED}
    notes = [*_no_times(passports), *_seen(passports)]
    notes.append(_order_s_worth(by_users[SHUFFLED]))
    notes += finished_runs.run_warnings(passports)
    return Table(dataset, split, passports, values, by_users, notes)


def outside(table: Table, model: str, metric: str) -> bool:
    """Whether the stored order's value is beyond those of all redrawn orders."""
    by_order = table.values[model]
    redrawn = by_order[REDRAWN]["instance"][metric]
    stored = by_order[STORED]["instance"][metric][0]
    return bool(stored < redrawn.min() or stored > redrawn.max())


def taus(table: Table, order: str, metric: str) -> list[float]:
    """Kendall's tau of the models' order in each draw with the stored one."""
    stored = [by[STORED]["instance"][metric][0] for by in table.values.values()]
    draws = np.stack(
        [by[order]["instance"][metric] for by in table.values.values()], axis=1
    )  # [draws, models]
    found = [statistics.kendall_tau(stored, values) for values in draws]
    return [tau for tau in found if tau is not None]


def to_markdown(tables: list[Table]) -> str:
    lines = ["# Fragility: other orders, the same weights", ""]
    for table in tables:
        heads = ["model", "order", *(metric.upper() for metric in METRICS)]
        lines += [f"## {table.dataset}, {table.split}, {fragility.PROTOCOL}", ""]
        lines += markdown_head(heads)
        for model in table.values:
            lines += _model_lines(table, model)
        lines += ["", caption(table), "", *_tau_lines(table)]
        for note in table.notes:
            lines += [f"**Note:** {note}", ""]
    return "\n".join(lines).rstrip() + "\n"


def caption(table: Table) -> str:
    """What was measured, on what, by which code."""
    first = next(iter(table.passports.values()))[0]
    results = first["fragility"]
    seeds = sorted({run["seed"] for runs in table.passports.values() for run in runs})
    text = f"{results['instances']:,} test instances, one list each; training saw the "
    text += "stored order. "
    if REDRAWN in results["orders"]:
        draws = results["orders"][REDRAWN]
        changed = np.mean([draw["targets_changed"] for draw in draws])
        text += (
            "Redrawn: the order of each user's events of one time is unknown, and is "
            f"drawn anew {len(draws)} times; mean ± standard deviation over the draws, "
            f"and from the lowest to the highest. {results['simultaneous']:,} targets "
            "have simultaneous events; "
            f"{changed:,.0f} are another item in a draw on average, and get the "
            "negatives that the same seed draws for it. § the stored order's value is "
            "beyond all of the draws'; were it one draw more, chance would put it "
            f"there in 2 of {len(draws) + 1} cells. "
        )
    return text + (
        "History shuffled: the items of each test history in a drawn order, "
        f"{len(results['orders'][SHUFFLED])} times; times stay at their positions, so "
        "that they still ascend; targets and negatives are the stored ones. Another "
        "user's history: a drawn test instance of another user in the place of each, "
        f"{fragility.DRAWS[ANOTHER_USER]} times; targets and negatives are the stored "
        "ones, so that what is left of a metric is owed to the candidates alone. † "
        "another value than the stored history's by a paired bootstrap over users (p < "
        f"{comparison.LEVEL}, Holm-corrected over the models of the column). Draws are "
        f"the same for all models. Seeds {', '.join(map(str, seeds))}, means over "
        f"them. Commit {results['commit'][:12]}. ‡ Not in the paper's Table 2."
    )


def to_csv(tables: list[Table]) -> str:
    lines = ["dataset,split,model,seeds,order,grouping,metric,draws,mean,sd,min,max"]
    for table in tables:
        for model, by_order in table.values.items():
            for order, by_grouping in by_order.items():
                for grouping, by_metric in by_grouping.items():
                    for metric, found in by_metric.items():
                        mean, sd = statistics.mean_and_sd(found.tolist())
                        values = [table.dataset, table.split, model]
                        values += [str(len(table.passports[model])), order, grouping]
                        values += [metric, str(len(found)), f"{mean:.6f}"]
                        values += ["" if sd is None else f"{sd:.6f}"]
                        values += [f"{found.min():.6f}", f"{found.max():.6f}"]
                        lines.append(",".join(values))
    return "\n".join(lines) + "\n"


def _values(
    runs: list[dict[str, Any]],
) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    orders = runs[0]["fragility"]["orders"]
    return {
        order: {
            grouping: {
                metric: np.mean(
                    [
                        [
                            draw["metrics"][grouping][metric]
                            for draw in run["fragility"]["orders"][order]
                        ]
                        for run in runs
                    ],
                    axis=0,
                )
                for metric in METRICS
            }
            for grouping in _GROUPINGS
        }
        for order in orders
    }


def _by_users(
    passports: dict[str, list[dict[str, Any]]], altered: str
) -> dict[str, dict[str, bool]]:
    """Whether each metric of a model differs beyond chance from the stored order's."""
    import pandas as pd

    p_values: dict[str, dict[str, float]] = {metric: {} for metric in METRICS}
    for model, runs in passports.items():
        paths = [run["folder"] / fragility.FOLDER / "ranks.parquet" for run in runs]
        tables = [pd.read_parquet(path) for path in paths]
        stored, other = (
            comparison.mean_of_tables(
                [
                    rows
                    for table in tables
                    for _, rows in table[table["order"] == order].groupby("draw")
                ]
            )
            for order in (STORED, altered)
        )
        found = comparison.user_p_values(
            [(stored, other, metric) for metric in METRICS]
        )
        for metric, p_value in zip(METRICS, found):
            p_values[metric][model] = p_value
    below = {metric: comparison.below(found) for metric, found in p_values.items()}
    return {
        model: {metric: below[metric][model] for metric in METRICS}
        for model in passports
    }


def _model_lines(table: Table, model: str) -> list[str]:
    by_order = {
        order: by_grouping["instance"]
        for order, by_grouping in table.values[model].items()
    }
    name = marked_name(model)
    stored = [f"{by_order[STORED][metric][0]:.4f}" for metric in METRICS]
    rows = [[name, "stored", *stored]]
    if REDRAWN in by_order:
        cells = []
        for metric in METRICS:
            found = by_order[REDRAWN][metric]
            mark = " §" if outside(table, model, metric) else ""
            ends = f"[{found.min():.4f}, {found.max():.4f}]"
            cells.append(f"{_mean_and_sd(found)} {ends}{mark}")
        rows.append(["", "redrawn", *cells])
    for order, label in _ALTERED.items():
        cells = []
        for metric in METRICS:
            mark = " †" if table.by_users[order][model][metric] else ""
            cells.append(_mean_and_sd(by_order[order][metric]) + mark)
        rows.append(["", label, *cells])
    return list(map(markdown_row, rows))


def _tau_lines(table: Table) -> list[str]:
    if len(table.values) < 2:
        return []
    heads = ["Kendall's tau with the stored order", *(m.upper() for m in METRICS)]
    lines = markdown_head(heads)
    orders = next(iter(table.values.values()))
    for order, name in ((REDRAWN, "redrawn"), (SHUFFLED, "history shuffled")):
        if order not in orders:
            continue
        cells = []
        for metric in METRICS:
            found = taus(table, order, metric)
            text = f"{np.mean(found):.2f} (lowest {min(found):.2f})" if found else "–"
            cells.append(text)
        lines.append(markdown_row([name, *cells]))
    return [
        *lines,
        "",
        f"How far the {len(table.values)} models keep their order (tau-b, a tied pair "
        "counts neither way): mean over the draws.",
        "",
    ]


def _no_times(passports: dict[str, list[dict[str, Any]]]) -> list[str]:
    every = [run for runs in passports.values() for run in runs]
    if any(REDRAWN in run["fragility"]["orders"] for run in every):
        return []
    return ["The order of simultaneous events is unknown for data without times."]


def _seen(passports: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Splits that part simultaneous events let training see what a draw asks for."""
    results = next(iter(passports.values()))[0]["fragility"]
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


def _order_s_worth(by_users: dict[str, dict[str, bool]]) -> str:
    """How many models know of an order, as far as the instances can tell."""
    counts = [
        f"{sum(marks[metric] for marks in by_users.values())} in {metric.upper()}"
        for metric in METRICS
    ]
    return (
        f"Of {len(by_users)} models, shuffled histories change beyond chance: "
        f"{', '.join(counts)}. Where none changes, these instances show nothing that "
        "the order of a history is worth to the models."
    )


def _mean_and_sd(found: np.ndarray) -> str:
    return mean_text(*statistics.mean_and_sd(found.tolist()))
