"""The switches of Table 3: what each computes, in loops, and the model's contract."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from experiments.studies.audit import checks
from mgnm_tf.layers.interest_extractors import SelfAttentionInterests
from mgnm_tf.layers.level_scorer import LevelScorer
from mgnm_tf.model import MGNM
from tests import contract, reference, seeds
from tests.slow import slow_but
from tests.small_mgnm import CANDIDATES, HISTORY, make_batch, make_model

SWITCHES = [
    {"num_layers": 0},
    {"interest_extractor": "bilstm"},
    {"interest_extractor": "sum"},
    {"interest_extractor": "self_attention"},
]
over_switches = pytest.mark.parametrize(
    "switch", slow_but(SWITCHES, SWITCHES[2:]), ids=str
)


@pytest.fixture
def batch():
    return make_batch()


def expected_scores(model, batch, interests_of):
    """The level scores [B, L, C] by a rule from a level's items to its interests."""
    items = model.item_embedding.embeddings.numpy().astype(float)
    scores = []
    for row, history in enumerate(HISTORY):
        x = items[history[history != 0]]
        levels = x[None]
        if model.gcn.num_layers:
            user = model.user_embedding.embeddings.numpy()[batch["user"].numpy()[row]]
            mask = np.ones((1, len(x)), bool)
            adjacency = reference.user_aware_graph(x[None], user[None], mask)[0]
            levels = reference.graph_levels(
                x, adjacency, model.gcn.kernel.numpy(), 2, "symmetric", 0.2
            )
        scores.append(
            [
                [
                    reference.level_score(interests_of(level), items[item])
                    for item in CANDIDATES[row]
                ]
                for level in levels
            ]
        )
    return np.array(scores)


def found_scores(model, batch):
    return model(batch, return_levels=True)


def test_the_sum_of_the_items_of_a_level_is_its_interest(batch):
    model = make_model(interest_extractor="sum")
    found = found_scores(model, batch)
    expected = expected_scores(model, batch, lambda level: [sum(level)])
    reference.assert_close(found, expected)


def test_the_last_states_of_both_directions_are_the_interest(batch):
    model = make_model(interest_extractor="bilstm")
    model(batch)
    for number, weight in enumerate(model.extractor.weights):
        weight.assign(tf.random.stateless_normal(weight.shape, [3, number]))
    recurrent = model.extractor.recurrent
    forward, backward = (
        [w.numpy() for w in way.weights]
        for way in (recurrent.forward_layer, recurrent.backward_layer)
    )

    def interests_of(level):
        newest = reference.lstm(level, *forward)[-1]
        oldest = reference.lstm(level[::-1], *backward)[-1]
        return [np.concatenate([newest, oldest]) @ model.extractor.back.kernel.numpy()]

    expected = expected_scores(model, batch, interests_of)
    reference.assert_close(found_scores(model, batch), expected)


def test_self_attended_items_are_the_interests(batch):
    model = make_model(interest_extractor="self_attention")
    model(batch)
    layer = model.extractor
    for number, weight in enumerate(layer.weights):
        weight.assign(tf.random.stateless_normal(weight.shape, [4, number]))
    query, key, value = (w.numpy() for w in (layer.query, layer.key, layer.value))

    def interests_of(level):
        result = []
        for h in level:
            shares = reference.softmax(
                [(h @ query) @ (other @ key) / 2.0 for other in level]  # sqrt(D) = 2
            )
            result.append(sum(s * other @ value for s, other in zip(shares, level)))
        return result

    expected = expected_scores(model, batch, interests_of)
    reference.assert_close(found_scores(model, batch), expected)


def test_without_a_graph_there_is_one_level_and_no_user(batch):
    model = make_model(num_layers=0)
    found = found_scores(model, batch)
    capsule = model.capsule

    def interests_of(level):
        return reference.capsule(
            level,
            capsule.projection.numpy(),
            capsule.output_kernel.numpy(),
            capsule.inference_draw.numpy()[-len(level) :, 0],
            iterations=3,
            encode=reference.bidirectional(capsule) if capsule.encoder else None,
        )

    expected = expected_scores(model, batch, interests_of)
    reference.assert_close(found, expected)
    assert found.shape[1] == 1
    assert not any("user" in weight.name for weight in model.weights)
    other = {**batch, "user": tf.constant([1, 3])}
    np.testing.assert_array_equal(found, found_scores(model, other))


def test_the_scorer_does_not_see_what_is_masked():
    rng = np.random.default_rng(0)
    interests = rng.normal(size=(2, 3, 5, 4)).astype("float32")
    candidates = rng.normal(size=(2, 6, 4)).astype("float32")
    mask = np.arange(5) >= np.array([[2], [0]])
    found = LevelScorer()(interests, candidates=candidates, mask=mask)
    alone = LevelScorer()(interests[:1, :, 2:], candidates=candidates[:1])
    reference.assert_close(found[:1], alone)
    whole = LevelScorer()(interests[1:], candidates=candidates[1:])
    reference.assert_close(found[1:], whole)


def test_many_candidates_are_scored_a_chunk_at_a_time(batch, monkeypatch):
    model = make_model(interest_extractor="self_attention")
    whole = model(batch)
    monkeypatch.setattr("mgnm_tf.ops._CHUNK_FLOATS", 2 * 3 * 5)  # One of three.
    pieces = model(batch)
    np.testing.assert_allclose(pieces, whole, rtol=1e-6)


def test_attention_to_a_single_item_is_that_item():
    layer = SelfAttentionInterests()
    levels = np.ones((1, 2, 3, 4), "float32")
    found = layer(levels, mask=np.array([[False, False, True]])).numpy()
    expected = np.ones(4) @ layer.value.numpy()
    reference.assert_close(found[0, :, 2], [expected] * 2)
    assert not found[0, :, :2].any()


def test_an_unknown_extractor_is_named():
    with pytest.raises(ValueError, match="`interest_extractor` must be one of"):
        make_model(interest_extractor="mean")


# The contract that the registered models are tested for holds for the switches too.


def make(switch):
    seeds.seed(1)
    return MGNM(contract.N, contract.M, contract.MAX_HISTORY, **switch)


@over_switches
def test_no_score_depends_on_the_rest_of_the_batch(switch):
    given, model = contract.make_batch(), make(switch)
    score_of = contract.traced(model, given)
    for name in sorted(checks.COMPARISONS):
        contract.check_alone(score_of, given, name)
    contract.check_padding(model, given)


@over_switches
def test_every_weight_has_a_gradient(switch):
    contract.check_gradients(make(switch), contract.make_batch())
