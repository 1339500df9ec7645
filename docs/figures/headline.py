"""Draws NDCG@10 of all models under both recipes: docs/images/headline.png and .svg.

Reads the stored passports of docs/passports; runs no model.

Command: python docs/figures/headline.py
"""

from __future__ import annotations

import collections
import math
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

DOCS = Path(__file__).parent.parent
sys.path.insert(0, str(DOCS.parent))

import stored  # noqa: E402

from experiments.results.model_names import marked_name, ordered  # noqa: E402
from experiments.results.paper import ADDED_NAMES, MODEL_NAMES  # noqa: E402

NAMES = {model: marked_name(model) for model in ordered([*MODEL_NAMES, *ADDED_NAMES])}
PROTOCOLS = {"uni1000": "1,000 drawn items (uni1000)", "full": "whole catalogue (full)"}
# By recipe: how the names of its stores end, and how its marks look.
RECIPES = {
    "paper": ("", "#0072b2", "o", 0.16),
    "strong": ("-strong", "#d55e00", "s", -0.16),
}
METRIC = "ndcg@10"


def runs_of(store: str) -> dict[str, list[dict[str, Any]]]:
    """Of each whole model its stored runs."""
    found = collections.defaultdict(list)
    for run in stored.passports(store):
        if run["variant"] in ("paper", "no_times"):
            found[run["model"]].append(run)
    return found


def interval(values: list[float], instances: int) -> float:
    """Half of a 95% interval for the draw of test instances, at most.

    An instance's NDCG is between 0 and 1, so that its variance is at most m (1 - m).
    """
    mean = statistics.mean(values)
    return 1.96 * math.sqrt(mean * (1 - mean) / instances)


def main() -> None:
    plt.rcParams["svg.hashsalt"] = "mgnm"
    figure, rows = plt.subplots(
        len(PROTOCOLS), len(stored.DATASETS), figsize=(15, 10), sharey=True
    )
    every = {
        store: [
            (model, runs, look)
            for end, *look in RECIPES.values()
            for model, runs in runs_of(store + end).items()
        ]
        for store, _ in stored.DATASETS.values()
    }
    places = {model: len(NAMES) - i for i, model in enumerate(NAMES)}
    for axes_row, (protocol, words) in zip(rows, PROTOCOLS.items()):
        for axes, (store, title) in zip(axes_row, stored.DATASETS.values()):
            for model, runs, (colour, mark, shift) in every[store]:
                tests = [r["metrics"]["test"][protocol]["instance"] for r in runs]
                values = [test[METRIC] for test in tests]
                evaluation = runs[0]["evaluation"]["protocols"][protocol]
                axes.errorbar(
                    statistics.mean(values),
                    places[model] + shift,
                    xerr=interval(values, evaluation["instances"]),
                    color=colour,
                    marker=mark,
                    markersize=5,
                    capsize=2,
                    linewidth=1,
                )
            axes.set_title(title)
            axes.set_xlim(left=0)
            axes.grid(axis="x", color="#dddddd")
            axes.axhline(places["mgnm"] - 0.5, color="black", linewidth=0.6)
        axes_row[0].set_yticks(list(places.values()), list(NAMES.values()))
        for axes in axes_row:
            axes.set_xlabel(f"NDCG@10, {words}")
    handles = [
        plt.Line2D([], [], color=colour, marker=mark, label=f"recipe {recipe}")
        for recipe, (_, colour, mark, _) in RECIPES.items()
    ]
    figure.legend(handles=handles, loc="lower center", ncol=2)
    figure.suptitle(
        "NDCG@10 of every model: which model leads depends on the data, the recipe and "
        "the protocol\nMeans over seeds; bars: 95% intervals for the draw of the test "
        "instances (at most so wide). ‡: ours to add. No mark: not run."
    )
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    for ending in ("svg", "png"):
        figure.savefig(
            DOCS / "images" / f"headline.{ending}",
            dpi=75,
            metadata={"Date": None} if ending == "svg" else None,
        )


if __name__ == "__main__":
    main()
