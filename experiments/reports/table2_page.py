"""Table 2 as one page: tables, bars with error bars, nothing from afar."""

from __future__ import annotations

import html
import io
import re
from pathlib import Path
from typing import IO, Any

from experiments.reports import drawing, table2
from experiments.reports.table2 import DatasetTable
from experiments.reports.text import cell_text, one_line, terms_in
from experiments.results.model_names import is_added, marked_name, ordered
from harness.metrics import METRICS

# Okabe & Ito's palette, told apart by the colour-blind; and a hatch for print.
_PAPER, _ADDED, _MGNM = "#56B4E9", "#999999", "#D55E00"

_LEGEND = (
    (_MGNM, "", "MGNM"),
    (_MGNM, "//", "‡ MGNM+ and variants of MGNM"),
    (_PAPER, "", "the paper's other models"),
    (_ADDED, "//", "‡ ours to add, not in the paper's Table 2"),
)

# Nothing is loaded and nothing runs: the page is its own styles and drawings.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto;
       padding: 0 1rem; color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
tr.rule td { border-top: 2px solid #444; }
.note { color: #555; font-size: .9rem; }
.box { border-left: 4px solid #D55E00; padding: .1rem 1rem; background: #fafafa; }
svg { max-width: 100%; height: auto; }
"""


def to_html(
    tables: list[DatasetTable], about: str = "", output_dir: Path | None = None
) -> str:
    """The page.

    Args:
        tables: one a data set.
        about: what made the runs, and what their numbers are for.
        output_dir: where the page will stand; with it terms are linked.
    """
    parts = ["<h1>Table 2</h1>"]
    if about:
        parts.append(f"<p>{_text(about)}</p>")
    for table in tables:
        parts += [
            f"<h2>{_text(table2.title(table))}</h2>",
            chart(table),
            _results(table),
            f"<p class=note>{_text(table2.caption(table))}</p>",
            *([_MARK] if any(map(is_added, table.cells)) else []),
            *(f"<p><b>Note:</b> {_text(text)}</p>" for text in table.warnings),
            "<h3>What it took</h3>",
            _plain_table(table2.costs(table)),
            "<div class=box><h3>Known weaknesses of this protocol</h3><ul>",
            *(f"<li>{_text(text)}</li>" for text in table2.weaknesses(table)),
            "</ul></div>",
        ]
    if output_dir is not None:
        parts.append(_terms("".join(parts), output_dir))
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv=Content-Security-Policy content="{_POLICY}">'
        "<meta name=viewport content='width=device-width'><title>MGNM: Table 2</title>"
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _terms(page: str, output_dir: Path) -> str:
    links = [
        f'<a href="{html.escape(to)}">{term}</a>'
        for term, to in terms_in(page, output_dir)
    ]
    return f"<p class=note>Terms: {', '.join(links)}.</p>" if links else ""


_MARK = "<p class=note>‡ Not in the paper's Table 2.</p>"


def _text(text: str) -> str:
    """Plain text as HTML; what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


def chart(table: DatasetTable) -> str:
    """Bars of the four metrics with standard deviations, as inline SVG."""
    text = io.StringIO()
    _draw([table], text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def picture(tables: list[DatasetTable]) -> bytes:
    """The same bars of all data sets, a row each, as PNG."""
    image = io.BytesIO()
    _draw(tables, image, format="png", dpi=110, metadata={"Software": None})
    return image.getvalue()


def _draw(tables: list[DatasetTable], file: IO[Any], **options: Any) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    heights = [1.25 + 0.32 * len(table.cells) for table in tables]
    # Else ids differ from one drawing to the next.
    matplotlib.rcParams["svg.hashsalt"] = "mgnm"
    matplotlib.rcParams["svg.fonttype"] = "none"  # Text stays text.
    matplotlib.rcParams["text.parse_math"] = False  # A name may hold "$".
    figure, rows = pyplot.subplots(
        len(tables),
        len(METRICS),
        figsize=(13, sum(heights)),
        sharey="row",
        squeeze=False,
        height_ratios=heights,
    )
    for table, axes in zip(tables, rows):
        _draw_bars(table, axes)
        if len(tables) > 1:
            axes[0].set_ylabel(one_line(f"{table.dataset}, {table.split}"))
    height = sum(heights)
    kinds = {_look(model) for table in tables for model in table.cells}
    figure.legend(
        handles=[
            Patch(facecolor=colour, edgecolor="white", hatch=hatch, label=label)
            for colour, hatch, label in _LEGEND
            if (colour, hatch) in kinds
        ],
        loc="lower center",
        ncols=len(kinds),
        frameon=False,
    )
    # The legend has a line of its own below the axes.
    figure.tight_layout(rect=(0, 0.35 / height, 1, 1))
    figure.savefig(file, **options)
    pyplot.close(figure)


def _draw_bars(table: DatasetTable, axes: Any) -> None:
    models = ordered(table.cells)
    for metric, axis in zip(METRICS, axes):
        cells = [table.cells[model][metric] for model in models]
        bars = axis.barh(
            [one_line(marked_name(model)) for model in models],
            [cell.mean for cell in cells],
            xerr=drawing.error_bars([cell.sd for cell in cells]),
            color=[_look(model)[0] for model in models],
            hatch=[_look(model)[1] for model in models],
            edgecolor="white",
            capsize=3,
        )
        axis.bar_label(bars, [f"{cell.mean:.4f}" for cell in cells], padding=4)
        axis.set_title(metric.upper())
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.35)
        if metric == "gauc":
            axis.axvline(0.5, color="#444", linestyle=":")
            axis.set_title("GAUC (dotted: chance)")
    axes[0].invert_yaxis()


def _look(model: str) -> tuple[str, str]:
    """Colour and hatch."""
    hatch = "//" if is_added(model) else ""
    if model.startswith("mgnm"):
        return _MGNM, hatch
    return (_ADDED if hatch else _PAPER), hatch


def _results(table: DatasetTable) -> str:
    heads = "".join(f"<th>{metric.upper()}</th>" for metric in METRICS)
    rows, ruled = [], False
    for model in ordered(table.cells):
        starts_rule = is_added(model) and not ruled
        ruled = ruled or starts_rule
        cells = ""
        for metric in METRICS:
            cell = table.cells[model][metric]
            tag = {1: "b", 2: "u"}.get(cell.place, "span")
            cells += f"<td><{tag}>{html.escape(cell_text(cell))}</{tag}></td>"
        if starts_rule:
            span = 1 + len(METRICS)
            rows.append(
                f"<tr class=rule><td colspan={span}><i>ours to add:</i></td></tr>"
            )
        name = html.escape(marked_name(model))
        rows.append(f"<tr><td>{name}</td>{cells}</tr>")
    return f"<table><tr><th>model</th>{heads}</tr>{''.join(rows)}</table>"


def _plain_table(rows: list[list[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows[1:]
    )
    return f"<table><tr>{head}</tr>{body}</table>"
