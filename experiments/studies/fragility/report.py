"""What other orders of a history, and other users' histories, make of the metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from experiments.reports.text import (
    CsvValue,
    completed,
    csv_text,
    markdown_head,
    markdown_row,
    markdown_text,
    mean_text,
    write_files,
)
from experiments.results import comparison, significance
from experiments.results.model_names import marked_name
from experiments.studies.fragility import measure
from experiments.studies.fragility.measure import (
    ANOTHER_USER,
    REDRAWN,
    SHUFFLED,
    STORED,
)
from experiments.studies.fragility.table import (
    ALTERED,
    FragilityTable,
    LookedInto,
    make_table,
    outside,
    taus,
)
from harness import provenance
from harness.metrics import METRICS


def write(
    output_dir: Path,
    runs_dir: Path,
    datasets: list[tuple[str, str]],
    about: str = "",
) -> str:
    """Writes fragility.md, .csv and .jsonl; returns the Markdown.

    The Markdown begins with `about`. A line of the .jsonl is one run: who it is, and
    what was measured of it.

    Raises:
        ValueError: if a data set has no run that was looked into.
    """
    tables = [make_table(runs_dir, *pair) for pair in datasets]
    text = completed(to_markdown(tables), about, output_dir)
    files = {
        "fragility.md": text,
        "fragility.csv": to_csv(tables),
        "fragility.jsonl": to_jsonl(tables),
    }
    write_files(output_dir, files)
    return text


def to_markdown(tables: list[FragilityTable]) -> str:
    lines = ["# Fragility: other histories, the same weights", ""]
    for table in tables:
        heads = ["model", "order", *(metric.upper() for metric in METRICS)]
        lines += [
            f"## {markdown_text(_title(table))}",
            "",
        ]
        lines += markdown_head(heads)
        for model in table.values:
            lines += _model_lines(table, model)
        lines += ["", markdown_text(caption(table)), "", *_tau_lines(table)]
        for note in table.notes:
            lines += [f"**Note:** {markdown_text(note)}", ""]
    return "\n".join(lines).rstrip() + "\n"


def _title(table: FragilityTable) -> str:
    return f"{table.dataset}, {table.split}, {measure.PROTOCOL}"


def caption(table: FragilityTable) -> str:
    """What was measured, on what, by which code."""
    results = next(iter(table.by_model.values()))[0].fragility
    seeds = sorted({run.seed for runs in table.by_model.values() for run in runs})
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
        f"{len(results['orders'][ANOTHER_USER])} times; targets and negatives are the "
        "stored ones, so that what is left of a metric is owed to the candidates "
        "alone. † another value than the stored history's by a paired bootstrap over "
        "users (p < "
        f"{comparison.LEVEL}, Holm-corrected over the models of the column). Draws are "
        f"the same for all models. Seeds {', '.join(map(str, seeds))}, means over "
        f"them. Commit {provenance.short(results['commit'])}. "
        "‡ Not in the paper's Table 2."
    )


def to_csv(tables: list[FragilityTable]) -> str:
    heads = (
        *("dataset", "split", "model", "seeds", "order", "grouping", "metric"),
        *("draws", "mean", "sd", "min", "max"),
    )
    rows: list[tuple[CsvValue, ...]] = []
    for table in tables:
        for model, by_order in table.values.items():
            for order, by_grouping in by_order.items():
                for grouping, by_metric in by_grouping.items():
                    for metric, values in by_metric.items():
                        seeds = len(table.by_model[model])
                        spread = significance.mean_and_sd(values.tolist())
                        rows.append(
                            (
                                *(table.dataset, table.split, model, seeds),
                                *(order, grouping, metric, len(values), *spread),
                                *(float(values.min()), float(values.max())),
                            )
                        )
    return csv_text(heads, rows)


def to_jsonl(tables: list[FragilityTable]) -> str:
    names = ("dataset", "split", "recipe", "model", "variant", "seed", "commit")

    def identity(run: LookedInto) -> dict[str, Any]:
        return {name: run.passport.get(name) for name in names}

    lines = [
        json.dumps({**identity(run), "fragility": run.fragility})
        for table in tables
        for runs in table.by_model.values()
        for run in runs
    ]
    return "\n".join([*lines, ""])


def _model_lines(table: FragilityTable, model: str) -> list[str]:
    by_order = {
        order: by_grouping["instance"]
        for order, by_grouping in table.values[model].items()
    }
    name = markdown_text(marked_name(model))
    stored = [f"{by_order[STORED][metric][0]:.4f}" for metric in METRICS]
    rows = [[name, "stored", *stored]]
    if REDRAWN in by_order:
        cells = []
        for metric in METRICS:
            values = by_order[REDRAWN][metric]
            mark = " §" if outside(table, model, metric) else ""
            ends = f"[{values.min():.4f}, {values.max():.4f}]"
            cells.append(f"{_mean_and_sd(values)} {ends}{mark}")
        rows.append(["", "redrawn", *cells])
    for order, label in ALTERED.items():
        cells = []
        for metric in METRICS:
            mark = " †" if table.by_users[order][model][metric] else ""
            cells.append(_mean_and_sd(by_order[order][metric]) + mark)
        rows.append(["", label, *cells])
    return list(map(markdown_row, rows))


def _tau_lines(table: FragilityTable) -> list[str]:
    if len(table.values) < 2:
        return []
    heads = ["Kendall's tau with the stored order", *(m.upper() for m in METRICS)]
    lines = markdown_head(heads)
    orders = next(iter(table.values.values()))
    for order, name in ((REDRAWN, "redrawn"), *ALTERED.items()):
        if order not in orders:
            continue
        cells = []
        for metric in METRICS:
            values = taus(table, order, metric)
            text = (
                f"{np.mean(values):.2f} (lowest {min(values):.2f})" if values else "–"
            )
            cells.append(text)
        lines.append(markdown_row([name, *cells]))
    return [
        *lines,
        "",
        f"How far the {len(table.values)} models keep their order (tau-b, a tied pair "
        "counts neither way): mean over the draws.",
        "",
    ]


def _mean_and_sd(values: np.ndarray) -> str:
    return mean_text(*significance.mean_and_sd(values.tolist()))
