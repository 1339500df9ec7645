"""From finished runs to what each protocol says of the models."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from data.candidates import PROTOCOLS
from experiments.reports.protocols import agreement
from experiments.reports.protocols.agreement import COMPARED_METRICS, Column, MeanAndSd
from experiments.results import finished_runs, significance
from experiments.results.model_names import display_name, ordered
from harness import run_folder
from harness.passport import Run, Runs


@dataclasses.dataclass(frozen=True)
class ProtocolTable:
    """What the protocols say of the models of one data set.

    Attributes:
        by_model: the finished runs of each model, one run for each seed.
        cells: by metric, column and model; a model is in a column if all of its runs
            are.
        taus: by metric and pair of columns, over the models that both have.
        notes: what a reader has to know, order changes among them.
    """

    dataset: str
    split: str
    by_model: Runs
    cells: dict[str, dict[Column, dict[str, MeanAndSd]]]
    taus: dict[str, dict[tuple[Column, Column], float | None]]
    notes: list[str]


def make_table(runs_dir: Path, dataset: str, split: str) -> ProtocolTable:
    """Reads the passports and the ranks of Table 2's models.

    Raises:
        ValueError: if there is none, or they were made from other data or candidates.
    """
    read = finished_runs.read_runs(runs_dir, dataset, split)
    by_model = finished_runs.of_models(read, runs_dir / dataset / split)
    by_model = {model: by_model[model] for model in ordered(by_model)}
    cells = {metric: metric_cells(by_model, metric) for metric in COMPARED_METRICS}
    columns = cells[COMPARED_METRICS[0]]
    own = [key for key in columns if agreement.is_own(key)]
    pairs = [*itertools.combinations(own, 2)]
    pairs += [((name, "instance"), (name, "user")) for name, _ in pooled(columns)]
    taus = {
        metric: {pair: agreement.tau(cells[metric], pair) for pair in pairs}
        for metric in COMPARED_METRICS
    }
    whole = _whole_catalogue(by_model)
    # Where one of the sampled protocols is `full`, that would repeat its sentences.
    told = [pair for pair in pairs if not (whole and ("full", "instance") in pair)]
    notes = [
        *_one_protocol(whole),
        *agreement.order_changes(by_model, cells, told),
        *_missing(by_model, columns),
        *finished_runs.run_warnings(by_model),
        *finished_runs.left_out(read),
    ]
    return ProtocolTable(dataset, split, by_model, cells, taus, notes)


def metric_cells(by_model: Runs, metric: str) -> dict[Column, dict[str, MeanAndSd]]:
    """Mean and deviation of each column and model, where all of a model's runs are."""
    columns = [(name, "instance") for name in PROTOCOLS]
    columns += [(name, "user") for name in PROTOCOLS]
    cells: dict[Column, dict[str, MeanAndSd]] = {}
    for protocol, grouping in columns:
        for model, runs in by_model.items():
            by_run = [
                run.passport["metrics"]["test"].get(protocol, {}).get(grouping)
                for run in runs
            ]
            values = [one[metric] for one in by_run if one]
            if len(values) == len(runs):
                column = cells.setdefault((protocol, grouping), {})
                column[model] = significance.mean_and_sd(values)
    return cells


def pooled(columns: Any) -> list[Column]:
    """The columns that pool a user's instances into one list."""
    return [column for column in columns if not agreement.is_own(column)]


def candidates(run: Run) -> dict[str, np.ndarray]:
    """How many candidates each instance had, by protocol."""
    table = run_folder.read_ranks(run.folder)
    by_protocol = {key: rows for key, rows in table.groupby("protocol")["candidates"]}
    return {
        name: by_protocol[name].to_numpy() for name in PROTOCOLS if name in by_protocol
    }


def _whole_catalogue(by_model: Runs) -> list[str]:
    """Sampled protocols that take as many candidates as `full`: all there are."""
    sizes = candidates(next(iter(by_model.values()))[0])
    full = sizes.pop("full", np.zeros(0))
    return [name for name, counts in sizes.items() if np.array_equal(counts, full)]


def _one_protocol(whole: list[str]) -> list[str]:
    return [
        f"{name} and full are one protocol here: the catalogue has no more than 1,000 "
        "items that an instance can be ranked against, and both take all of them."
        for name in whole
    ]


def _missing(by_model: Runs, columns: dict[Column, Any]) -> list[str]:
    notes = []
    for protocol in PROTOCOLS:
        ranked = columns.get((protocol, "instance"), {})
        names = [display_name(model) for model in by_model if model not in ranked]
        if names:
            notes.append(
                f"Not ranked under {protocol} in every run, and so not in its column: "
                f"{', '.join(names)}. `python -m experiments.evaluate "
                f"--candidates={protocol} --run_dir=...` ranks a run."
            )
    return notes
