"""Metrics by hand, by brute force, and against independent libraries."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, Success, nDCG
from sklearn.metrics import roc_auc_score

from harness import metrics


@pytest.fixture
def lists():
    """Positives [n], negatives [n, C] and which are real; few values, so ties occur."""
    rng = np.random.default_rng(0)
    positives = rng.integers(3, 12, 40).astype(float)
    negatives = rng.integers(0, 12, (40, 25)).astype(float)
    valid = rng.random((40, 25)) < 0.8
    return positives, negatives, valid


def test_the_third_of_a_thousand_by_hand():
    ranks = metrics.Ranks(np.array([2]), np.array([2]), np.array([1_000]))
    found = metrics.instance_metrics(ranks)
    assert found["hit@5"] == 1.0
    assert found["ndcg@5"] == pytest.approx(0.5)
    assert found["mrr@5"] == pytest.approx(1 / 3)
    assert found["gauc"] == pytest.approx(0.998)


@pytest.mark.parametrize("k", [5, 10, 20])
def test_the_cutoff_counts_ranks_below_it(k):
    ranks = metrics.Ranks(*(np.array([k - 1, k]),) * 2, np.array([99, 99]))
    assert metrics.instance_metrics(ranks)[f"hit@{k}"] == 0.5


def test_a_constant_model_cannot_win():
    scores = np.zeros((30, 50))
    ranks = metrics.rank_scores(scores[:, 0], scores, np.ones(scores.shape, bool))
    found = metrics.instance_metrics(ranks)
    assert (found["hit@20"], found["gauc"]) == (0.0, 0.5)
    with pytest.raises(ValueError, match="Ties decide the ranks"):
        metrics.check_ties(ranks)


def test_few_ties_are_let_through():
    pessimistic = np.arange(1_000) % 50
    optimistic = pessimistic.copy()
    optimistic[7] = 0
    ranks = metrics.Ranks(pessimistic, optimistic, np.full(1_000, 99))
    assert 0 < metrics.tie_gap(ranks) < 0.01
    metrics.check_ties(ranks)


def test_ranks_count_by_brute_force(lists):
    positives, negatives, valid = lists
    ranks = metrics.rank_scores(*lists)
    for n in range(len(positives)):
        others = negatives[n][valid[n]]
        assert ranks.pessimistic[n] == sum(other >= positives[n] for other in others)
        assert ranks.optimistic[n] == sum(other > positives[n] for other in others)
        assert ranks.negatives[n] == len(others)


def test_gauc_agrees_with_scikit_learn(lists):
    positives, negatives, valid = lists
    found = metrics.instance_metrics(metrics.rank_scores(*lists))["gauc"]
    total, weights = 0.0, 0
    for n, positive in enumerate(positives):
        scores = np.append(negatives[n][valid[n]], positive)
        labels = np.arange(len(scores)) == len(scores) - 1
        total += len(scores) * roc_auc_score(labels, scores)
        weights += len(scores)
    assert found == pytest.approx(total / weights)


def as_run(scores_by_query):
    return [
        ir_measures.ScoredDoc(str(query), str(item), float(score))
        for query, scores in enumerate(scores_by_query)
        for item, score in enumerate(scores)
    ]


def test_at_5_agrees_with_ir_measures():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(60, 30))  # No ties: the library breaks them by name.
    scores[:, 0] += 1.0
    found = metrics.instance_metrics(
        metrics.rank_scores(scores[:, 0], scores[:, 1:], np.ones((60, 29), dtype=bool))
    )
    relevant = [ir_measures.Qrel(str(query), "0", 1) for query in range(60)]
    theirs = ir_measures.calc_aggregate(
        [nDCG @ 5, RR @ 5, Success @ 5], relevant, as_run(scores)
    )
    assert found["ndcg@5"] == pytest.approx(theirs[nDCG @ 5])
    assert found["mrr@5"] == pytest.approx(theirs[RR @ 5])
    assert found["hit@5"] == pytest.approx(theirs[Success @ 5])


def test_the_pooled_list_of_a_user_agrees_with_libraries():
    rng = np.random.default_rng(2)
    users = np.repeat(np.arange(20), rng.integers(1, 5, 20))
    positives = rng.normal(0.8, 1.0, len(users))
    negatives = rng.normal(size=(len(users), 15))
    valid = rng.random(negatives.shape) < 0.9
    found = metrics.user_metrics(metrics.pool_users(users, positives, negatives, valid))
    total, weights, run, relevant = 0.0, 0, [], []
    for user in range(20):
        rows = users == user
        scores = np.concatenate([positives[rows], negatives[rows][valid[rows]]])
        labels = np.arange(len(scores)) < rows.sum()
        total += len(scores) * roc_auc_score(labels, scores)
        weights += len(scores)
        run.append(scores)
        relevant += [
            ir_measures.Qrel(str(user), str(item), 1) for item in range(rows.sum())
        ]
    theirs = ir_measures.calc_aggregate([RR @ 5, Success @ 5], relevant, as_run(run))
    assert found["gauc"] == pytest.approx(total / weights)
    assert found["mrr@5"] == pytest.approx(theirs[RR @ 5])
    assert found["hit@5"] == pytest.approx(theirs[Success @ 5])


def test_a_user_of_one_instance_pools_to_that_instance(lists):
    users = np.arange(len(lists[0]))
    pooled = metrics.user_metrics(metrics.pool_users(users, *lists))
    alone = metrics.instance_metrics(metrics.rank_scores(*lists))
    assert pooled == pytest.approx(alone)


def test_only_the_best_positive_of_a_user_counts():
    positives, negatives = np.array([9.0, 1.0]), np.array([[5.0, 8.0], [2.0, 3.0]])
    valid = np.ones((2, 2), bool)
    found = metrics.pool_user(positives, negatives, valid)
    assert found == (0, 0, 0.5, 6)


def test_a_list_without_negatives_has_no_weight_in_gauc():
    users, positives = np.array([1, 2]), np.array([1.0, 1.0])
    negatives, valid = np.array([[2.0], [0.0]]), np.array([[True], [False]])
    alone = metrics.instance_metrics(metrics.rank_scores(positives, negatives, valid))
    pooled = metrics.user_metrics(
        metrics.pool_users(users, positives, negatives, valid)
    )
    assert (alone["gauc"], pooled["gauc"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("pessimistic", "optimistic"), [([5], [6]), ([-1], [-1]), ([11], [0])]
)
def test_impossible_ranks_are_refused(pessimistic, optimistic):
    with pytest.raises(ValueError, match="Ranks must obey"):
        metrics.Ranks(np.array(pessimistic), np.array(optimistic), np.array([10]))
