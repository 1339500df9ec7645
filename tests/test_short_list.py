"""The exact search by a short list: what scoring the whole catalogue finds."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines.comirec_dr import ComiRecDR
from baselines.comirec_sa import ComiRecSA
from baselines.mean_pooling import MeanPooling
from baselines.mgnm_plus import MGNMPlus
from baselines.mind import MIND
from baselines.sasrec import SASRec
from harness.prior_shift import PriorShift
from mgnm_tf.model import MGNM
from serving import search, short_list, vectors
from tests.slow import slow_but

ROWS, HISTORY, K = 24, 6, 5
NUM_ITEMS = 1_203  # No multiple of a group's size.
SIZES = {"num_users": 3, "num_items": NUM_ITEMS, "max_history": HISTORY}
MODELS = {
    "mgnm": lambda: MGNM(**SIZES, embedding_dim=8, num_layers=2, num_interests=3),
    "mgnm_plus": lambda: MGNMPlus(**SIZES, embedding_dim=8, num_interests=3),
    "sasrec": lambda: SASRec(**SIZES, embedding_dim=8),
    "mean_pooling": lambda: MeanPooling(**SIZES, embedding_dim=8),
    "comirec_dr": lambda: ComiRecDR(**SIZES, embedding_dim=8),
    "comirec_sa": lambda: ComiRecSA(**SIZES, embedding_dim=8),
    "mind": lambda: MIND(**SIZES, embedding_dim=8),
}
# A popularity of its own, that no vector of the model's knows.
SHIFTED = ("mgnm_plus", "mean_pooling")


def histories():
    """Of different lengths, the first of them empty."""
    items = np.random.default_rng(0).integers(1, NUM_ITEMS, (ROWS, HISTORY))
    lengths = np.arange(ROWS) % (HISTORY + 1)
    items[np.arange(HISTORY) < (HISTORY - lengths)[:, None]] = 0
    return items.astype(np.int32)


HISTORIES = histories()
BATCH = {
    "user": tf.zeros([ROWS], tf.int32),
    "history": tf.constant(HISTORIES),
}


@pytest.fixture(scope="module")
def drawn():
    """By name, a model whose weights are drawn far apart."""
    made = {}

    def draw(name):
        if name not in made:
            model = MODELS[name]()
            model({**BATCH, "candidates": tf.ones([ROWS, 1], tf.int32)})
            for number, weight in enumerate(model.trainable_variables):
                numbers = tf.random.stateless_normal(weight.shape, [number, 7])
                weight.assign(numbers * 0.7)
            if name in SHIFTED:
                shift = model.prior_shift = PriorShift(NUM_ITEMS)
                numbers = tf.random.stateless_normal(shift.shifts.shape, [1, 9])
                shift.shifts.assign(tf.cast(numbers, shift.shifts.dtype))
            made[name] = model
        return made[name]

    return draw


def best(model, items=None, seen=HISTORIES, k=K):
    items = np.arange(1, NUM_ITEMS, dtype=np.int32) if items is None else items
    popularity = tf.constant(np.arange(NUM_ITEMS), tf.float32)
    # Without a graph: to trace one takes longer than all that it does here.
    return search.best_items(
        model, BATCH, tf.constant(items), tf.constant(seen), popularity, tf.constant(k)
    )


def of_everything(model, monkeypatch, **arguments):
    with monkeypatch.context() as patch:
        patch.setattr(vectors, "has_vectors", lambda model: False)
        return best(model, **arguments)


def assert_same(found, expected):
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.levels, expected.levels)
    np.testing.assert_array_equal(found.popular, expected.popular)
    assert found.finite


def proven(model, k=K):
    items = tf.range(1, NUM_ITEMS)
    request = model.request(BATCH)
    seen = tf.constant(HISTORIES)
    groups = tf.constant(40)
    found = search.of_short_list(model, request, items, seen, groups, tf.constant(k))
    return found[1].numpy()[HISTORIES.any(axis=1)]


@pytest.mark.parametrize("name", slow_but(MODELS, ("mgnm", "mean_pooling")))
def test_a_short_list_finds_what_the_whole_catalogue_has(name, drawn, monkeypatch):
    model = drawn(name)
    assert proven(model).mean() > 0.8  # It is the short list that answers.
    assert_same(best(model), of_everything(model, monkeypatch))
    nothing = HISTORIES[:, :0]
    found = best(model, seen=nothing)
    assert_same(found, of_everything(model, monkeypatch, seen=nothing))


def test_a_part_of_the_catalogue_is_searched_alone(drawn, monkeypatch):
    items = np.arange(2, NUM_ITEMS, 2, dtype=np.int32)
    found = best(drawn("mgnm"), items=items, k=2)
    assert (found.ids.numpy() % 2 == 0).all()
    expected = of_everything(drawn("mgnm"), monkeypatch, items=items, k=2)
    assert_same(found, expected)


@pytest.mark.parametrize("scale", [0.0, 0.05])
def test_what_a_short_list_cannot_prove_is_searched_wholly(scale, monkeypatch, drawn):
    model = drawn("mgnm")
    table = model.item_embedding.embeddings
    before = table.numpy()
    # All scores nearly one number: the largest product says nothing of the order.
    table.assign(before * scale)
    try:
        assert proven(model).mean() < 0.5
        assert_same(best(model), of_everything(model, monkeypatch))
    finally:
        table.assign(before)


def test_of_equal_scores_the_lower_id_comes_first(drawn, monkeypatch):
    model = drawn("sasrec")
    table = model.item_embedding.embeddings
    before = table.numpy()
    # Each item has a twin half the catalogue away.
    half = NUM_ITEMS // 2
    table.assign(np.concatenate([before[:half], before[:half], before[-1:]]))
    try:
        found = best(model, seen=HISTORIES[:, :0], k=6)
        expected = of_everything(model, monkeypatch, seen=HISTORIES[:, :0], k=6)
        assert_same(found, expected)
        ids = found.ids.numpy()[HISTORIES.any(axis=1)]
        assert (ids[:, 1::2] - ids[:, ::2] == half).mean() > 0.9
    finally:
        table.assign(before)


def test_one_item_that_is_no_number_is_found_wherever_it_ranks(drawn):
    model = drawn("sasrec")
    table = model.item_embedding.embeddings
    before = table.numpy()
    table.assign(np.where(np.arange(NUM_ITEMS)[:, None] == 700, np.nan, before))
    try:
        assert not best(model).finite
    finally:
        table.assign(before)


@pytest.mark.parametrize("name", ["mgnm", "mean_pooling"])
def test_an_item_outside_of_the_list_is_at_most_at_its_end(drawn, name):
    model = drawn(name)
    request = model.request(BATCH)
    interests = vectors.interest_vectors(model, request.state)
    items = tf.range(1, NUM_ITEMS)
    found = short_list.make(model, interests, items, tf.constant(20))
    scores = model.rank_items(request, items).numpy()
    for row, ids in enumerate(found.ids.numpy()):
        assert (np.diff(ids[ids > 0]) > 0).all()
        others = np.setdiff1d(items, ids) - 1
        most = found.ends[row] + found.slack[row]
        assert scores[row, others].max() <= most


def test_rounding_keeps_within_its_bound():
    rng = np.random.default_rng(4)
    for size in (3, 17, 65):
        left, right = rng.normal(size=(2, 2_000, size)).astype(np.float32)
        exact = np.einsum("nd,nd->n", left.astype(float), right.astype(float))
        found = np.cumsum(left * right, axis=1, dtype=np.float32)[:, -1]
        lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        assert (np.abs(found - exact) <= short_list.rounding(size) / 2 * lengths).all()
