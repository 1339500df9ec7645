"""The waterfall's tables and picture, from its stored runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from experiments.reports.text import (
    CsvValue,
    counted,
    csv_text,
    markdown_head,
    markdown_row,
    markdown_text,
    mean_text,
    signed,
    write_files,
)
from experiments.studies.waterfall.lines import (
    SHOWN,
    Metrics,
    chance_deviation,
    change_between,
    over_seeds,
    title,
    views,
    waterfall,
)
from experiments.studies.waterfall.picture import draw
from experiments.studies.waterfall.steps import (
    STEPS,
    explain,
)
from harness import provenance
from harness.metrics import METRICS


def write(
    folder: Path, runs: list[dict[str, Any]], popularity: dict[str, Metrics]
) -> str:
    """Writes waterfall.md, .csv, .jsonl, .png and .svg; returns the Markdown.

    The JSON lines are the runs: what the tables can be traced to.

    Args:
        folder: the folder that the files are written to.
        runs: of `waterfall_runs.run_step`, all of one data set and budget. A step
            that has none is left out.
        popularity: the metrics of the model that ranks by popularity, by grouping.
    """
    markdown = to_markdown(runs, popularity)
    texts = {
        "waterfall.md": markdown,
        "waterfall.csv": to_csv(runs, popularity),
        "waterfall.jsonl": "".join(json.dumps(run) + "\n" for run in runs),
    }
    write_files(folder, texts)
    draw(folder, runs, popularity)
    return markdown


def to_markdown(runs: list[dict[str, Any]], popularity: dict[str, Metrics]) -> str:
    heads = [metric.upper() for metric in METRICS]
    lines = [
        "# The released computation, step by step to the paper: "
        f"{markdown_text(title(runs))}",
        "",
        markdown_text(caption(runs)),
        "",
        "## The released computation",
        "",
        "One list a test instance, with the weights that its own selection prefers.",
        "",
        *markdown_head(["rows of the batch", *heads, "seeds"]),
    ]
    for name, by_seed in views(runs, popularity):
        cells = [_text(by_seed, metric) for metric in METRICS]
        seeds = "" if name.startswith("*") else str(len(by_seed))
        lines.append(markdown_row([name, *cells, seeds]))
    lines += [
        "",
        "## One switch at a time",
        "",
        "Each line keeps the switches of the lines above; Δ is against the line above, "
        "over the seeds that both have. One list a test instance, but for the first.",
        "",
    ]
    heads = ["GAUC", "Δ", "NDCG@5", "Δ", *heads[2:], "seeds"]
    lines += markdown_head(["", "switch", "released → paper", *heads])
    before: dict[int, Metrics] | None = None
    for step, by_seed in waterfall(runs):
        cells = []
        for metric in METRICS:
            cells.append(_text(by_seed, metric))
            if metric in SHOWN:
                change = before and change_between(before, by_seed, metric)
                cells.append(_signed(change) if change else "")
        number = str(STEPS.index(step))
        lines.append(
            markdown_row([number, step, explain(step), *cells, str(len(by_seed))])
        )
        before = by_seed
    return "\n".join(lines) + "\n"


def to_csv(runs: list[dict[str, Any]], popularity: dict[str, Metrics]) -> str:
    heads = (
        *("dataset", "table", "line", "metric", "mean", "sd", "seeds"),
        *("change", "change_sd"),
    )
    rows: list[tuple[CsvValue, ...]] = []
    tables = {"rows": views(runs, popularity), "steps": waterfall(runs)}
    for table, lines in tables.items():
        before: dict[int, Metrics] | None = None
        for name, by_seed in lines:
            for metric in METRICS:
                change = before and change_between(before, by_seed, metric)
                plain = name.replace("*", "").replace(",", ";")
                rows.append(
                    (
                        *(runs[0]["dataset"], table, plain, metric),
                        *(*over_seeds(by_seed, metric), len(by_seed)),
                        *(change or (None, None)),
                    )
                )
            before = by_seed if table == "steps" else None
    return csv_text(heads, rows)


def caption(runs: list[dict[str, Any]]) -> str:
    """What was measured, on what, within which bounds, by which code."""
    first = runs[0]
    data, budget, evaluated = first["data"], first["budget"], first["evaluation"]
    seeds = sorted({run["seed"] for run in runs})
    commits = sorted({provenance.short(run["commit"]) for run in runs})
    train = min(budget["train_instances"] or data["train"], data["train"])
    negatives = "up to 1,000 uniformly drawn negatives (`uni1000`)"
    return (
        f"{data['users']:,} users, {data['items']:,} items, {data['interactions']:,} "
        f"interactions, split {first['split']}. Bounded work: epochs "
        f"{budget['epochs']}, {train:,} of {data['train']:,} training instances, T = "
        f"{budget['max_history']}, the best of {budget['checks']} checks; "
        f"{evaluated['instances']:,} of {data['test']:,} test instances, those of "
        f"{evaluated['users']:,} users drawn with a fixed seed, each against "
        f"{negatives}. Seeds {', '.join(map(str, seeds))}; mean ± standard deviation "
        "over seeds. Ties count against the positive. Over so many lists chance "
        f"alone has a standard deviation of {chance_deviation(runs):.3f} in GAUC, the "
        f"same lists for all lines and seeds. Commit {', '.join(commits)}, "
        f"{first['machine']['cpu']}, {counted(first['machine']['cores'], 'core')}."
    )


def _text(by_seed: dict[int, Metrics], metric: str) -> str:
    return mean_text(*over_seeds(by_seed, metric))


def _signed(change: tuple[float, float | None]) -> str:
    mean, sd = change
    return signed(mean) + ("" if sd is None else f" ± {sd:.4f}")
