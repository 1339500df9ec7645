"""Retrieval by inner products: what it proves, and what it finds."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize_scalar

from baselines.mgnm_plus import MGNMPlus
from harness.config import Config
from harness.passport import Run
from harness.standalone import StandaloneRun, make_weights
from harness.vocabulary import Vocabulary
from mgnm_tf.layers.level_scorer import LevelScorer
from mgnm_tf.model import MGNM
from serving import bounds
from serving.histories import Histories
from serving.recommender import Recommender

faiss = pytest.importorskip("faiss")
from serving import index as index_module  # noqa: E402
from serving.index import KINDS, Index  # noqa: E402
from serving.sample import Sample  # noqa: E402

NUM_ITEMS, NUM_PEOPLE, K = 900, 60, 8


@pytest.fixture(scope="module")
def recommender(tmp_path_factory):
    """MGNM over some hundred items, its weights drawn, and people with histories."""
    model = MGNM(2, NUM_ITEMS + 1, 10, embedding_dim=8, num_interests=4, num_layers=2)
    make_weights(model)
    for number, weight in enumerate(model.trainable_variables):
        weight.assign(tf.random.stateless_normal(weight.shape, [number, 7]) * 0.6)
    rng = np.random.default_rng(1)
    names = Vocabulary(
        users=np.array(["somebody"]),
        items=np.array([f"i{n}" for n in range(1, NUM_ITEMS + 1)]),
        counts=rng.permutation(NUM_ITEMS),
        last_time=None,
        data_sha256="",
        sha256={},
    )
    config = Config(model="mgnm", arguments={}, max_history=10)
    run = StandaloneRun(Run(tmp_path_factory.getbasetemp(), {}), model, config, names)
    return Recommender(run)


@pytest.fixture(scope="module")
def flat(recommender):
    return Index(recommender.model, "flat", depth=30)


@pytest.fixture(scope="module")
def asked(recommender):
    rng = np.random.default_rng(2)
    lengths = rng.integers(0, 15, NUM_PEOPLE)  # Nobody, too, and longer ones.
    items = rng.integers(1, NUM_ITEMS + 1, lengths.sum()).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    empty = recommender.requests(history=["i1"])
    return dataclasses.replace(
        empty,
        users=np.zeros(NUM_PEOPLE, np.int32),
        histories=Histories(items, offsets, None),
    )


def answers(recommender, asked, index=None):
    (found,) = recommender.stream(asked, K, index=index)
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 50])
def test_the_gap_is_the_maximum_of_what_the_readout_takes(count):
    def taken(distances):
        """By how much the softmax's mean is below the largest, which is 0."""
        return -np.sum(distances * np.exp(distances)) / np.sum(np.exp(distances))

    gap = bounds.readout_gap(count)
    # All other interests at one distance: the maximum over that is the gap.
    found = minimize_scalar(
        lambda d: -taken(np.array([0.0, *[-d] * (count - 1)])), bounds=(0, 20)
    )
    assert gap == pytest.approx(-found.fun, abs=1e-6)
    # And no other distances take more.
    rng = np.random.default_rng(count)
    for scale in (0.5, 1.0, 2.0, 5.0):
        for _ in range(200):
            drawn = -np.abs(rng.normal(0, scale, count))
            drawn[0] = 0.0
            assert taken(drawn) <= gap + 1e-12


def test_scores_of_the_model_itself_keep_within_the_gap(recommender, asked):
    interests = tf.random.stateless_normal([6, 3, 4, 8], [1, 2]) * 1.5
    items = tf.random.stateless_normal([6, 500, 8], [3, 4]) * 1.5
    scores = LevelScorer()(interests, candidates=items).numpy()  # [6, 3, 500]
    largest = tf.einsum("blkd,bcd->blkc", interests, items).numpy().max(axis=2)
    gap = bounds.readout_gap(4)
    assert (scores <= largest + 1e-4).all()
    assert (scores >= largest - gap - 1e-4).all()
    # The bound is not idle: some score is nearly as far below as it allows.
    assert (scores - largest).min() < -0.9 * gap
    best, most = scores.max(axis=1), largest.max(axis=1)  # Eq. 15
    assert (best <= most + 1e-4).all()
    assert (best >= most - gap - 1e-4).all()


def test_no_gap_for_no_interest():
    with pytest.raises(ValueError, match="`num_interests` must be positive"):
        bounds.readout_gap(0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [10, 60])
def test_what_is_certified_is_what_an_exact_search_finds(
    kind, depth, recommender, asked, flat
):
    exact = answers(recommender, asked)
    index = flat.altered(kind, depth=depth, cells=40, probes=12)
    found = answers(recommender, asked, index)
    proven = found.certified
    np.testing.assert_allclose(
        found.scores[proven], exact.scores[proven], rtol=1e-5, atol=1e-6
    )
    # What was found carries the exact score, whether it is the best or not.
    common = found.ids == exact.ids
    np.testing.assert_allclose(
        found.scores[common], exact.scores[common], rtol=1e-5, atol=1e-6
    )
    nobody = np.diff(asked.histories.offsets) == 0
    assert found.popular[nobody].all()
    assert not found.popular[~nobody].any()
    if kind == "flat" and depth == 60:
        assert proven.mean() > 0.5
    if kind == "hnsw":
        assert not proven[~nobody].any()


def test_an_index_of_all_cells_and_all_items_is_exact(recommender, asked, flat):
    exact = answers(recommender, asked)
    index = flat.altered("ivf", depth=NUM_ITEMS, cells=20, probes=20)
    found = answers(recommender, asked, index)
    np.testing.assert_array_equal(found.ids, exact.ids)
    assert found.certified.all()


def test_each_cell_is_visited_by_the_interest_that_is_nearest():
    rng = np.random.default_rng(3)
    interests = rng.normal(size=[3, 4, 5]).astype(np.float32)
    centres = rng.normal(size=[9, 5]).astype(np.float32)
    products = np.einsum("bqd,cd->bqc", interests, centres)
    cells, owners = index_module._nearest(interests, centres, 6)
    lists = index_module._by_interest(cells.numpy(), owners.numpy(), 4)
    assert lists.shape == (12, 6)
    for row, of_row in enumerate(lists.reshape(3, 4, 6)):
        best = np.argsort(-products[row].max(axis=0))[:6]
        assert sorted(of_row[of_row >= 0]) == sorted(best)
        for place, visited in enumerate(of_row):
            own = visited[visited >= 0]
            np.testing.assert_array_equal(products[row][:, own].argmax(axis=0), place)
            assert (visited[len(own) :] == -1).all()


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_most_of_the_best_are_found(kind, recommender, asked, flat):
    exact = answers(recommender, asked)
    index = flat.altered(kind, depth=60, cells=40, probes=12)
    found = answers(recommender, asked, index)
    hits = [len({*a} & {*b}) / K for a, b in zip(exact.ids, found.ids)]
    assert np.mean(hits) > 0.9


def test_as_few_cells_are_visited_as_find_what_is_asked(recommender, asked, flat):
    index = flat.altered("ivf", depth=60, cells=40)
    sample = Sample(recommender, asked, K)
    assert len(sample) == NUM_PEOPLE
    found = sample.tune(index, 0.9)
    assert found == sample.recall(index) >= 0.9
    enough = index.probes
    assert 2 < enough < index.cells
    index.probe(enough - max(1, enough // 4) - 1)
    assert sample.recall(index) < 0.9


def test_a_recall_that_no_number_of_cells_has_is_said(recommender, asked, flat, caplog):
    index = flat.altered("ivf", depth=2, cells=2)
    sample = Sample(recommender, asked, K)
    with caplog.at_level("WARNING", logger="absl"):
        found = sample.tune(index, 1.0)
    assert found < 1.0
    assert index.probes == 2
    assert "with all its 2 cells, not 1.0: more `depth` finds more" in caplog.text


def test_what_is_retrieved_beyond_what_is_scored_is_bounded(
    recommender, asked, flat, monkeypatch
):
    monkeypatch.setattr(index_module, "_SCORED", 1)
    monkeypatch.setattr(index_module, "_SCORED_EACH", 2)
    exact = answers(recommender, asked)
    found = answers(recommender, asked, flat.altered("flat", depth=60))
    proven = found.certified
    assert 0 < proven.mean() < 1
    np.testing.assert_allclose(
        found.scores[proven], exact.scores[proven], rtol=1e-5, atol=1e-6
    )


def test_seen_items_are_not_retrieved(recommender, asked, flat):
    found = answers(recommender, asked, flat)
    for row, ids in enumerate(found.ids):
        past = asked.histories.take(np.array([row])).items
        assert not {*ids} & {*past}


def test_too_few_retrieved_are_searched_exactly(recommender, asked, flat):
    exact = answers(recommender, asked)
    found = answers(recommender, asked, flat.altered(depth=1))
    short = exact.scores[:, -1] == found.scores[:, -1]
    assert (found.ids > 0).all()
    assert short.any()


def test_a_model_without_inner_products_is_refused():
    model = MGNM(2, 9, 4, embedding_dim=4, num_layers=1, level_pooling="sum")
    make_weights(model)
    with pytest.raises(ValueError, match="does not score by inner products"):
        Index(model, "flat")


@pytest.mark.slow
def test_a_bias_of_the_items_is_part_of_the_vectors(recommender, asked):
    model = MGNMPlus(2, NUM_ITEMS + 1, 10, embedding_dim=8, num_interests=2)
    make_weights(model)
    for number, weight in enumerate(model.trainable_variables):
        weight.assign(tf.random.stateless_normal(weight.shape, [number, 7]) * 0.6)
    own = dataclasses.replace(recommender.run, model=model)
    plus = Recommender(own)
    exact = answers(plus, asked)
    found = answers(plus, asked, Index(model, "flat", depth=200))
    assert found.certified.mean() > 0.5
    proven = found.certified
    np.testing.assert_allclose(
        found.scores[proven], exact.scores[proven], rtol=1e-4, atol=1e-5
    )


def test_another_kind_is_refused(flat):
    with pytest.raises(ValueError, match="An index is one of"):
        flat.altered("lsh")


def test_candidates_and_an_index_do_not_go_together(recommender, flat):
    with pytest.raises(ValueError, match="leave out the index"):
        recommender.recommend(history=["i1"], k=1, candidates=["i2"], index=flat)


def test_an_index_of_another_model_is_refused(recommender, flat):
    other = copy.copy(flat)
    other.model = object()
    with pytest.raises(ValueError, match="The index is of another model"):
        recommender.recommend(history=["i1"], index=other)
