"""Table 4, what training took, of every model, from stored runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.reports.text import (
    CsvValue,
    completed,
    counted,
    csv_text,
    markdown_head,
    markdown_row,
    markdown_text,
    write_files,
)
from experiments.results import finished_runs, paper
from experiments.results.model_names import display_name, ordered
from harness.passport import Run, Runs

# (data set, split) -> model -> runs, one a seed.
Tables = dict[tuple[str, str], Runs]

_COLUMNS = {
    "seconds_per_iteration": "s per iteration",
    "iterations_per_epoch": "iterations an epoch",
    "minutes_per_epoch": "minutes an epoch",
    "iterations_to_best": "iterations to the best",
    "minutes_to_best": "minutes to the best",
    "iterations": "iterations in all",
    "minutes": "minutes in all",
}


def write(
    output_dir: Path,
    runs_dir: Path,
    datasets: list[tuple[str, str]],
    about: str = "",
) -> str:
    """Writes table4.md and .csv; returns the Markdown, which begins with `about`."""
    tables = {pair: finished_runs.models_runs(runs_dir, *pair) for pair in datasets}
    text = completed(to_markdown(tables), about, output_dir)
    write_files(output_dir, {"table4.md": text, "table4.csv": to_csv(tables)})
    return text


def took(run: Run) -> dict[str, float] | None:
    """What one run's training took; None for a model that only counts.

    Seconds are of training steps, the first one's tracing included and validation
    apart; they are spread evenly over epochs.
    """
    trained = run.passport["training"]
    if not trained["steps"]:
        return None
    epochs, steps, minutes = (
        trained["epochs"],
        trained["steps"],
        trained["seconds"] / 60,
    )
    return {
        "seconds_per_iteration": trained["seconds"] / steps,
        "iterations_per_epoch": steps / epochs,
        "minutes_per_epoch": minutes / epochs,
        "iterations_to_best": steps / epochs * trained["best_epoch"],
        "minutes_to_best": minutes / epochs * trained["best_epoch"],
        "iterations": steps,
        "minutes": minutes,
    }


def to_markdown(tables: Tables) -> str:
    lines = ["# Table 4, what training took", ""]
    heads = ["model", *_COLUMNS.values()]
    for (dataset, split), by_model in tables.items():
        lines += [f"## {markdown_text(f'{dataset}, {split}')}", ""]
        lines += markdown_head(heads)
        without_training = []
        for model in ordered(by_model):
            means = _means(by_model[model])
            name = display_name(model)
            if means is None:
                without_training.append(name)
                continue
            cells = [_cell(key, means[key]) for key in _COLUMNS]
            lines.append(markdown_row([markdown_text(name), *cells]))
        lines += ["", markdown_text(_caption(by_model, without_training)), ""]
    lines += [
        "## The paper's Table 4, MGNM on one GPU",
        "",
        "| data | s per iteration | iterations an epoch | minutes an epoch |",
        "| --- | --- | --- | --- |",
    ]
    for name, (seconds, iterations, minutes) in paper.TABLE4.items():
        row = [paper.DATASET_NAMES[name], f"{seconds:.4f}", f"{iterations:,}"]
        lines.append(markdown_row([*row, f"{minutes:.2f}"]))
    lines += [
        "",
        "Printed as the runtime of training; its text calls the same time one epoch's, "
        "and s × iterations is the total. Its hardware, its data and its iterations "
        f"(of {paper.POSITIVES_PER_ITERATION} positives with their negatives, as the "
        "released code feeds them) are others: nothing here compares with it.",
    ]
    return "\n".join(lines) + "\n"


def to_csv(tables: Tables) -> str:
    rows: list[list[CsvValue]] = []
    for (dataset, split), by_model in tables.items():
        for model in ordered(by_model):
            runs = by_model[model]
            means = _means(runs) or {}
            costs = [f"{means[key]:.6g}" if means else "" for key in _COLUMNS]
            rows.append([dataset, split, model, len(runs), *costs])
    for name, (seconds, iterations, minutes) in paper.TABLE4.items():
        printed = [str(seconds), str(iterations), str(minutes)]
        unknown = [None] * (len(_COLUMNS) - len(printed))
        rows.append([name, "paper", "mgnm", None, *printed, *unknown])
    return csv_text(["dataset", "split", "model", "seeds", *_COLUMNS], rows)


def _means(runs: list[Run]) -> dict[str, float] | None:
    means = [one for one in map(took, runs) if one is not None]
    if not means:
        return None
    return {key: float(np.mean([one[key] for one in means])) for key in _COLUMNS}


def _cell(key: str, value: float) -> str:
    if "seconds" in key:
        return f"{value:.4f}"
    return f"{value:.3g}" if "minutes" in key else f"{value:,.0f}"


def _caption(by_model: Runs, without_training: list[str]) -> str:
    every = [run for runs in by_model.values() for run in runs]
    sizes = sorted({run.passport["config"]["batch_size"] for run in every})
    negatives = sorted({run.passport["config"]["num_negatives"] for run in every})
    machines = sorted(
        {
            f"{one['cpu']}, {counted(one['cores'], 'core')}, "
            f"GPU: {one['gpu'] or 'none'}"
            for one in (run.passport["machine"] for run in every)
        }
    )
    text = (
        f"Means over seeds. An iteration is {' or '.join(map(str, sizes))} positives "
        f"with {' or '.join(map(str, negatives))} negatives each. Seconds of training "
        "steps, the first one's tracing included and validation apart. The best: the "
        "epoch that validation chose. By the runs' own clocks: what else the machine "
        f"did while one ran is in its time. {'; '.join(machines)}."
    )
    at_once = max(run.passport["machine"].get("runs_at_once", 1) for run in every)
    if at_once > 1:
        text += (
            f" Up to {at_once} runs were made at a time, and took of each other's "
            "speed: --at_once=1 makes one after the other."
        )
    if without_training:
        text += f" {', '.join(without_training)}: counted once, nothing to train."
    return text
