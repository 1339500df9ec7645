"""Table 1: the statistics of the prepared data beside the paper's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data.registry import DATASETS
from experiments.reports.text import (
    CsvValue,
    csv_text,
    markdown_head,
    markdown_row,
    markdown_text,
    write_files,
)
from experiments.results import paper
from experiments.results.paper import implied_interactions

_COUNTS = ("users", "items", "interactions", "train", "valid", "test")


def write(output_dir: Path, prepared_dir: Path, datasets: list[tuple[str, str]]) -> str:
    """Writes table1.md and .csv from what `data.prepare` left; returns the Markdown."""
    metas = [_meta(prepared_dir, name, split) for name, split in datasets]
    text = to_markdown(metas)
    write_files(output_dir, {"table1.md": text, "table1.csv": to_csv(metas)})
    return text


def to_markdown(metas: list[dict[str, Any]]) -> str:
    heads = ["data", "split", "users", "items", "interactions"]
    heads += ["train", "valid", "test", "events a user", "same time", "Table 1"]
    lines = ["# Table 1", "", "## Prepared here", ""]
    lines += markdown_head(heads)
    for meta in metas:
        statistics = meta["statistics"]
        lengths = statistics["lengths"]
        same = statistics["same_time_share"]
        names = [markdown_text(meta["name"]), markdown_text(meta["split"])]
        row = [*names, *(f"{statistics[key]:,}" for key in _COUNTS)]
        row.append(f"{lengths['min']} / {lengths['median']:g} / {lengths['max']}")
        row += ["–" if same is None else f"{same:.0%}", _agreement(meta)]
        lines.append(markdown_row(row))
    lines += [
        "",
        "Train, valid, test: instances, one for each event but a user's first. Events "
        "a user: least / median / most. Same time: share of a user's neighbouring "
        "events that have one time, whose order is not known; – without times. Table "
        "1: whether users and items are the paper's; other data cannot be.",
        "",
        "## In the paper",
        "",
        "| data | users | items | interactions | implied by Table 4, of "
        f"{paper.POSITIVES_PER_ITERATION} positives | of {paper.BATCH_SIZE} |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, printed in paper.DATASET_NAMES.items():
        counts = DATASETS[name].table1 or ()
        row = [printed, *(f"{count:,}" for count in counts)]
        for positives in (paper.POSITIVES_PER_ITERATION, paper.BATCH_SIZE):
            implied = implied_interactions(name, positives)
            row.append(f"about {round(implied, -3):,}" if implied else "–")
        lines.append(markdown_row(row))
    lines += [
        "",
        "The users and items of the two Amazon data sets are the sizes of the released "
        "id maps; their interactions follow from nothing else that is printed. Table "
        "4's iterations of an epoch, × positives an iteration / "
        f"{paper.TRAINING_SHARE:g} (the share that trains) + users (a first event is "
        "no instance), give the last columns: the released code feeds "
        f"{paper.POSITIVES_PER_ITERATION}, the paper's mini-batch is "
        f"{paper.BATCH_SIZE}. Only the former is compatible with the sizes of the "
        "published 5-cores (docs/REPRODUCTION.md, Section 4). `data.prepare` checks "
        "users and items alone.",
    ]
    return "\n".join(lines) + "\n"


def to_csv(metas: list[dict[str, Any]]) -> str:
    """Ours and the paper's, one row a data set; empty where nothing is known."""
    heads = ("source", "data", "split", *_COUNTS, "implied")
    rows: list[tuple[CsvValue, ...]] = []
    for meta in metas:
        counts = [meta["statistics"][key] for key in _COUNTS]
        rows.append(("prepared", meta["name"], meta["split"], *counts, None))
    for name in paper.DATASET_NAMES:
        spec = DATASETS[name]
        counts = [*(spec.table1 or ()), None, None, None]
        implied = implied_interactions(name) or None
        rows.append(("paper", name, spec.split, *counts, implied))
    return csv_text(heads, rows)


def _meta(prepared_dir: Path, name: str, split: str) -> dict[str, Any]:
    return json.loads((prepared_dir / name / split / "meta.json").read_text())


def _agreement(meta: dict[str, Any]) -> str:
    if DATASETS[meta["dataset"]].table1 is None:
        return "not in it"
    return "agrees" if meta["statistics"]["matches_table1"] else "differs"
