"""From what the protocols say to the figure of the models' places, and its CSV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.candidates import PROTOCOLS
from experiments.reports import drawing
from experiments.reports.protocols.agreement import (
    COMPARED_METRICS,
    Column,
    MeanAndSd,
    places,
)
from experiments.reports.protocols.table import ProtocolTable
from experiments.reports.text import CsvValue
from experiments.results.model_names import display_name

# What the figure draws, by its label.
_DRAWN: dict[str, tuple[Column, str]] = {
    **{
        name: ((name, "instance"), marker)
        for name, marker in zip(PROTOCOLS, ("o", "s", "^"))
    },
    "uni1000 by user": (("uni1000", "user"), "D"),
}


def draw(folder: Path, tables: list[ProtocolTable]) -> list[Path]:
    """Draws the places of the models: a row of panels a data set."""
    most = max(len(table.by_model) for table in tables)
    figure, axes = drawing.panels(
        len(tables), len(COMPARED_METRICS), height=0.5 + 0.22 * most
    )
    for row, table in zip(axes, tables):
        models = list(table.by_model)
        heights = {model: -float(number) for number, model in enumerate(models)}
        for axis, metric in zip(row, COMPARED_METRICS):
            _draw_places(axis, table.cells[metric], heights)
            axis.set_title(metric.upper())
            axis.set_xlabel("place (1: best)")
            axis.set_yticks(list(heights.values()), [""] * len(models))
        names = [display_name(model) for model in models]
        row[0].set_yticks(list(heights.values()), names)
        row[0].set_ylabel(table.dataset)
    handles, labels = max(
        (axis.get_legend_handles_labels() for axis in axes.flat),
        key=lambda pair: len(pair[1]),
    )
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    title = "The models' places under each protocol"
    note = (
        "Places of means over seeds, by test instance but where it says otherwise. A "
        "line joins a model's places: none, no change."
    )
    heads = (
        *("dataset", "split", "model", "protocol", "grouping"),
        *("metric", "mean", "sd", "seeds", "place"),
    )
    rows = _csv_rows(tables)
    return drawing.save(folder, "protocols", figure, (title, note), heads, rows)


def _draw_places(
    axis: Any, columns: dict[Column, dict[str, MeanAndSd]], heights: dict[str, float]
) -> None:
    drawn = {
        label: places(columns.get(column, {})) for label, (column, _) in _DRAWN.items()
    }
    for model, height in heights.items():
        model_places = [
            by_model[model] for by_model in drawn.values() if model in by_model
        ]
        axis.plot(
            model_places,
            [height] * len(model_places),
            color="#bbbbbb",
            linewidth=1,
            zorder=1,
        )
    for number, (label, by_model) in enumerate(drawn.items()):
        axis.scatter(
            list(by_model.values()),
            # Side by side where places are equal.
            [heights[model] + 0.16 * (1.5 - number) for model in by_model],
            color=drawing.COLOURS[number],
            marker=_DRAWN[label][1],
            s=13,
            label=label if by_model else None,
            zorder=2,
        )
    axis.set_xlim(0.4, len(heights) + 0.6)
    axis.set_xticks([1, *range(5, len(heights) + 1, 5)])
    axis.grid(axis="x", color="#dddddd")


def _csv_rows(tables: list[ProtocolTable]) -> Iterator[tuple[CsvValue, ...]]:
    for table in tables:
        for metric, columns in table.cells.items():
            for (protocol, grouping), cells in columns.items():
                place = places(cells)
                for model, mean_and_sd in cells.items():
                    yield (
                        *(table.dataset, table.split, model, protocol, grouping),
                        *(metric, *mean_and_sd),
                        *(len(table.by_model[model]), place[model]),
                    )
