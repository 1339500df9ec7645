"""A history as heat maps: how its items relate, in which interests they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

_DPI, _CELL, _FONT = 100, 0.17, 6.5  # inches a cell, points
_COLOURS = "cividis"  # The same to the colour-blind, and in grey.
_LONGEST_LABEL = 14


class HistoryPicture:
    """Draws one history again and again; axes and labels are drawn once.

    A colour stands for the same number in each picture, from 0 to 1: of couplings by
    the square root, for most are small, of the adjacency by the cube root of the
    distance from 0.5, which an untrained one has everywhere.

    Args:
        title: the text above the picture, e.g. whose history it shows.
        items: the label of each item of the history, the oldest first.
        num_levels: L, how many levels the model has, depth 0 included.
        num_interests: K, how many interests each level has.
        with_adjacency: whether there is an adjacency to draw.
    """

    def __init__(
        self,
        title: str,
        items: Sequence[str],
        num_levels: int,
        num_interests: int,
        with_adjacency: bool,
    ) -> None:
        # Not pyplot, which keeps figures and may look for a screen.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import FuncNorm
        from matplotlib.figure import Figure

        labels = [_shortened(item) for item in items]
        rows = _row_labels(num_levels, num_interests)
        height = _CELL * max(len(rows), len(labels)) + 1.5
        count = 2 if with_adjacency else 1
        width = count * (_CELL * len(labels) + 2.0)
        figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
        self._canvas = cast(Any, FigureCanvasAgg(figure))  # Partly untyped.
        self._images: list[Any] = []
        axes = figure.subplots(1, count, squeeze=False)[0]
        if with_adjacency:
            from_half = FuncNorm((_from_half, _to_half), 0, 1)
            self._add(axes[0], labels, labels, from_half, "adjacency")
        root = FuncNorm((np.sqrt, np.square), 0, 1)
        self._add(axes[-1], rows, labels, root, "items in interests: couplings")
        figure.suptitle(title, fontsize=_FONT + 2)
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(figure.bbox)

    def _add(
        self, axis: Any, rows: list[str], columns: list[str], norm: Any, name: str
    ) -> None:
        image = axis.imshow(
            np.full((len(rows), len(columns)), np.nan),
            cmap=_COLOURS,
            norm=norm,
            aspect="auto",
            interpolation="nearest",
            animated=True,  # Not part of the background.
        )
        axis.set_xticks(range(len(columns)), columns, rotation=90, fontsize=_FONT)
        axis.set_yticks(range(len(rows)), rows, fontsize=_FONT)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_title(name, fontsize=_FONT + 1)
        axis.set_xlabel("items of the history, the newest on the right", fontsize=_FONT)
        ticks = norm.inverse(np.linspace(0, 1, 9))
        bar = axis.figure.colorbar(image, ax=axis, ticks=ticks, format="%.2g")
        bar.ax.tick_params(labelsize=_FONT)
        self._images.append(image)

    def draw(self, couplings: np.ndarray, adjacency: np.ndarray | None) -> np.ndarray:
        """The picture, uint8 [height, width, 3].

        Args:
            couplings: float [L, K, T], how much of each item is in each interest.
            adjacency: [T, T], or None where there is none to draw.
        """
        panels = [] if adjacency is None else [adjacency]
        self._canvas.restore_region(self._background)
        for image, values in zip(self._images, [*panels, _stacked(couplings)]):
            image.set_data(values)
            image.axes.draw_artist(image)
        # A copy: the next picture is drawn into the same buffer.
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()


def _from_half(values: np.ndarray) -> np.ndarray:
    return np.cbrt(np.asarray(values) - 0.5)


def _to_half(roots: np.ndarray) -> np.ndarray:
    return np.clip(np.asarray(roots) ** 3 + 0.5, 0.0, 1.0)


def _row_labels(num_levels: int, num_interests: int) -> list[str]:
    """Labels of the rows of `_stacked`; several levels are named, one is not."""
    rows: list[str] = []
    for level in range(num_levels):
        prefix = f"level {level}, " if num_levels > 1 else ""
        rows += [""] if level else []
        rows += [f"{prefix}interest {number + 1}" for number in range(num_interests)]
    return rows


def _stacked(couplings: np.ndarray) -> np.ndarray:
    """[L, K, T] -> [L * (K + 1) - 1, T], an empty row between levels."""
    gap = np.full((len(couplings), 1, couplings.shape[-1]), np.nan)
    rows = np.concatenate([couplings, gap], axis=1)
    return rows.reshape(-1, couplings.shape[-1])[:-1]


def _shortened(label: str) -> str:
    if len(label) <= _LONGEST_LABEL:
        return label
    return label[: _LONGEST_LABEL - 1] + "…"
