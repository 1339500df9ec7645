"""How every figure looks, and its values beside it as CSV."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from data import atomic
from experiments.reports.text import CsvValue, csv_text, write_files
from experiments.results import significance
from harness.metrics import METRICS
from harness.passport import Metrics

# Okabe & Ito's palette, told apart by the colour-blind; hatches for print.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "+++")


_STYLE = {
    "font.size": 8,
    "axes.titlesize": 9,
    "svg.hashsalt": "mgnm",  # Else ids differ from one drawing to the next.
    "svg.fonttype": "none",  # Text stays text.
    "text.parse_math": False,  # A name may hold "$".
    "hatch.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_WIDTH, _ROW_HEIGHT = 7.2, 1.9  # inches; the width of a page of two columns


@dataclasses.dataclass(frozen=True)
class Point:
    """The four metrics of one variant, by metric: mean and standard deviation."""

    x: int | str
    metrics: dict[str, tuple[float, float | None]]
    seeds: int


def point(x: int | str, values: list[Metrics]) -> Point:
    """The point of one variant, from its metrics by seed."""
    by_metric = {
        metric: significance.mean_and_sd([one[metric] for one in values])
        for metric in METRICS
    }
    return Point(x, by_metric, len(values))


def error_bars(sds: Any) -> list[float]:
    """Error bars; one seed has none, and zero would be drawn."""
    return [float("nan") if sd is None else sd for sd in sds]


def panels(rows: int, columns: int, height: float = _ROW_HEIGHT) -> Any:
    """A figure as wide as a page, and its axes [rows, columns]; `height` a row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update(_STYLE)
    return pyplot.subplots(
        rows,
        columns,
        figsize=(_WIDTH, height * rows + 0.7),
        squeeze=False,
        layout="constrained",
    )


def save(
    folder: Path,
    name: str,
    figure: Any,
    titles: tuple[str, str],
    heads: Sequence[str],
    rows: Iterable[Sequence[CsvValue]],
) -> list[Path]:
    """Writes `<name>.csv`, `.png` and `.svg` to the folder; returns the paths.

    Each file is there whole or not at all; the same input gives the same bytes.
    `titles` are a title and a note below it, `heads` and `rows` the fields of the CSV.
    """
    from matplotlib import pyplot

    title, note = titles
    figure.suptitle("\n".join([title, *textwrap.wrap(note, 100)]), fontsize=9)
    write_files(folder, {f"{name}.csv": csv_text(heads, rows)})
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        with atomic.whole_file(folder / f"{name}.{kind}") as partial:
            figure.savefig(partial, format=kind, dpi=150, metadata=metadata)
    pyplot.close(figure)
    return [folder / f"{name}.{kind}" for kind in ("csv", "png", "svg")]


def seeds_note(points: dict[tuple[str, str], list[Point]]) -> str:
    counts = sorted({point.seeds for line in points.values() for point in line})
    if counts == [1]:
        return "One seed."
    *others, last = map(str, counts)
    shown = f"{', '.join(others)} or {last}" if others else last
    return f"Mean ± standard deviation over {shown} seeds."
