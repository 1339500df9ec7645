"""The numbers that tell whether interests collapse, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from harness.board import diagnostics

NOTHING = [0.0, 0.0, 0.0]


def test_entropy_is_one_where_all_items_count_alike_and_zero_where_one_does():
    # [B=2, L=2, K=1, T=4]: histories of four and of two items.
    couplings = np.array(
        [
            [[[0.25, 0.25, 0.25, 0.25]], [[0.0, 0.0, 0.0, 1.0]]],
            [[[0.0, 0.0, 0.5, 0.5]], [[0.0, 0.0, 1.0, 0.0]]],
        ]
    )
    found = diagnostics.routing_entropy(couplings, np.array([4, 2]))
    np.testing.assert_allclose(found, [1.0, 0.0], atol=1e-12)


def test_entropy_by_hand_takes_couplings_as_shares():
    # Of an interest that has one part of an item and three of another, and of one
    # without items; a history of one item has no entropy.
    couplings = np.array([[[[0.0, 0.2, 0.6], NOTHING]], [[[0.0, 0.0, 1.0], NOTHING]]])
    found = diagnostics.routing_entropy(couplings, np.array([2, 1]))
    expected = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    np.testing.assert_allclose(found, [expected])


def test_entropy_of_histories_of_one_item_is_not_a_number():
    assert np.isnan(diagnostics.routing_entropy(np.ones((2, 1, 3, 1)), np.ones(2)))


def test_cosine_is_over_pairs_of_interests_that_are_not_zero():
    one, same, across = [2.0, 0.0, 0.0], [5.0, 0.0, 0.0], [0.0, 3.0, 0.0]
    found = diagnostics.pairwise_cosine(
        np.array([[[one, same, NOTHING], [one, same, across], [one, NOTHING, NOTHING]]])
    )
    np.testing.assert_allclose(found, [1.0, 1 / 3, np.nan])


def test_dead_are_the_zero_interests_among_those_in_use():
    alive = [0.0, 0.0, 0.1]
    given = np.array([[[alive, NOTHING]], [[NOTHING, NOTHING]]])
    np.testing.assert_allclose(diagnostics.dead_share(given), [3 / 4])
    active = np.array([[[1.0, 1.0]], [[1.0, 0.0]]])
    np.testing.assert_allclose(diagnostics.dead_share(given, active), [2 / 3])


def test_losses_are_the_cross_entropies_that_models_train_on():
    from mgnm_tf.objectives import CrossEntropy

    logits = np.random.default_rng(0).normal(size=(5, 3, 4)).astype("float32")
    expected = CrossEntropy()(logits).numpy()
    found = diagnostics.losses_by_level(logits)
    np.testing.assert_allclose(found, expected.mean(axis=(0, 2)), rtol=1e-5)


def test_a_loss_of_a_large_logit_is_finite():
    assert diagnostics.losses_by_level(np.array([[[-1e4, 1e4]]])) == pytest.approx(1e4)
