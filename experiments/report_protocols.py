"""The protocols side by side: what each says of the models, and whether they agree."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from data.candidates import PROTOCOLS
from experiments import figures, report, statistics

_METRICS = ("ndcg@5", "hit@5", "gauc")
_MOST_PAIRS = 10  # named in a sentence; all follow from the places.

# A protocol and a grouping, the key of a column.
Column = tuple[str, str]
# What the figure draws, by its label.
_DRAWN: dict[str, tuple[Column, str]] = {
    **{
        name: ((name, "instance"), marker)
        for name, marker in zip(PROTOCOLS, ("o", "s", "^"))
    },
    "uni1000 by user": (("uni1000", "user"), "D"),
}
# Mean and standard deviation over seeds.
Cell = tuple[float, "float | None"]


@dataclasses.dataclass(frozen=True)
class Table:
    """What the protocols say of the models of one data set.

    Attributes:
        passports: by model, one a seed.
        cells: by metric, column and model; a model is in a column if all of its runs
            are.
        taus: by metric and pair of columns, over the models that both have.
        notes: what a reader has to know, order changes among them.
    """

    dataset: str
    split: str
    passports: dict[str, list[dict[str, Any]]]
    cells: dict[str, dict[Column, dict[str, Cell]]]
    taus: dict[str, dict[tuple[Column, Column], float | None]]
    notes: list[str]


def write(output_dir: Path, runs_dir: Path, datasets: list[tuple[str, str]]) -> str:
    """Writes protocols.md, .csv, .png and .svg; returns the Markdown.

    Raises:
        ValueError: if there is no run, or runs cannot share a table.
    """
    tables = [make_table(runs_dir, *pair) for pair in datasets]
    text = to_markdown(tables)
    report.write_files(output_dir, {"protocols.md": text})
    draw(output_dir, tables)
    return text


def make_table(runs_dir: Path, dataset: str, split: str) -> Table:
    """Reads the passports and the ranks of Table 2's models.

    Raises:
        ValueError: if there is none, or they were made from other data or candidates.
    """
    passports = report.models_passports(runs_dir, dataset, split)
    passports = {model: passports[model] for model in report.ordered(passports)}
    cells = {metric: _cells(passports, metric) for metric in _METRICS}
    columns = cells[_METRICS[0]]
    pairs = [*itertools.combinations([key for key in columns if _is_own(key)], 2)]
    pairs += [((name, "instance"), (name, "user")) for name, _ in _pooled(columns)]
    taus = {
        metric: {pair: _tau(cells[metric], pair) for pair in pairs}
        for metric in _METRICS
    }
    whole = _whole_catalogue(passports)
    # Where one of the sampled protocols is `full`, that would repeat its sentences.
    told = [pair for pair in pairs if not (whole and ("full", "instance") in pair)]
    notes = [
        *_one_protocol(whole),
        *_order_changes(passports, cells, told),
        *_missing(passports, columns),
        *report.run_warnings(passports),
        *report.left_out(runs_dir, dataset, split),
    ]
    return Table(dataset, split, passports, cells, taus, notes)


def places(cells: dict[str, Cell]) -> dict[str, int]:
    """1 for the highest mean; models of one mean share the better place."""
    return {
        model: 1 + sum(other > mean for other, _ in cells.values())
        for model, (mean, _) in cells.items()
    }


def to_markdown(tables: list[Table]) -> str:
    lines = ["# Protocols side by side", "", *_READING, ""]
    for table in tables:
        lines += [f"## {table.dataset}, {table.split}", ""]
        for metric in _METRICS:
            lines += _metric_lines(table, metric)
        lines += [caption(table), "", *_tau_lines(table), ""]
        for name, _ in _pooled(table.cells[_METRICS[0]]):
            lines += _grouping_lines(table, name)
        for note in table.notes:
            lines += [f"**Note:** {note}", ""]
    return "\n".join(lines).rstrip() + "\n"


_READING = (
    "The same weights under each protocol: 1,000 negatives drawn uniformly "
    "(`uni1000`, the paper's), 1,000 drawn by popularity (`pop1000`), the whole "
    "catalogue (`full`). Numbers of two protocols do not compare; the order of the "
    "models should.",
)


def caption(table: Table) -> str:
    """What was measured, on what."""
    first = next(iter(table.passports.values()))[0]
    seeds = sorted({run["seed"] for runs in table.passports.values() for run in runs})
    sizes = ", ".join(
        f"{name} {len(rows):,} test instances with {rows.mean():,.0f} candidates each"
        for name, rows in _candidates(first).items()
    )
    return (
        "Mean ± standard deviation over seeds, by test instance; in brackets the "
        f"model's place under the protocol. On average: {sizes}. Seeds "
        f"{', '.join(map(str, seeds))}. Split: {first['config']['split_rule']}. Commit "
        f"{first['commit'][:12]}. ‡ Not in the paper's Table 2."
    )


def to_csv_rows(tables: list[Table]) -> tuple[str, list[str]]:
    """The head and the rows of protocols.csv."""
    rows = []
    for table in tables:
        for metric, columns in table.cells.items():
            for (protocol, grouping), cells in columns.items():
                place = places(cells)
                for model, (mean, sd) in cells.items():
                    values = [table.dataset, table.split, model, protocol, grouping]
                    values += [metric, f"{mean:.6f}", "" if sd is None else f"{sd:.6f}"]
                    values += [str(len(table.passports[model])), str(place[model])]
                    rows.append(",".join(values))
    return "dataset,split,model,protocol,grouping,metric,mean,sd,seeds,place", rows


def draw(folder: Path, tables: list[Table]) -> list[Path]:
    """Draws the places of the models: a row of panels a data set."""
    most = max(len(table.passports) for table in tables)
    figure, axes = figures.panels(len(tables), len(_METRICS), height=0.5 + 0.22 * most)
    for row, table in zip(axes, tables):
        models = list(table.passports)
        heights = {model: -float(number) for number, model in enumerate(models)}
        for axis, metric in zip(row, _METRICS):
            _draw_places(axis, table.cells[metric], heights)
            axis.set_title(metric.upper())
            axis.set_xlabel("place (1: best)")
            axis.set_yticks(list(heights.values()), [""] * len(models))
        names = [report.display_name(model) for model in models]
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
    heads, rows = to_csv_rows(tables)
    return figures.save(folder, "protocols", figure, (title, note), heads, rows)


def _draw_places(
    axis: Any, columns: dict[Column, dict[str, Cell]], heights: dict[str, float]
) -> None:
    drawn = {
        label: places(columns.get(column, {})) for label, (column, _) in _DRAWN.items()
    }
    for model, height in heights.items():
        found = [by_model[model] for by_model in drawn.values() if model in by_model]
        axis.plot(found, [height] * len(found), color="#bbbbbb", linewidth=1, zorder=1)
    for number, (label, by_model) in enumerate(drawn.items()):
        axis.scatter(
            list(by_model.values()),
            # Side by side where places are equal.
            [heights[model] + 0.16 * (1.5 - number) for model in by_model],
            color=figures.COLOURS[number],
            marker=_DRAWN[label][1],
            s=13,
            label=label if by_model else None,
            zorder=2,
        )
    axis.set_xlim(0.4, len(heights) + 0.6)
    axis.set_xticks([1, *range(5, len(heights) + 1, 5)])
    axis.grid(axis="x", color="#dddddd")


def _cells(
    passports: dict[str, list[dict[str, Any]]], metric: str
) -> dict[Column, dict[str, Cell]]:
    columns = [(name, "instance") for name in PROTOCOLS]
    columns += [(name, "user") for name in PROTOCOLS]
    cells: dict[Column, dict[str, Cell]] = {}
    for protocol, grouping in columns:
        for model, runs in passports.items():
            found = [
                run["metrics"]["test"].get(protocol, {}).get(grouping) for run in runs
            ]
            if all(found):
                values = [one[metric] for one in found]
                column = cells.setdefault((protocol, grouping), {})
                column[model] = statistics.mean_and_sd(values)
    return cells


def _is_own(column: Column) -> bool:
    """Whether a column has a list for each test instance."""
    return column[1] == "instance"


def _pooled(columns: Any) -> list[Column]:
    return [column for column in columns if not _is_own(column)]


def _both(
    columns: dict[Column, dict[str, Cell]], pair: tuple[Column, Column]
) -> tuple[list[str], list[float], list[float]]:
    """The models that two columns have, and their means under each."""
    one, other = (columns[column] for column in pair)
    models = [model for model in one if model in other]
    return models, [one[m][0] for m in models], [other[m][0] for m in models]


def _tau(
    columns: dict[Column, dict[str, Cell]], pair: tuple[Column, Column]
) -> float | None:
    _, ours, theirs = _both(columns, pair)
    return statistics.kendall_tau(ours, theirs)


def _metric_lines(table: Table, metric: str) -> list[str]:
    columns = {key: v for key, v in table.cells[metric].items() if _is_own(key)}
    place = {key: places(cells) for key, cells in columns.items()}
    heads = [metric.upper(), *(protocol for protocol, _ in columns)]
    lines = _head(heads)
    for model in table.passports:
        row = [_name(model)]
        for key, cells in columns.items():
            if model in cells:
                row.append(f"{_text(cells[model])} ({place[key][model]})")
            else:
                row.append("–")
        lines.append(report.markdown_row(row))
    return [*lines, ""]


def _tau_lines(table: Table) -> list[str]:
    pairs = table.taus[_METRICS[0]]
    if not pairs:
        return ["One protocol: nothing to compare."]
    count = len(table.passports)
    lines = _head(["Kendall's tau", *(metric.upper() for metric in _METRICS)])
    for pair in pairs:
        taus = [table.taus[metric][pair] for metric in _METRICS]
        cells = ["–" if tau is None else f"{tau:.2f}" for tau in taus]
        lines.append(report.markdown_row([_pair_name(pair), *cells]))
    return [
        *lines,
        "",
        f"Over {count} models, of means over seeds: 1 for one order, 0 for unrelated "
        "ones, -1 for its reverse. tau-b: a pair of models that is tied in either "
        "column counts neither for nor against, out of the geometric mean of how many "
        "pairs each column orders.",
    ]


def _grouping_lines(table: Table, protocol: str) -> list[str]:
    heads = [f"{protocol}, by"]
    for metric in _METRICS:
        heads += [f"{metric.upper()} instance", "user", "difference"]
    lines = _head(heads)
    for model in table.passports:
        row = [_name(model)]
        for metric in _METRICS:
            by_instance, by_user = (
                table.cells[metric].get((protocol, key), {})
                for key in ("instance", "user")
            )
            if model not in by_instance or model not in by_user:
                row += ["–", "–", "–"]
                continue
            for cells in (by_instance, by_user):
                row.append(f"{cells[model][0]:.4f} ({places(cells)[model]})")
            row.append(f"{by_user[model][0] - by_instance[model][0]:+.4f}")
        lines.append(report.markdown_row(row))
    return [
        *lines,
        "",
        "`instance` ranks one list a test instance; `user` pools a user's instances "
        "into one list, of which the first hit counts, as the authors' code does. "
        "Means over seeds; in brackets the place.",
        "",
    ]


def _candidates(run: dict[str, Any]) -> dict[str, np.ndarray]:
    """How many candidates each instance had, by protocol."""
    import pandas as pd

    table = pd.read_parquet(run["folder"] / "ranks.parquet")
    by_protocol = {key: rows for key, rows in table.groupby("protocol")["candidates"]}
    return {
        name: by_protocol[name].to_numpy() for name in PROTOCOLS if name in by_protocol
    }


def _whole_catalogue(passports: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Sampled protocols that take as many candidates as `full`: all there are."""
    sizes = _candidates(next(iter(passports.values()))[0])
    full = sizes.pop("full", np.zeros(0))
    return [name for name, counts in sizes.items() if np.array_equal(counts, full)]


def _one_protocol(whole: list[str]) -> list[str]:
    return [
        f"{name} and full are one protocol here: the catalogue has no more than 1,000 "
        "items that an instance can be ranked against, and both take all of them."
        for name in whole
    ]


def _order_changes(
    passports: dict[str, list[dict[str, Any]]],
    cells: dict[str, dict[Column, dict[str, Cell]]],
    pairs: list[tuple[Column, Column]],
) -> list[str]:
    """A sentence for each metric and pair of columns that disagree on an order."""
    sentences = []
    known: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for metric, pair in itertools.product(_METRICS, pairs):
        models, ours, theirs = _both(cells[metric], pair)
        swaps = statistics.swapped(ours, theirs)
        if not swaps:
            continue
        # The clearest first: by the smaller of the two differences.
        swaps.sort(
            key=lambda ij: (
                -min(abs(ours[ij[0]] - ours[ij[1]]), abs(theirs[ij[0]] - theirs[ij[1]]))
            )
        )
        names = [f"{_plain(models[i])} and {_plain(models[j])}" for i, j in swaps]
        shown = "; ".join(names[:_MOST_PAIRS])
        if len(names) > _MOST_PAIRS:
            shown += f"; and {len(names) - _MOST_PAIRS} more"
        text = (
            f"By {metric.upper()}, {_pair_name(pair)} disagree on the order of "
            f"{len(swaps)} of {len(models) * (len(models) - 1) // 2} pairs of models: "
            f"{shown}."
        )
        if all(map(_is_own, pair)):
            changed = [(models[i], models[j]) for i, j in swaps]
            sure = set(changed)
            for protocol, _ in pair:
                sure &= _sure(passports, known, protocol, metric, changed)
            certain = [f"{_plain(a)} and {_plain(b)}" for a, b in sorted(sure)]
            text += (
                " Beyond chance under both (paired bootstrap over users, p < "
                f"{report.LEVEL}, Holm-corrected over these pairs): "
                f"{'; '.join(certain) or 'none'}."
            )
        sentences.append(text)
    return sentences


def _sure(
    passports: dict[str, list[dict[str, Any]]],
    known: dict[tuple[str, str], dict[str, np.ndarray]],
    protocol: str,
    metric: str,
    pairs: list[tuple[str, str]],
) -> set[tuple[str, str]]:
    """Pairs of models that differ under a protocol; `known` keeps what was read."""
    for model in {model for pair in pairs for model in pair}:
        if (protocol, model) not in known:
            known[protocol, model] = report.mean_ranks(passports[model], protocol)
    differences = [
        known[protocol, one][metric] - known[protocol, other][metric]
        for one, other in pairs
    ]
    users = known[protocol, pairs[0][0]]["user"]
    found = statistics.paired_bootstraps(
        np.stack(differences, axis=1), users, resamples=2_000
    )
    below = report.below({pair: one.p_value for pair, one in zip(pairs, found)})
    return {pair for pair, is_below in below.items() if is_below}


def _missing(
    passports: dict[str, list[dict[str, Any]]], columns: dict[Column, Any]
) -> list[str]:
    notes = []
    for protocol in PROTOCOLS:
        ranked = columns.get((protocol, "instance"), {})
        names = [_plain(model) for model in passports if model not in ranked]
        if names:
            notes.append(
                f"Not ranked under {protocol} in every run, and so not in its column: "
                f"{', '.join(names)}. `python -m experiments.evaluate "
                f"--candidates={protocol} --run_dir=...` ranks a run."
            )
    return notes


def _head(heads: list[str]) -> list[str]:
    return [report.markdown_row(heads), report.markdown_row(["---"] * len(heads))]


def _name(model: str) -> str:
    return _plain(model) + (" ‡" if report.is_added(model) else "")


def _plain(model: str) -> str:
    return report.display_name(model)


def _text(cell: Cell) -> str:
    mean, sd = cell
    return f"{mean:.4f}" + ("" if sd is None else f" ± {sd:.4f}")


def _pair_name(pair: tuple[Column, Column]) -> str:
    (one, grouping), (other, pooled) = pair
    if one == other:
        return f"{one} by {grouping} and by {pooled}"
    return f"{one} and {other}"
