"""Table 2, the comparison, from stored runs: Markdown, CSV, LaTeX and a page."""

from __future__ import annotations

from pathlib import Path

from data import atomic
from experiments.reports import table2, table2_page
from experiments.reports.table2 import DatasetTable
from experiments.reports.text import (
    CsvValue,
    completed,
    csv_text,
    latex_row,
    latex_table,
    markdown_cell,
    markdown_head,
    markdown_row,
    markdown_text,
    write_files,
)
from experiments.results.model_names import display_name, is_added, marked_name, ordered
from experiments.results.paper import TABLE2
from harness.metrics import METRICS


def write(
    output_dir: Path,
    runs_dir: Path,
    datasets: list[tuple[str, str]],
    about: str = "",
    skip_unfinished: bool = False,
) -> str:
    """Writes table2.md, .csv, .tex, .html and .png; returns the Markdown.

    Args:
        output_dir: where they go.
        runs_dir: where the finished runs are.
        datasets: (data set, split) of each table.
        about: what made the runs, and what their numbers are for; stands above.
        skip_unfinished: as for `finished_runs.read_runs`.
    """
    tables = [
        table2.make_table(runs_dir, dataset, split, skip_unfinished)
        for dataset, split in datasets
    ]
    markdown = completed(to_markdown(tables), about, output_dir)
    write_files(
        output_dir,
        {
            "table2.md": markdown,
            "table2.csv": to_csv(tables),
            "table2.tex": to_latex(tables),
            "table2.html": table2_page.to_html(tables, about, output_dir),
        },
    )
    with atomic.whole_file(output_dir / "table2.png") as partial:
        partial.write_bytes(table2_page.picture(tables))
    return markdown


def to_markdown(tables: list[DatasetTable]) -> str:
    lines = ["# Table 2", ""]
    for table in tables:
        paper = _paper_columns(table)
        heads = ["model", *(metric.upper() for metric in METRICS)]
        heads += [f"paper {metric.upper()}" for metric in METRICS] if paper else []
        lines += [f"## {markdown_text(table2.title(table))}", "", *markdown_head(heads)]
        ruled = False
        for model in ordered(table.cells):
            if is_added(model) and not ruled:
                lines.append(markdown_row(["*ours to add:*", *[""] * (len(heads) - 1)]))
                ruled = True
            name = markdown_text(marked_name(model))
            cells = [markdown_cell(table.cells[model][metric]) for metric in METRICS]
            lines.append(markdown_row([name, *cells, *paper.get(model, [])]))
        lines += ["", markdown_text(table2.caption(table)), ""]
        if any(is_added(model) for model in table.cells):
            lines += ["‡ Not in the paper's Table 2.", ""]
        lines += [f"**Note:** {markdown_text(warning)}" for warning in table.warnings]
        lines += ["", *_cost_lines(table), ""]
        lines += ["### Known weaknesses of this protocol", ""]
        lines += [*(f"- {weakness}" for weakness in table2.weaknesses(table)), ""]
    return "\n".join(lines)


def to_csv(tables: list[DatasetTable]) -> str:
    heads = (
        *("dataset", "split", "model", "metric", "mean", "sd", "seeds", "place"),
        *("by_seeds", "by_users", "paper"),
    )
    rows: list[tuple[CsvValue, ...]] = []
    for table in tables:
        for model in ordered(table.cells):
            for number, metric in enumerate(METRICS):
                cell = table.cells[model][metric]
                printed = TABLE2.get(table.dataset, {}).get(model)
                # As printed: with four decimals.
                paper = str(printed[number]) if printed and table.is_papers_data else ""
                rows.append(
                    (
                        *(table.dataset, table.split, model, metric),
                        *(cell.mean, cell.sd, len(table.by_model[model])),
                        *(cell.place, int(cell.by_seeds), int(cell.by_users), paper),
                    )
                )
    return csv_text(heads, rows)


def to_latex(tables: list[DatasetTable]) -> str:
    """A `booktabs` table for each data set."""
    parts = []
    for table in tables:
        body: list[str] = []
        ruled = False
        for model in ordered(table.cells):
            if is_added(model) and not ruled:
                body.append(r"\midrule")
                ruled = True
            body.append(latex_row(display_name(model), table.cells[model]))
        text = f"{table2.title(table)}. {table2.caption(table)}"
        parts.append(latex_table(body, text))
    return "\n\n".join(parts) + "\n"


def _paper_columns(table: DatasetTable) -> dict[str, list[str]]:
    if not table.is_papers_data:
        return {}
    printed = TABLE2[table.dataset]
    return {
        model: [f"{value:.4f}" for value in printed[model]]
        if model in printed
        else ["–"] * len(METRICS)
        for model in table.cells
    }


def _cost_lines(table: DatasetTable) -> list[str]:
    rows = table2.costs(table)
    return [
        *markdown_head(rows[0]),
        *(markdown_row(list(map(markdown_text, row))) for row in rows[1:]),
    ]
