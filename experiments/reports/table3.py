"""Table 3, the ablation study, from stored runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from data.errors import UserError
from experiments.reports.text import (
    UNMARKED,
    CsvValue,
    completed,
    counted,
    csv_text,
    latex_row,
    latex_table,
    markdown_cell,
    markdown_head,
    markdown_row,
    markdown_text,
    seeds_text,
    tested_text,
    write_files,
)
from experiments.results import comparison, finished_runs, paper, variants
from experiments.results.comparison import Cell
from harness import provenance
from harness.metrics import METRICS
from harness.passport import Runs

_TABLE2_ROW = "MGNM as in Table 2"
_NOTES = {
    "w/o UGCN": "no graph and no user: level 0, the items themselves, alone",
    "w/o L1Norm": "theta_1 = 0",
    "w/o BiLSTM": "routing alone",
    "w/o MaxPool": (
        "the levels' scores are summed when validating and testing; the paper does not "
        "say what takes the maximum's place, and training has none (Eq. 16)"
    ),
    "SCN → BiLSTM": "the last states of a BiLSTM are a level's one interest",
    "SCN → SumPool": "the sum of a level's items is its one interest",
    "SCN → SelfAtt": (
        "the items look at each other, then the candidate attends to them as to "
        "interests"
    ),
    "SCN (Transformer)": "a Transformer block in the BiLSTM's place",
}


@dataclasses.dataclass(frozen=True)
class AblationTable:
    """The rows of one data set, by the names of Table 3.

    Attributes:
        by_model: the finished runs behind each row, one run for each seed.
        cells: by row and metric, each tested against the full model if
            `is_comparison`.
        is_comparison: whether the runs are long enough to rank models by them.
    """

    dataset: str
    split: str
    by_model: Runs
    cells: dict[str, dict[str, Cell]]
    is_comparison: bool


def write(
    output_dir: Path,
    runs_dir: Path,
    datasets: list[tuple[str, str]],
    about: str = "",
) -> str:
    """Writes table3.md, .csv and .tex; returns the Markdown, which begins `about`."""
    tables = [make_table(runs_dir, name, split) for name, split in datasets]
    text = completed(to_markdown(tables), about, output_dir)
    write_files(
        output_dir,
        {
            "table3.md": text,
            "table3.csv": to_csv(tables),
            "table3.tex": to_latex(tables),
        },
    )
    return text


def make_table(runs_dir: Path, dataset: str, split: str) -> AblationTable:
    """Reads the finished runs of the study.

    Raises:
        UserError: if the full model has none.
    """
    by_folder = finished_runs.read_runs(runs_dir, dataset, split)
    rows = variants.table3(dataset)
    by_model = {
        name: by_folder[variant.folder]
        for name, variant in rows.items()
        if variant.folder in by_folder
    }
    if variants.FULL_NAME not in by_model:
        raise UserError(
            f"{runs_dir}/{dataset}/{split} holds no finished run of the full MGNM. "
            "`make reproduce-table3` makes it."
        )
    is_comparison = comparison.is_comparison(by_model)
    cells = comparison.unmarked(by_model)
    if is_comparison:
        cells = comparison.compare(by_model, reference=variants.FULL_NAME)
    if rows[variants.FULL_NAME].name != "paper" and "mgnm" in by_folder:
        # Shown, not compared: it differs from the others in more than one thing.
        by_model[_TABLE2_ROW] = by_folder["mgnm"]
        cells |= comparison.unmarked({_TABLE2_ROW: by_folder["mgnm"]})
    return AblationTable(dataset, split, by_model, cells, is_comparison)


def _title(table: AblationTable) -> str:
    return f"{table.dataset}, {table.split}, uni1000"


def caption(table: AblationTable) -> str:
    """What was measured, on what, by which code."""
    first = table.by_model[variants.FULL_NAME][0].passport
    data, machine = first["data"], first["machine"]
    seeds = {run.seed for runs in table.by_model.values() for run in runs}
    marks = (
        "Bold: best, underlined: second. Differs from MGNM, in either direction: * by "
        "a paired t-test over seeds, † by a paired bootstrap over users (both p < "
        "0.05, Holm-corrected over the rows of the column)."
    )
    text = (
        f"{tested_text(first)}, uni1000, by instance; {seeds_text(seeds)}. "
        "MGNM has L = 3 and K = 4, as in Section 4.3; every other row is that model "
        f"with one switch set otherwise. {marks if table.is_comparison else UNMARKED} "
        f"Commit {provenance.short(first['commit'])}, {machine['cpu']}, "
        f"{counted(machine['cores'], 'core')}."
    )
    if _TABLE2_ROW in table.by_model:
        arguments = table.by_model[_TABLE2_ROW][0].passport["config"]["arguments"]
        shown = ", ".join(f"{key} = {value}" for key, value in arguments.items())
        text += f" {_TABLE2_ROW}: what a search chose for this data set, {shown}."
    if not data.get("matches_table1", False):
        text += " These are not the paper's data: compare the order of rows at most."
    return text


def to_markdown(tables: list[AblationTable]) -> str:
    heads = ["model", *(metric.upper() for metric in METRICS)]
    lines = ["# Table 3, ablations of MGNM", ""]
    for table in tables:
        lines += [
            f"## {markdown_text(_title(table))}",
            "",
            *markdown_head(heads),
        ]
        for name, cells in table.cells.items():
            row = [markdown_cell(cells[metric]) for metric in METRICS]
            lines.append(markdown_row([name, *row]))
        lines += ["", markdown_text(caption(table)), ""]
        lines += [f"**Note:** {markdown_text(text)}" for text in _missing(table)] + [""]
    lines += ["## What each row is", ""]
    lines += [f"- {name}: {note}." for name, note in _NOTES.items()]
    lines += [
        "",
        "## The paper's Table 3, on Toys and Games",
        "",
        *markdown_head(heads),
    ]
    for name, printed in paper.TABLE3.items():
        values = [f"{value:.4f}" for value in printed]
        lines.append(markdown_row([name, *values]))
    return "\n".join(lines) + "\n"


def to_csv(tables: list[AblationTable]) -> str:
    heads = (
        *("dataset", "split", "row", "metric", "mean", "sd", "seeds"),
        *("by_seeds", "by_users", "paper_toys"),
    )
    rows: list[tuple[CsvValue, ...]] = []
    for table in tables:
        for name, cells in table.cells.items():
            for number, metric in enumerate(METRICS):
                cell = cells[metric]
                printed = paper.TABLE3.get(name)
                rows.append(
                    (
                        *(table.dataset, table.split, name, metric),
                        *(cell.mean, cell.sd, len(table.by_model[name])),
                        *(int(cell.by_seeds), int(cell.by_users)),
                        str(printed[number]) if printed else "",
                    )
                )
    return csv_text(heads, rows)


def to_latex(tables: list[AblationTable]) -> str:
    """A `booktabs` table for each data set."""
    parts = []
    for table in tables:
        body = [latex_row(name, cells) for name, cells in table.cells.items()]
        text = f"{_title(table)}. {caption(table)}"
        parts.append(latex_table(body, text))
    return "\n\n".join(parts) + "\n"


def _missing(table: AblationTable) -> list[str]:
    seeds = {run.seed for run in table.by_model[variants.FULL_NAME]}
    sentences = []
    for name in variants.table3(table.dataset):
        lacking = seeds - {run.seed for run in table.by_model.get(name, [])}
        if lacking:
            names = ", ".join(map(str, sorted(lacking)))
            sentences.append(f"{name} lacks the seeds {names}.")
    return sentences
