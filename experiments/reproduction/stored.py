"""Every table and figure again, from stored runs alone."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from data.errors import UserError
from experiments.reports import table2_text, table3, table4
from experiments.reports.protocols import text as report_protocols
from experiments.reports.text import write_files
from experiments.reproduction import figures
from experiments.results import finished_runs, variants
from experiments.studies.fragility import report, table
from harness import run_manifest


def write_all(output_dir: Path, runs_dir: Path) -> str:
    """Every table and figure that has a run; returns the tables' Markdown."""
    folders = _folders(runs_dir)
    compared = [
        pair
        for pair, names in folders.items()
        if not all(map(variants.is_study, names))
    ]
    studied = [
        pair
        for pair, names in folders.items()
        if any(map(variants.is_study, names)) and variants.full(pair[0]).folder in names
    ]
    parts = []
    if compared:
        parts.append(table2_text.write(output_dir, runs_dir, compared))
    if studied:
        parts.append(table3.write(output_dir, runs_dir, studied))
    if compared:
        parts.append(table4.write(output_dir, runs_dir, compared))
        parts.append(report_protocols.write(output_dir, runs_dir, compared))
    measured = [pair for pair in compared if table.measured(runs_dir, *pair)]
    if measured:
        parts.append(report.write(output_dir, runs_dir, measured))
    figures.write(output_dir, runs_dir, sorted(folders))
    for pair in folders:
        text = finished_runs.to_jsonl(runs_dir, *pair)
        write_files(output_dir, {f"passports-{'-'.join(pair)}.jsonl": text})
    return "\n".join(parts)


def _folders(runs_dir: Path) -> dict[tuple[str, str], set[str]]:
    """The names of the folders that have a passport, by data set and split."""
    model_folders = sorted(
        folder.parts[-4:-1] for folder in run_manifest.folders(runs_dir, "*/*/*/seed-*")
    )
    if not model_folders:
        raise UserError(
            f"{runs_dir} holds no finished run. `make reproduce-table2` makes them."
        )
    folders: dict[tuple[str, str], set[str]] = defaultdict(set)
    for dataset, split, folder in model_folders:
        folders[dataset, split].add(folder)
    return folders
