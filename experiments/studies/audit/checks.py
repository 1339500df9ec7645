"""Checks that nothing a model must not see reaches its scores.

Each compares two scorings that must agree, or ranks what cannot be ranked.
`experiments.audit` runs them all on a trained model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from data.pipeline import NumpyBatch
from data.prepared import PreparedData
from experiments.studies.audit.findings import (
    NOT_APPLICABLE,
    RANK_BOUND,
    SCORE_BOUND,
    Finding,
)
from experiments.studies.audit.lists import lists_of_all
from harness import metrics
from harness.ranker import Ranker
from mgnm_tf.batch import PADDING_ID
from mgnm_tf.recommender import SequentialRecommender

_DEVIATIONS = 4.0  # Of chance: honest models are outside once in 16,000 checks.
_SMALL_BATCH = 7
MORE_PADDING = 3

Score = Callable[[NumpyBatch], np.ndarray]
Pair = tuple[np.ndarray, np.ndarray]


class Scorer:
    """Scores with one model, each time from the variables that it had at first.

    A model that counts its calls, or draws from a seed that it keeps, is thus
    repeatable: what its calls leave behind is the business of "repeated call" alone.
    Batches are ranked one after the other, for the same reason.
    """

    def __init__(self, model: SequentialRecommender, ranker: Ranker) -> None:
        self.model = model
        self._ranker = ranker.altered(threads=1)
        self._kept = [(variable, variable.numpy()) for variable in model.variables]

    @property
    def ranker(self) -> Ranker:
        """The ranker, once the model's variables are as they were."""
        self._restore()
        return self._ranker

    def _restore(self) -> None:
        for variable, value in self._kept:
            variable.assign(value)

    def __call__(self, batch: NumpyBatch) -> np.ndarray:
        return self.ranker.score(batch)

    def again(self, batch: NumpyBatch) -> np.ndarray:
        """Scores from the variables that the last call left."""
        return self._ranker.score(batch)

    def encoded(self, batch: NumpyBatch) -> np.ndarray:
        """Scores by way of `encode`, see `score_encoded`."""
        self._restore()
        return score_encoded(self.model, batch)


def score_encoded(model: SequentialRecommender, batch: NumpyBatch) -> np.ndarray:
    """Scores by way of `encode`, which is shown no candidates."""
    given: Any = {key: tf.convert_to_tensor(value) for key, value in batch.items()}
    candidates = given.pop("candidates")
    return model.rank(model.request(given), candidates).numpy()


def take(batch: NumpyBatch, rows: Any) -> NumpyBatch:
    return {key: value[rows] for key, value in batch.items()}


def change(scores: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, in standard deviations of what was expected."""
    if np.array_equal(scores, expected):
        return 0.0
    spread = float(expected.std())
    return float(np.abs(scores - expected).max()) / spread if spread else np.inf


def _row_order(score: Score, batch: NumpyBatch) -> Pair:
    order = np.random.default_rng(1).permutation(len(batch["user"]))
    return score(take(batch, order)), score(batch)[order]


def _batch_size(score: Score, batch: NumpyBatch) -> Pair:
    size = len(batch["user"])
    parts = [*np.split(np.arange(size), [size // 3]), *np.arange(size)[:, None]]
    scores = [score(take(batch, rows)) for rows in parts]
    expected = score(batch)
    return np.concatenate(scores), np.concatenate([expected, expected])


def _other_users(score: Score, batch: NumpyBatch) -> Pair:
    size = len(batch["user"])
    scores = np.empty_like(expected := score(batch))
    for kept in (np.arange(0, size, 2), np.arange(1, size, 2)):
        order = np.resize(kept, size)  # Every other row gives way to a copy.
        order[kept] = kept
        scores[kept] = score(take(batch, order))[kept]
    return scores, expected


def _padding(score: Score, batch: NumpyBatch) -> Pair:
    before = [(0, 0), (MORE_PADDING, 0)]
    wide = {
        key: np.pad(value, before) if key.startswith("history") else value
        for key, value in batch.items()
    }
    return score(wide), score(batch)


def _candidate_order(score: Score, batch: NumpyBatch) -> Pair:
    # Against what stands first: the target's column must end up elsewhere.
    order = np.arange(batch["candidates"].shape[1])[::-1]
    scores = score({**batch, "candidates": batch["candidates"][:, order]})
    return scores, score(batch)[:, order]


def _one_by_one(score: Score, batch: NumpyBatch) -> Pair:
    columns = batch["candidates"].T[:, :, None]
    scores = [score({**batch, "candidates": column}) for column in columns]
    return np.concatenate(scores, axis=1), score(batch)


# Two scorings of a batch that must agree, whatever the model.
COMPARISONS: dict[str, Callable[[Score, NumpyBatch], Pair]] = {
    "row order": _row_order,
    "batch size": _batch_size,
    "other users": _other_users,
    "padding": _padding,
    "candidate order": _candidate_order,
    "one by one": _one_by_one,
}


def compare(name: str, score: Score, batch: NumpyBatch) -> Finding:
    """One of `COMPARISONS`; a batch must leave room for `MORE_PADDING` events."""
    return Finding.of(change(*COMPARISONS[name](score, batch)), SCORE_BOUND)


def repeated(score: Score, again: Score, batch: NumpyBatch) -> Finding:
    """`again` must give what `score` gave, though another batch was scored between."""
    expected = score(batch)
    again(take(batch, slice(0, 1)))
    return Finding.of(change(again(batch), expected), SCORE_BOUND)


def encoded(by_encode: Score, score: Score, batch: NumpyBatch) -> Finding:
    """Not applicable where `encode` refuses a batch that has no candidates."""
    try:
        scores = by_encode(batch)
    except (ValueError, KeyError, NotImplementedError) as error:
        return Finding(NOT_APPLICABLE, reason=f"`encode` refuses: {error}")
    return Finding.of(change(scores, score(batch)), SCORE_BOUND)


def ranks(scorer: Scorer, part: str, rows: np.ndarray) -> Finding:
    """The share of ranks that other batches change, under the full protocol."""
    order = np.random.default_rng(1).permutation(len(rows))
    expected = scorer.ranker.rank(part, "uni1000", rows=rows).ranks
    small = scorer.ranker.altered(batch_size=_SMALL_BATCH)
    reordered = small.rank(part, "uni1000", rows=rows[order]).ranks
    moved = (reordered.pessimistic != expected.pessimistic[order]) | (
        reordered.optimistic != expected.optimistic[order]
    )
    return Finding.of(float(moved.mean()), RANK_BOUND)


def later_events(
    scorer: Scorer,
    data: PreparedData,
    changed: PreparedData,
    part: str,
    rows: np.ndarray,
) -> Finding:
    """Scores on `changed`, where a part's targets and all that follows differ."""
    instances = data.instances[part][rows]
    candidates = lists_of_all(data, part)[rows]
    expected = scorer.ranker.score_lists(instances, candidates)
    scores = scorer.ranker.altered(data=changed).score_lists(instances, candidates)
    real = candidates != PADDING_ID
    return Finding.of(change(scores[real], expected[real]), SCORE_BOUND)


def chance(scorer: Scorer, instances: np.ndarray, candidates: np.ndarray) -> Finding:
    """GAUC of what stands first among its candidates, which must be chance."""
    gauc, bound = gauc_of(scorer, instances, candidates)
    return Finding.of(gauc, bound, expected=0.5)


def gauc_of(
    scorer: Scorer, instances: np.ndarray, candidates: np.ndarray
) -> tuple[float, float]:
    """GAUC of the first of each list [n, C], and how far from 0.5 chance may be.

    Were the first no better than the others, its rank would be uniform: among c
    negatives the AUC then has the variance (c + 2) / 12 c.
    """
    scores = scorer.ranker.score_lists(instances, candidates)
    valid = candidates[:, 1:] != PADDING_ID
    list_ranks = metrics.rank_scores(scores[:, 0], scores[:, 1:], valid)
    negatives, weights = list_ranks.negatives, list_ranks.negatives + 1
    variances = (negatives + 2) / (12 * negatives)
    deviation = np.sqrt(np.sum(weights**2 * variances)) / np.sum(weights)
    return metrics.instance_metrics(list_ranks)["gauc"], float(_DEVIATIONS * deviation)
