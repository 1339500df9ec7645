"""Draws the architecture of MGNM: docs/images/architecture.svg and .png.

Command: python docs/figures/architecture.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

IMAGES = Path(__file__).parent.parent / "images"
BLUE, ORANGE, GREEN, GREY = "#d6e6f5", "#fbe5c8", "#d8efdd", "#eeeeee"
# x, y, width, height, colour, title, what it does.
BOXES = [
    (0.2, 2.6, 2.1, 1.5, GREY, "History", "the newest m items,\nas embeddings"),
    (0.2, 0.4, 2.1, 1.1, GREY, "User", "an embedding"),
    (
        2.9,
        1.5,
        2.4,
        1.5,
        BLUE,
        "User-aware graph",
        "how items relate\nfor this user\nEq. 1",
    ),
    (
        5.9,
        2.6,
        2.4,
        1.5,
        BLUE,
        "Graph convolution",
        "levels 0 … L,\none shared W\nEq. 2–4",
    ),
    (
        8.9,
        2.6,
        2.5,
        1.5,
        ORANGE,
        "Sequential capsules",
        "K interests a level,\nBiLSTM\nEq. 5–11",
    ),
    (
        12.0,
        2.6,
        2.3,
        1.5,
        GREEN,
        "Score of a level",
        "attention over\nthe K interests\nEq. 12–14",
    ),
    (12.0, 0.4, 2.3, 1.1, GREY, "Candidate", "an embedding"),
    (14.9, 2.6, 2.0, 1.5, GREEN, "Score", "the best level\nEq. 15"),
    (14.9, 0.4, 2.0, 1.1, GREEN, "Training loss", "sum over levels\nEq. 16–17"),
]
# From and to; each is a point on a box's side.
ARROWS = [
    ((2.3, 3.6), (5.9, 3.6)),
    ((2.3, 2.9), (2.9, 2.5)),
    ((2.3, 1.0), (2.9, 1.9)),
    ((5.3, 2.3), (5.9, 2.9)),
    ((8.3, 3.35), (8.9, 3.35)),
    ((11.4, 3.35), (12.0, 3.35)),
    ((13.15, 1.5), (13.15, 2.6)),
    ((14.3, 3.35), (14.9, 3.35)),
    ((14.3, 2.8), (14.9, 1.3)),
]


def main() -> None:
    plt.rcParams["svg.hashsalt"] = "mgnm"
    figure, axes = plt.subplots(figsize=(13.5, 3.6))
    for x, y, width, height, colour, title, text in BOXES:
        axes.add_patch(
            FancyBboxPatch(
                (x, y),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=0.12",
                facecolor=colour,
                edgecolor="#333333",
            )
        )
        axes.text(
            x + width / 2,
            y + height - 0.12,
            title,
            ha="center",
            va="top",
            weight="bold",
            size=9.5,
        )
        axes.text(
            x + width / 2,
            y + (height - 0.35) / 2,
            text,
            ha="center",
            va="center",
            size=8.5,
        )
    for start, end in ARROWS:
        axes.add_patch(
            FancyArrowPatch(
                start, end, arrowstyle="-|>", mutation_scale=13, color="#333333"
            )
        )
    axes.set(xlim=(0, 17.1), ylim=(0.2, 4.9))
    axes.set_title("MGNM: a history becomes L + 1 levels, each level K interests")
    axes.axis("off")
    for ending in ("svg", "png"):
        figure.savefig(
            IMAGES / f"architecture.{ending}",
            bbox_inches="tight",
            dpi=80,
            metadata={"Date": None} if ending == "svg" else None,
        )


if __name__ == "__main__":
    main()
