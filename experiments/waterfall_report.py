"""The waterfall's tables and picture, from its stored runs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.paper import METRICS
from experiments.report_text import markdown_head, markdown_row, mean_text, write_files
from experiments.statistics import mean_and_sd
from experiments.waterfall_runs import PROTOCOL_STEPS, STEPS, TRAINED_STEPS
from mgnm_tf.released import SWITCHES

Metrics = dict[str, float]
# A line of a table: its name, and its metrics by seed.
Line = tuple[str, dict[int, Metrics]]

_SHOWN = ("gauc", "ndcg@5")
# Okabe & Ito's palette, told apart by the colour-blind; markers differ too, for print.
_LEAKY, _HONEST, _REFERENCE = "#D55E00", "#0072B2", "#666666"


def write(
    folder: Path, runs: list[dict[str, Any]], popularity: dict[str, Metrics]
) -> str:
    """Writes waterfall.md, .csv, .jsonl, .png and .svg; returns the Markdown.

    The JSON lines are the runs: what the tables can be traced to.

    Args:
        folder: where they go.
        runs: of `waterfall_runs.run_step`, all of one data set and budget. A step
            that has none is left out.
        popularity: the metrics of counting, by grouping.
    """
    markdown = to_markdown(runs, popularity)
    texts = {
        "waterfall.md": markdown,
        "waterfall.csv": to_csv(runs, popularity),
        "waterfall.jsonl": "".join(json.dumps(run) + "\n" for run in runs),
    }
    write_files(folder, texts)
    draw(folder, runs, popularity)
    return markdown


def waterfall(runs: list[dict[str, Any]]) -> list[Line]:
    """The steps in order, each with what it measures, by seed."""
    trained = {
        step: _by_seed(runs, step, _view("as trained")) for step in TRAINED_STEPS
    }
    first, *others = trained.items()
    pooled = _by_seed(runs, "released", _view("as trained", grouping="user"))
    selected = _by_seed(runs, "recipe", _view("as trained", selection="valid"))
    lines = [
        ("released", pooled),
        ("grouping", first[1]),
        *others,
        ("selection", selected),
    ]
    return [line for line in lines if line[1]]


def views(runs: list[dict[str, Any]], popularity: dict[str, Metrics]) -> list[Line]:
    """The released computation under other rows and targets, one list an instance."""
    chance = {run["seed"]: run["evaluation"]["chance"] for run in runs}
    lines = [
        ("its own row order", _by_seed(runs, "released", _view("as trained"))),
        (
            "the same weights, rows shuffled",
            _by_seed(runs, "released", _view("rows shuffled")),
        ),
        (
            "its own row order, each target replaced by a random item",
            _by_seed(runs, "released", _view("random targets")),
        ),
        (
            "rows shuffled in training too",
            _by_seed(runs, "row_order", _view("as trained")),
        ),
        ("*Popularity*", {seed: popularity["instance"] for seed in chance}),
        ("*chance*", chance),
    ]
    return [line for line in lines if line[1]]


def to_markdown(runs: list[dict[str, Any]], popularity: dict[str, Metrics]) -> str:
    heads = [metric.upper() for metric in METRICS]
    lines = [
        f"# The released computation, step by step to the paper: {_title(runs)}",
        "",
        caption(runs),
        "",
        "## The released computation",
        "",
        "One list a test instance, with the weights that its own selection prefers.",
        "",
        *markdown_head(["rows of the batch", *heads, "seeds"]),
    ]
    for name, found in views(runs, popularity):
        cells = [_text(found, metric) for metric in METRICS]
        seeds = "" if name.startswith("*") else str(len(found))
        lines.append(markdown_row([name, *cells, seeds]))
    lines += [
        "",
        "## One switch at a time",
        "",
        "Each line keeps the switches of the lines above; Δ is against the line above, "
        "over the seeds that both have. One list a test instance, but for the first.",
        "",
    ]
    heads = ["GAUC", "Δ", "NDCG@5", "Δ", *heads[2:], "seeds"]
    lines += markdown_head(["", "switch", "released → paper", *heads])
    before: dict[int, Metrics] | None = None
    for step, found in waterfall(runs):
        cells = []
        for metric in METRICS:
            cells.append(_text(found, metric))
            if metric in _SHOWN:
                change = before and _change(before, found, metric)
                cells.append(_signed(change) if change else "")
        number = str(STEPS.index(step))
        lines.append(
            markdown_row([number, step, explain(step), *cells, str(len(found))])
        )
        before = found
    return "\n".join(lines) + "\n"


def to_csv(runs: list[dict[str, Any]], popularity: dict[str, Metrics]) -> str:
    rows = ["dataset,table,line,metric,mean,sd,seeds,change,change_sd"]
    tables = {"rows": views(runs, popularity), "steps": waterfall(runs)}
    for table, lines in tables.items():
        before: dict[int, Metrics] | None = None
        for name, found in lines:
            for metric in METRICS:
                mean, sd = _over_seeds(found, metric)
                change = before and _change(before, found, metric)
                numbers = [_number(mean), _number(sd), str(len(found))]
                numbers += [_number(x) for x in change or (None, None)]
                plain = name.replace("*", "").replace(",", ";")
                rows.append(
                    ",".join([runs[0]["dataset"], table, plain, metric, *numbers])
                )
            before = found if table == "steps" else None
    return "\n".join(rows) + "\n"


def draw(
    folder: Path, runs: list[dict[str, Any]], popularity: dict[str, Metrics]
) -> None:
    """GAUC and NDCG@5 of every step: means, standard deviations and single seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    plt.rcParams["svg.fonttype"] = "none"  # Text stays text.
    plt.rcParams["svg.hashsalt"] = "waterfall"  # The same file for the same numbers.
    lines = waterfall(runs)
    mixing = {run["step"] for run in runs if run["leaky"]}
    chance, spread = runs[0]["evaluation"]["chance"], _chance_deviation(runs)
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 6.2), sharey=True)
    for axis, metric in zip(axes, _SHOWN):
        for place, (step, found) in enumerate(lines):
            color, marker, fill = _HONEST, "o", _HONEST
            if step in ("released", "grouping"):
                color, marker, fill = _LEAKY, "s", _LEAKY
            elif step in mixing:
                color, marker, fill = _LEAKY, "s", "white"
            mean, sd = _over_seeds(found, metric)
            seeds = [values[metric] for values in found.values()]
            axis.plot(seeds, [place] * len(seeds), "|", color=color, ms=9, mew=1)
            axis.errorbar(
                mean, place, xerr=sd, fmt=marker, color=color, mfc=fill, ms=6, capsize=3
            )
            axis.annotate(
                f"{mean:.3f}",
                (1.02, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8,
            )
        means = [_over_seeds(found, metric)[0] for _, found in lines]
        axis.plot(means, range(len(lines)), color="#CCCCCC", lw=1, zorder=0)
        for value, style in ((chance, ":"), (popularity["instance"], "--")):
            axis.axvline(value[metric], color=_REFERENCE, ls=style, lw=1, zorder=0)
        if metric == "gauc":
            axis.axvspan(0.5 - 2 * spread, 0.5 + 2 * spread, color="#F2F2F2", zorder=-1)
        axis.set_xlabel(metric.upper())
        axis.grid(axis="y", color="#EEEEEE")
        axis.spines[["top", "right"]].set_visible(False)
    # Padded by a space as wide as a digit.
    labels = [
        f"{STEPS.index(step):\u2007>2}  {step.replace('_', ' ')}" for step, _ in lines
    ]
    axes[0].set_yticks(range(len(lines)), labels, ha="left")
    axes[0].tick_params(axis="y", pad=105)
    axes[0].invert_yaxis()
    handles = [
        Line2D([], [], ls=style, marker=marker, color=color, mfc=fill, label=name)
        for name, color, marker, fill, style in (
            ("rows mix, in order of their labels", _LEAKY, "s", _LEAKY, ""),
            ("rows mix, shuffled", _LEAKY, "s", "white", ""),
            ("rows do not mix", _HONEST, "o", _HONEST, ""),
            ("Popularity", _REFERENCE, "", "", "--"),
            ("chance, ± 2 sd", _REFERENCE, "", "", ":"),
        )
    ]
    figure.legend(
        handles=handles, loc="lower center", ncols=5, frameon=False, columnspacing=1.2
    )
    figure.suptitle(f"From the released computation to the paper's: {_title(runs)}")
    figure.tight_layout(rect=(0, 0.05, 1, 1), w_pad=3)
    for kind in ("png", "svg"):
        partial = folder / f".waterfall.{kind}.partial"
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(partial, format=kind, dpi=160, metadata=metadata)
        os.replace(partial, folder / f"waterfall.{kind}")
    plt.close(figure)


def caption(runs: list[dict[str, Any]]) -> str:
    """What was measured, on what, within which bounds, by which code."""
    first = runs[0]
    data, budget, found = first["data"], first["budget"], first["evaluation"]
    seeds = sorted({run["seed"] for run in runs})
    commits = sorted({run["commit"][:12] for run in runs})
    train = min(budget["train_instances"] or data["train"], data["train"])
    negatives = "up to 1,000 uniformly drawn negatives (`uni1000`)"
    return (
        f"{data['users']:,} users, {data['items']:,} items, {data['interactions']:,} "
        f"interactions, split {first['split']}. Bounded work: epochs "
        f"{budget['epochs']}, {train:,} of {data['train']:,} training instances, T = "
        f"{budget['max_history']}, the best of {budget['checks']} checks; "
        f"{found['instances']:,} of {data['test']:,} test instances, those of "
        f"{found['users']:,} users drawn with a fixed seed, each against {negatives}. "
        f"Seeds {', '.join(map(str, seeds))}; mean ± standard deviation over seeds. "
        "Ties count against the positive. Over so many lists chance alone has a "
        f"standard deviation of {_chance_deviation(runs):.3f} in GAUC, the same lists "
        f"for all lines and seeds. Commit {', '.join(commits)}, "
        f"{first['machine']['cpu']}, {first['machine']['cores']} cores."
    )


def explain(step: str) -> str:
    """What a step turns, from its released value to the paper's."""
    if step == "released":
        return "everything as released, in its own row order"
    was, now = {**SWITCHES, **PROTOCOL_STEPS}[step]
    return f"{was} → {now}"


def _title(runs: list[dict[str, Any]]) -> str:
    return f"{runs[0]['dataset']}, {runs[0]['split']}"


def _chance_deviation(runs: list[dict[str, Any]]) -> float:
    """Of the mean of as many uniform ranks as there are lists, as a share."""
    return 1.0 / math.sqrt(12 * runs[0]["evaluation"]["instances"])


def _by_seed(
    runs: list[dict[str, Any]], step: str, read: Callable[[Any], Metrics]
) -> dict[int, Metrics]:
    return {
        run["seed"]: read(run["metrics"]["test"]) for run in runs if run["step"] == step
    }


def _view(
    name: str, selection: str = "test", grouping: str = "instance"
) -> Callable[[Any], Metrics]:
    return lambda found: found[selection][name][grouping]


def _over_seeds(found: dict[int, Metrics], metric: str) -> tuple[float, float | None]:
    return mean_and_sd([values[metric] for values in found.values()])


def _change(
    before: dict[int, Metrics], found: dict[int, Metrics], metric: str
) -> tuple[float, float | None]:
    seeds = before.keys() & found.keys()
    return mean_and_sd([found[s][metric] - before[s][metric] for s in sorted(seeds)])


def _text(found: dict[int, Metrics], metric: str) -> str:
    return mean_text(*_over_seeds(found, metric))


def _signed(change: tuple[float, float | None]) -> str:
    mean, sd = change
    return f"{mean:+.4f}" + ("" if sd is None else f" ± {sd:.4f}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
