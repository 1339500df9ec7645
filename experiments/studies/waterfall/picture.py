"""The waterfall as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data import atomic
from experiments.studies.waterfall.lines import (
    SHOWN,
    Metrics,
    chance_deviation,
    over_seeds,
    title,
    waterfall,
)
from experiments.studies.waterfall.steps import STEPS

# Okabe & Ito's palette, told apart by the colour-blind; markers differ too, for print.
_LEAKY, _HONEST, _REFERENCE = "#D55E00", "#0072B2", "#666666"


def draw(
    folder: Path, runs: list[dict[str, Any]], popularity: dict[str, Metrics]
) -> None:
    """GAUC and NDCG@5 of every step: means, standard deviations and single seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.fonttype"] = "none"  # Text stays text.
    plt.rcParams["svg.hashsalt"] = "waterfall"  # The same file for the same numbers.
    lines = waterfall(runs)
    mixing = {run["step"] for run in runs if run["leaky"]}
    chance, spread = runs[0]["evaluation"]["chance"], chance_deviation(runs)
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 6.2), sharey=True)
    for axis, metric in zip(axes, SHOWN):
        for place, (step, by_seed) in enumerate(lines):
            marks = _marks(step, step in mixing)
            _draw_step(axis, place, metric, by_seed, *marks)
        means = [over_seeds(by_seed, metric)[0] for _, by_seed in lines]
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
    _add_legend(figure)
    figure.suptitle(f"From the released computation to the paper's: {title(runs)}")
    figure.tight_layout(rect=(0, 0.05, 1, 1), w_pad=3)
    for kind in ("png", "svg"):
        with atomic.whole_file(folder / f"waterfall.{kind}") as partial:
            metadata = {"Date": None} if kind == "svg" else None
            figure.savefig(partial, format=kind, dpi=160, metadata=metadata)
    plt.close(figure)


def _marks(step: str, mixes: bool) -> tuple[str, str, str]:
    """A step's colour, marker and fill."""
    if step in ("released", "grouping"):
        return _LEAKY, "s", _LEAKY
    if mixes:
        return _LEAKY, "s", "white"
    return _HONEST, "o", _HONEST


def _draw_step(
    axis: Any,
    place: int,
    metric: str,
    by_seed: dict[int, Metrics],
    color: str,
    marker: str,
    fill: str,
) -> None:
    mean, sd = over_seeds(by_seed, metric)
    seeds = [values[metric] for values in by_seed.values()]
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


def _add_legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

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
