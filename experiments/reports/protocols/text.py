"""The protocols side by side, from stored runs: Markdown, a figure and its CSV."""

from __future__ import annotations

from pathlib import Path

from experiments.reports.protocols import agreement, figure
from experiments.reports.protocols import table as protocol_table
from experiments.reports.protocols.agreement import COMPARED_METRICS, places
from experiments.reports.protocols.table import ProtocolTable
from experiments.reports.text import (
    completed,
    markdown_head,
    markdown_row,
    markdown_text,
    mean_text,
    seeds_text,
    signed,
    write_files,
)
from experiments.results.model_names import marked_name
from harness import provenance


def write(
    output_dir: Path,
    runs_dir: Path,
    datasets: list[tuple[str, str]],
    about: str = "",
) -> str:
    """Writes protocols.md, .csv, .png and .svg; returns the Markdown.

    It begins with `about`, a sentence on the runs.

    Raises:
        ValueError: if there is no run, or runs cannot share a table.
    """
    tables = [protocol_table.make_table(runs_dir, *pair) for pair in datasets]
    text = completed(to_markdown(tables), about, output_dir)
    write_files(output_dir, {"protocols.md": text})
    figure.draw(output_dir, tables)
    return text


def to_markdown(tables: list[ProtocolTable]) -> str:
    lines = ["# Protocols side by side", "", *_READING, ""]
    for table in tables:
        lines += [f"## {markdown_text(f'{table.dataset}, {table.split}')}", ""]
        for metric in COMPARED_METRICS:
            lines += _metric_lines(table, metric)
        lines += [markdown_text(caption(table)), "", *_tau_lines(table), ""]
        for name, _ in protocol_table.pooled(table.cells[COMPARED_METRICS[0]]):
            lines += _grouping_lines(table, name)
        for note in table.notes:
            lines += [f"**Note:** {markdown_text(note)}", ""]
    return "\n".join(lines).rstrip() + "\n"


_READING = (
    "The same weights under each protocol: 1,000 negatives drawn uniformly "
    "(`uni1000`, the paper's), 1,000 drawn by popularity (`pop1000`), the whole "
    "catalogue (`full`). Numbers of two protocols do not compare; the order of the "
    "models should.",
)


def caption(table: ProtocolTable) -> str:
    """What was measured, on what."""
    run = next(iter(table.by_model.values()))[0]
    first = run.passport
    seeds = {run.seed for runs in table.by_model.values() for run in runs}
    sizes = ", ".join(
        f"{name} {len(rows):,} test instances with {rows.mean():,.0f} candidates each"
        for name, rows in protocol_table.candidates(run).items()
    )
    return (
        f"By test instance, {seeds_text(seeds)}; in brackets the model's place under "
        f"the protocol. On average: {sizes}. Split: {first['config']['split_rule']}. "
        f"Commit {provenance.short(first['commit'])}. ‡ Not in the paper's Table 2."
    )


def _metric_lines(table: ProtocolTable, metric: str) -> list[str]:
    columns = {
        key: v for key, v in table.cells[metric].items() if agreement.is_own(key)
    }
    place = {key: places(cells) for key, cells in columns.items()}
    heads = [metric.upper(), *(protocol for protocol, _ in columns)]
    lines = markdown_head(heads)
    for model in table.by_model:
        row = [markdown_text(marked_name(model))]
        for key, cells in columns.items():
            if model in cells:
                row.append(f"{mean_text(*cells[model])} ({place[key][model]})")
            else:
                row.append("–")
        lines.append(markdown_row(row))
    return [*lines, ""]


def _tau_lines(table: ProtocolTable) -> list[str]:
    pairs = table.taus[COMPARED_METRICS[0]]
    if not pairs:
        return ["One protocol: nothing to compare."]
    count = len(table.by_model)
    lines = markdown_head(
        ["Kendall's tau", *(metric.upper() for metric in COMPARED_METRICS)]
    )
    for pair in pairs:
        taus = [table.taus[metric][pair] for metric in COMPARED_METRICS]
        cells = ["–" if tau is None else f"{tau:.2f}" for tau in taus]
        lines.append(markdown_row([agreement.pair_name(pair), *cells]))
    return [
        *lines,
        "",
        f"Over {count} models, of means over seeds: 1 for one order, 0 for unrelated "
        "ones, -1 for its reverse. tau-b: a pair of models that is tied in either "
        "column counts neither for nor against, out of the geometric mean of how many "
        "pairs each column orders.",
    ]


def _are_one(table: ProtocolTable, protocol: str) -> bool:
    """Whether to pool a user's instances changes nothing, as where each has one."""
    pairs = [
        (cells[protocol, "instance"][model][0], mean)
        for cells in table.cells.values()
        for model, (mean, _) in cells.get((protocol, "user"), {}).items()
        if model in cells.get((protocol, "instance"), {})
    ]
    return bool(pairs) and all(abs(one - other) < 1e-9 for one, other in pairs)


def _grouping_lines(table: ProtocolTable, protocol: str) -> list[str]:
    if _are_one(table, protocol):
        return [
            f"Under {protocol} each user has one test instance: by instance and by "
            "user are one.",
            "",
        ]
    heads = [f"{protocol}, by"]
    for metric in COMPARED_METRICS:
        heads += [f"{metric.upper()} instance", "user", "difference"]
    lines = markdown_head(heads)
    for model in table.by_model:
        row = [markdown_text(marked_name(model))]
        for metric in COMPARED_METRICS:
            by_instance, by_user = (
                table.cells[metric].get((protocol, key), {})
                for key in ("instance", "user")
            )
            if model not in by_instance or model not in by_user:
                row += ["–", "–", "–"]
                continue
            for cells in (by_instance, by_user):
                row.append(f"{cells[model][0]:.4f} ({places(cells)[model]})")
            row.append(signed(by_user[model][0] - by_instance[model][0]))
        lines.append(markdown_row(row))
    return [
        *lines,
        "",
        "`instance` ranks one list a test instance; `user` pools a user's instances "
        "into one list, of which the first hit counts, as the authors' code does. "
        "Means over seeds; in brackets the place.",
        "",
    ]
