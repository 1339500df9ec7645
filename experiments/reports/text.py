"""From cells to the text of a report, in Markdown and LaTeX, and from text to files."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Union
from urllib.parse import quote

from data import atomic
from experiments.results.comparison import Cell
from harness.metrics import METRICS
from harness.passport import Passport
from mgnm_tf import checkout

CsvValue = Union[str, int, float, None]

_TEX = {letter: rf"\{letter}" for letter in "_%&#${}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "§": r"\S{}",
    "→": r"$\rightarrow$",
    "Δ": r"$\Delta$",
}


# In place of the marks' meaning, below a table whose runs are not to be compared.
UNMARKED = (
    "No number is marked as the best and no difference is tested: runs as short as "
    "these are not for ranking models."
)


_GLOSSARY = checkout.ROOT / "docs" / "glossary.md"
# Words of the reports, and the glossary's headings of them.
TERMS = {
    "GAUC": "gauc",
    "NDCG": "ndcgk",
    "HIT": "hitk",
    "MRR": "mrrk",
    "uni1000": "uni1000",
    "pop1000": "pop1000",
    "full": "full",
    "leave_one_out": "leave-one-out",
    "global_time": "global-time",
    "bootstrap": "bootstrap",
    "Holm": "holm",
    "tau": "kendalls-tau",
    "recipe": "recipe",
    "passport": "passport",
    "ledger": "ledger",
}


def write_files(output_dir: Path, texts: dict[str, str]) -> None:
    """Writes each text under its name, whole or not at all."""
    output_dir.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        atomic.write_text(output_dir / name, text)


def terms_in(text: str, output_dir: Path) -> list[tuple[str, str]]:
    """The terms that a report uses, each with the address of its explanation.

    Args:
        text: the report.
        output_dir: where it will stand; addresses are relative to it.

    Returns:
        None of them where this is an installation, which has no glossary.
    """
    if not _GLOSSARY.exists():
        return []
    address = quote(Path(os.path.relpath(_GLOSSARY, output_dir)).as_posix())
    return [
        (term, f"{address}#{heading}")
        for term, heading in TERMS.items()
        if re.search(rf"(?<![A-Za-z]){term}s?(?![A-Za-z])", text)
    ]


def tested_text(passport: Passport) -> str:
    """How many test instances a run's metrics are of."""
    every, sample = passport["data"]["test"], passport["config"].get("test_instances")
    if sample is None or sample >= every:
        return f"{every:,} test instances"
    return f"{sample:,} of {every:,} test instances, one sample for all models"


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is: what it could take for its own is escaped.

    For names and captions, which come from files. A sign that Markdown reads as text
    where it stands ("p < 0.05", "global_time") stays as it is.
    """
    text = one_line(text).replace("\\", r"\\")
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)
    text = re.sub(r"\*(?=\S)|(?<=\S)\*|\b_(?!\w)|(?<!\w)_", r"\\\g<0>", text)
    return re.sub(r"[|`\[\]~$]", r"\\\g<0>", text)


def one_line(text: str) -> str:
    """Text with each run of line breaks, tabs and other controls made one blank."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


def csv_text(heads: Iterable[str], rows: Iterable[Iterable[CsvValue]]) -> str:
    """A CSV file: a line of heads, then a line for each row.

    A float is written with six decimals, None as an empty field. Text that a
    spreadsheet would run as a formula (`=`, `+`, `-`, `@` in front) gets an apostrophe
    before it; numbers that come as text stay numbers.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(map(_csv_field, row) for row in rows)
    return lines.getvalue()


def _csv_field(value: CsvValue) -> str:
    if value is None:
        return ""
    text = f"{value:.6f}" if isinstance(value, float) else one_line(str(value))
    if text.lstrip()[:1] in ("=", "+", "-", "@") and not _is_number(text):
        return f"'{text}"
    return text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def markdown_row(cells: list[str]) -> str:
    """A line of a table, of cells in Markdown: a name comes by `markdown_text`."""
    return "| " + " | ".join(cells) + " |"


def markdown_head(heads: list[str]) -> list[str]:
    """A table's first two lines: its heads and the rule below them."""
    return [markdown_row(heads), markdown_row(["---"] * len(heads))]


def mean_text(mean: float, sd: float | None) -> str:
    """Mean and spread: "0.0612 ± 0.0010"; one value has no spread."""
    return f"{mean:.4f}" + ("" if sd is None else f" ± {sd:.4f}")


def completed(markdown: str, about: str, output_dir: Path) -> str:
    """A report with what stands around it.

    Args:
        markdown: the report, which begins with its title.
        about: a sentence on it, below the title; may be empty.
        output_dir: where it will stand. Its terms are linked to the glossary from
            there, in a last line.
    """
    if about:
        title, rest = markdown.split("\n", 1)
        markdown = f"{title}\n\n{markdown_text(about)}\n{rest}"
    links = [f"[{term}]({to})" for term, to in terms_in(markdown, output_dir)]
    return markdown + (f"\nTerms: {', '.join(links)}.\n" if links else "")


def seeds_text(seeds: Iterable[int]) -> str:
    """Which seeds, and what a cell then is: one seed has no mean and no spread."""
    distinct = sorted({*seeds})
    if len(distinct) == 1:
        return f"seed {distinct[0]}"
    return (
        f"seeds {', '.join(map(str, distinct))}; mean ± standard deviation over seeds"
    )


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 epoch", "4 epochs"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def signed(change: float) -> str:
    """A difference to four digits, one that rounds to zero with a plus."""
    return f"{round(change, 4) + 0.0:+.4f}"


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
    """Text that LaTeX sets as it is."""
    return "".join(_TEX.get(letter, letter) for letter in one_line(text))


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
