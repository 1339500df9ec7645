"""Every table and figure but Table 1 again, as far as stored runs go.

Example: python -m experiments.report --runs_dir=runs --output_dir=reports

Table 2 comes as Markdown, CSV, LaTeX and a page with charts; the passports behind all
of it, one a line, as passports-<data set>-<split>.jsonl. Reads passports, ranks, and
what `experiments.levels` and `experiments.fragility` left; no model is loaded and
nothing is trained.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from absl import flags

from data import command_line
from experiments import (
    figures,
    finished_runs,
    fragility_table,
    report_fragility,
    report_protocols,
    report_table2,
    report_table3,
    report_table4,
    studies,
)
from experiments.report_text import write_files

_RUNS_DIR = flags.DEFINE_string("runs_dir", "runs", "Where the runs are.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "reports", "Where the tables go.")


def main() -> None:
    sys.stdout.write(_write_all(Path(_OUTPUT_DIR.value), Path(_RUNS_DIR.value)))


def _write_all(output_dir: Path, runs_dir: Path) -> str:
    """Every table and figure that has a run; returns the tables' Markdown."""
    folders = _folders(runs_dir)
    compared = [
        pair for pair, names in folders.items() if not all(map(studies.is_study, names))
    ]
    studied = [
        pair
        for pair, names in folders.items()
        if any(map(studies.is_study, names)) and studies.full(pair[0]).folder in names
    ]
    parts = []
    if compared:
        parts.append(report_table2.write(output_dir, runs_dir, compared))
    if studied:
        parts.append(report_table3.write(output_dir, runs_dir, studied))
    if compared:
        parts.append(report_table4.write(output_dir, runs_dir, compared))
        parts.append(report_protocols.write(output_dir, runs_dir, compared))
    measured = [pair for pair in compared if fragility_table.measured(runs_dir, *pair)]
    if measured:
        parts.append(report_fragility.write(output_dir, runs_dir, measured))
    figures.write(output_dir, runs_dir, sorted(folders))
    for pair in folders:
        text = finished_runs.to_jsonl(runs_dir, *pair)
        write_files(output_dir, {f"passports-{'-'.join(pair)}.jsonl": text})
    return "\n".join(parts)


def _folders(runs_dir: Path) -> dict[tuple[str, str], set[str]]:
    """The names of the folders that have a passport, by data set and split."""
    found = sorted(
        (path.parts[-5], path.parts[-4], path.parts[-3])
        for path in runs_dir.glob("*/*/*/seed-*/passport.json")
    )
    if not found:
        raise ValueError(
            f"{runs_dir} holds no finished run. `make reproduce-table2` makes them."
        )
    folders: dict[tuple[str, str], set[str]] = defaultdict(set)
    for dataset, split, folder in found:
        folders[dataset, split].add(folder)
    return folders


if __name__ == "__main__":
    command_line.run(
        main,
        stopped="Stopped. What was written stays; the same command writes all of it.",
    )
