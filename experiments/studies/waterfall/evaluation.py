"""Ranks a step's test instances as the released code does, and as the paper says."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from baselines.released.model import ReleasedMGNM
from data.candidates import candidate_negatives
from data.pipeline import batch_signature, gather_histories, targets
from data.prepared import PreparedData
from experiments.studies.waterfall.steps import Budget
from harness import metrics
from harness.config import Config
from harness.scoring import like_lengths
from mgnm_tf.batch import PADDING_ID
from mgnm_tf.recommender import SequentialRecommender

SAMPLE_SEED = 11


# Instances a batch of the selection on test: as many rows as in training.
_SELECTION_POSITIVES, _SELECTION_NEGATIVES = 42, 5


# Instances a call of the model; rows are cut to the batches of `ReleasedMGNM` there.
_EVALUATION_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Lists:
    """What is ranked: the target stands first, then negatives, then zeros.

    Attributes:
        instances: int32 [n, 2] of `(user, end)`, each user's together.
        candidates: int32 [n, C], ids of items: the target first, then its negatives.
    """

    instances: np.ndarray
    candidates: np.ndarray


class Evaluator:
    """Metrics of one model; traced once for each way of reading rows."""

    def __init__(
        self, model: SequentialRecommender, data: PreparedData, config: Config
    ) -> None:
        self.model, self.data, self.config = model, data, config
        self._functions: dict[Any, Any] = {}

    def metrics(self, lists: Lists) -> dict[str, dict[str, float]]:
        """The lists' metrics, by user and by instance."""
        scores = self._scores(lists)
        positive, negatives = scores[:, 0], scores[:, 1:]
        valid = lists.candidates[:, 1:] != PADDING_ID
        pooled = metrics.pool_users(lists.instances[:, 0], positive, negatives, valid)
        ranks = metrics.rank_scores(positive, negatives, valid)
        return {
            "user": metrics.user_metrics(pooled),
            "instance": metrics.instance_metrics(ranks),
        }

    def _scores(self, lists: Lists) -> np.ndarray:
        length = self.config.max_history
        score = self._function()
        scores = np.empty(lists.candidates.shape, np.float32)
        lengths = np.minimum(lists.instances[:, 1], length)
        for rows in like_lengths(lengths, _EVALUATION_BATCH):
            batch = gather_histories(self.data, lists.instances[rows], length)
            batch["candidates"] = lists.candidates[rows]
            tensors = {key: tf.convert_to_tensor(value) for key, value in batch.items()}
            scores[rows] = score(tensors).numpy()
        return scores

    def _function(self) -> Any:
        """Scores of a batch; what a trace holds fixed is the key."""
        key = (
            getattr(self.model, "at_paper", None),
            getattr(self.model, "evaluation_positives", None),
        )
        if key not in self._functions:
            self._functions[key] = tf.function(
                lambda batch: self.model(batch, training=False),
                [batch_signature(self.data)],
            )
        return self._functions[key]


def selection_gauc(model: ReleasedMGNM, evaluator: Evaluator, test: Lists) -> float:
    """GAUC on the test instances against few negatives, by user, as released."""
    few = Lists(test.instances, test.candidates[:, : 1 + _SELECTION_NEGATIVES])
    usual = model.evaluation_positives
    model.evaluation_positives = _SELECTION_POSITIVES
    try:
        return evaluator.metrics(few)["user"]["gauc"]
    finally:
        model.evaluation_positives = usual


def views(
    model: ReleasedMGNM,
    evaluator: Evaluator,
    test: Lists,
    step: str,
) -> dict[str, dict[str, dict[str, float]]]:
    """Metrics by grouping: as the step has it; for the first, other views too."""
    by_view = {"as trained": evaluator.metrics(test)}
    if step != "released":
        return by_view
    # The first negative takes the target's place, and the target takes its.
    swapped = test.candidates.copy()
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    lists = Lists(test.instances, swapped)
    by_view["random targets"] = evaluator.metrics(lists)
    as_trained = model.at_paper
    model.at_paper = as_trained | {"row_order"}
    by_view["rows shuffled"] = evaluator.metrics(test)
    model.at_paper = as_trained
    return by_view


def candidate_lists(
    data: PreparedData, part: str, budget: Budget, config: Config
) -> Lists:
    """All instances of users drawn with a fixed seed, with their candidates."""
    instances = data.instances[part]
    users, counts = np.unique(instances[:, 0], return_counts=True)
    order = np.random.default_rng(SAMPLE_SEED).permutation(len(users))
    enough = np.searchsorted(np.cumsum(counts[order]), budget.instances) + 1
    rows = np.flatnonzero(np.isin(instances[:, 0], users[order[:enough]]))
    negatives = candidate_negatives(data, part, "uni1000", config.candidate_seed)[rows]
    positives = targets(data, instances[rows])[:, None]
    return Lists(instances[rows], np.concatenate([positives, negatives], axis=1))


def chance(lists: Lists) -> dict[str, float]:
    """What a constant, coin-tossing model would get, by instance."""
    sizes = (lists.candidates != PADDING_ID).sum(axis=1)
    gains = {
        "hit@5": np.ones(5),
        "ndcg@5": 1 / np.log2(np.arange(2, 7)),
        "mrr@5": 1 / np.arange(1, 6),
    }
    at_five = {key: float(np.mean(gain.sum() / sizes)) for key, gain in gains.items()}
    return {"gauc": 0.5, **at_five}
