"""Table 2 as one page: tables, bars with error bars, nothing from afar."""

from __future__ import annotations

import html
import io

from experiments.reports import table2
from experiments.reports.table2 import DatasetTable
from experiments.reports.text import cell_text, one_line
from experiments.results.model_names import display_name, is_added, ordered
from harness.metrics import METRICS

# Okabe & Ito's palette, told apart by the colour-blind; and a hatch for print.
_PAPER, _ADDED, _MGNM = "#56B4E9", "#999999", "#D55E00"

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


def to_html(tables: list[DatasetTable]) -> str:
    parts = ["<h1>Table 2</h1>"]
    for table in tables:
        parts += [
            f"<h2>{html.escape(table2.title(table))}</h2>",
            chart(table),
            _results(table),
            f"<p class=note>{html.escape(table2.caption(table))}</p>",
            *(f"<p><b>Note:</b> {html.escape(text)}</p>" for text in table.warnings),
            "<h3>What it took</h3>",
            _plain_table(table2.costs(table)),
        ]
    weaknesses = "".join(f"<li>{html.escape(text)}</li>" for text in table2.WEAKNESSES)
    parts.append(
        "<div class=box><h3>Known weaknesses of this protocol</h3>"
        f"<ul>{weaknesses}</ul></div>"
    )
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv=Content-Security-Policy content="{_POLICY}">'
        "<meta name=viewport content='width=device-width'><title>MGNM: Table 2</title>"
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def chart(table: DatasetTable) -> str:
    """Bars of the four metrics with standard deviations, as inline SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    models = ordered(table.cells)
    height = 0.9 + 0.32 * len(models)
    # Else ids differ from one drawing to the next.
    matplotlib.rcParams["svg.hashsalt"] = "mgnm"
    matplotlib.rcParams["text.parse_math"] = False  # A name may hold "$".
    figure, axes = pyplot.subplots(1, 4, figsize=(13, height), sharey=True)
    for metric, axis in zip(METRICS, axes):
        cells = [table.cells[model][metric] for model in models]
        bars = axis.barh(
            [one_line(display_name(model)) for model in models],
            [cell.mean for cell in cells],
            xerr=[cell.sd or 0.0 for cell in cells],
            color=[_colour(model) for model in models],
            hatch=["//" if is_added(model) else "" for model in models],
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
    figure.tight_layout()
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return text.getvalue()[text.getvalue().index("<svg") :]


def _colour(model: str) -> str:
    if model.startswith("mgnm"):
        return _MGNM
    return _ADDED if is_added(model) else _PAPER


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
        opening = "<tr class=rule>" if starts_rule else "<tr>"
        name = html.escape(display_name(model))
        rows.append(f"{opening}<td>{name}</td>{cells}</tr>")
    return f"<table><tr><th>model</th>{heads}</tr>{''.join(rows)}</table>"


def _plain_table(rows: list[list[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows[1:]
    )
    return f"<table><tr>{head}</tr>{body}</table>"
