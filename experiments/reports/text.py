"""From cells to the text of a report, in Markdown and LaTeX, and from text to files."""

from __future__ import annotations

import os
from pathlib import Path

from experiments.results.comparison import Cell
from harness.metrics import METRICS


def write_files(output_dir: Path, texts: dict[str, str]) -> None:
    """Writes each text under its name, whole or not at all."""
    output_dir.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        partial = output_dir / f".{name}.partial"
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, output_dir / name)


def markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def markdown_head(heads: list[str]) -> list[str]:
    """A table's first two lines: its heads and the rule below them."""
    return [markdown_row(heads), markdown_row(["---"] * len(heads))]


def mean_text(mean: float, sd: float | None) -> str:
    """Mean and spread: "0.0612 ± 0.0010"; one value has no spread."""
    return f"{mean:.4f}" + ("" if sd is None else f" ± {sd:.4f}")


def cell_text(cell: Cell) -> str:
    """Mean, spread and marks: "0.0612 ± 0.0010 *†"."""
    text = mean_text(cell.mean, cell.sd)
    marks = ("*" if cell.by_seeds else "") + ("†" if cell.by_users else "")
    return f"{text} {marks}".strip()


def markdown_cell(cell: Cell) -> str:
    text = cell_text(cell).replace("*", r"\*")
    return {1: f"**{text}**", 2: f"<u>{text}</u>"}.get(cell.place, text)


def latex_cell(cell: Cell) -> str:
    text = cell_text(cell).replace(" ± ", r" $\pm$ ").replace("†", r"$^\dagger$")
    return {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(cell.place, text)


def tex(text: str) -> str:
    for plain, escaped in (("_", r"\_"), ("%", r"\%"), ("&", r"\&"), ("±", r"$\pm$")):
        text = text.replace(plain, escaped)
    return text.replace("†", r"$\dagger$").replace("→", r"$\rightarrow$")


def latex_table(body: list[str], caption: str) -> str:
    """A `booktabs` table of the four metrics, its body's lines given."""
    heads = " & ".join(metric.upper() for metric in METRICS)
    lines = [r"\begin{table}", r"\centering", r"\begin{tabular}{lcccc}", r"\toprule"]
    lines += [rf"Model & {heads} \\", r"\midrule", *body, r"\bottomrule"]
    lines += [r"\end{tabular}", rf"\caption{{{tex(caption)}}}", r"\end{table}"]
    return "\n".join(lines)


def latex_row(name: str, cells: dict[str, Cell]) -> str:
    """A line of a table's body: a name and its four metrics."""
    row = [tex(name), *(latex_cell(cells[metric]) for metric in METRICS)]
    return " & ".join(row) + r" \\"
