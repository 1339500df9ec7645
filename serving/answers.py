"""What is recommended to some people, as numbers, and how parts are put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from data.errors import UserError
from serving import search


@dataclasses.dataclass(frozen=True)
class Answers:
    """What is recommended to some people, as numbers.

    Attributes:
        rows: their numbers in the requests, [n].
        ids: int32 [n, k], the best first; 0 where fewer items were left.
        scores: float32 [n, k].
        levels: int32 [n, k]; -1 where a model has none.
        popular: bool [n], ranked by popularity for want of a history.
        certified: bool [n], proven to be what an exact search finds; an exact search
            certifies all.
    """

    rows: np.ndarray
    ids: np.ndarray
    scores: np.ndarray
    levels: np.ndarray
    popular: np.ndarray
    certified: np.ndarray


def of_best(rows: np.ndarray, best: search.Best, certified: np.ndarray) -> Answers:
    if not best.finite:
        raise UserError(
            "The model gives scores that are not finite numbers: its training has "
            "diverged. Train again with a lower learning rate."
        )
    return Answers(
        rows=rows,
        ids=best.ids.numpy(),
        scores=best.scores.numpy(),
        levels=best.levels.numpy(),
        popular=best.popular.numpy(),
        certified=certified,
    )


def gathered(slab: np.ndarray, k: int, batches: Iterable[Answers]) -> Answers:
    """Puts the answers of a slab's batches in its order, k wide."""
    size = len(slab)
    whole = Answers(
        slab,
        np.zeros((size, k), np.int32),
        np.full((size, k), -np.inf, np.float32),
        np.full((size, k), search.NO_LEVEL, np.int32),
        np.zeros(size, bool),
        np.zeros(size, bool),
    )
    for part in batches:
        whole = replaced(whole, part.rows - slab[0], part)
    return whole


def replaced(whole: Answers, places: np.ndarray, part: Answers) -> Answers:
    """The answers at some places replaced, in place, by others that may be narrower."""
    width = part.ids.shape[1]
    for name in ("ids", "scores", "levels"):
        getattr(whole, name)[places, :width] = getattr(part, name)
    whole.popular[places] = part.popular
    whole.certified[places] = part.certified
    return whole
