"""What recent popularity adds to logits, and that nothing later than a request does."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from baselines.mean_pooling import MeanPooling
from baselines.mgnm_plus import MGNMPlus
from harness.build import build_model, make_ranker
from harness.config import RECIPES, STRONG
from harness.defaults import get_config
from harness.models import MODELS, construct
from harness.prior_shift import _SMOOTHING, _SPANS, PriorShift
from mgnm_tf.batch import TrainEvents

N, E = 9, 640


def make_events(seed=0, unit=1):
    """Item 8 has no event before the last tenth, 6 none in the last half, 7 none."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, 10_000, E)) * unit
    items = rng.choice([1, 2, 3, 4, 5], E)
    items[: E // 2 : 4] = 6
    items[-E // 10 :: 2] = 8
    order = rng.permutation(E)  # As users have them, not as time has.
    users = np.ones(E, np.int32)
    return TrainEvents(users, items[order].astype(np.int32), times[order])


def adapted(events, **arguments):
    layer = PriorShift(N, **arguments)
    layer.adapt(events)
    return layer


def make_batch(times):
    times = np.asarray(times, np.int64)
    return {"user": tf.ones([len(times)], tf.int32), "target_time": tf.constant(times)}


def shifts(layer, times, items=range(N)):
    batch = make_batch(times)
    return layer(tf.constant([*items]), spans=layer.spans(batch)).numpy()


@pytest.mark.parametrize("time", [0, 1, 5_000, 9_999, 20_000])
def test_a_shift_is_what_the_definition_says(time):
    events = make_events()
    layer = adapted(events, half_life=0.1, strength=0.7)
    ends = layer.span_ends.numpy()
    now = np.searchsorted(ends, time, side="right")
    spans = np.searchsorted(ends, events.times, side="right")
    kept = 2.0 ** -(1 / (_SPANS * 0.1))
    weights = np.where(spans < now, kept ** (now - spans), 0.0)
    recent = np.bincount(events.items, weights, N)
    average = np.bincount(events.items, minlength=N)
    extra = _SMOOTHING * (E / _SPANS) * sum(kept**age for age in range(1, 2_000))
    scaled = E * (recent + extra * average / E) / (weights.sum() + extra)
    expected = 0.7 * np.log((scaled + 1) / (average + 1))
    np.testing.assert_allclose(shifts(layer, [time])[0], expected, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("unit", [1, 1_000, 10**12])
def test_nothing_at_or_after_a_request_is_read(unit):
    events = make_events(unit=unit)
    request = 4_321 * unit
    later = events.times >= request
    # Who is popular later changes; how many events each item has, and when, stays.
    items = events.items.copy()
    items[later] = np.random.default_rng(1).permutation(items[later])
    changed = adapted(events._replace(items=items))
    before, after = [0, request], [request * 3]
    np.testing.assert_array_equal(
        shifts(adapted(events), before), shifts(changed, before)
    )
    assert (shifts(adapted(events), after) != shifts(changed, after)).any()


def test_before_all_events_nothing_shifts():
    np.testing.assert_allclose(shifts(adapted(make_events()), [-5]), 0.0, atol=1e-3)


def test_what_came_up_rises_and_what_went_falls():
    found = shifts(adapted(make_events()), [20_000])[0]
    assert found[8] > 0.5
    assert found[6] < -0.5
    assert found[7] == found[0] == 0.0


def test_the_unit_of_times_changes_nothing():
    seconds, milliseconds = make_events(), make_events(unit=1_000)
    found = shifts(adapted(seconds), [3_000, 20_000])
    again = shifts(adapted(milliseconds), [3_000_000, 20_000_000])
    np.testing.assert_array_equal(found, again)


def test_events_of_one_time_are_no_news_to_each_other():
    events = make_events()
    layer = adapted(events._replace(times=np.full(E, 77)))
    np.testing.assert_allclose(shifts(layer, [76, 77]), 0.0, atol=1e-3)


def test_candidates_of_each_row_are_as_shared_ones():
    layer = adapted(make_events())
    spans = layer.spans(make_batch([100, 5_000, 20_000]))
    items = tf.constant([3, 1, 8])
    own = layer(tf.tile(items[None], [3, 1]), spans=spans)
    np.testing.assert_array_equal(own, layer(items, spans=spans))


def test_without_a_request_time_it_is_after_all_events():
    layer = adapted(make_events())
    batch = make_batch([99_999])
    later = layer.spans(batch)
    del batch["target_time"]
    assert layer.spans(batch).numpy() == later.numpy() == _SPANS


@pytest.mark.parametrize("events", [None, "untimed", "empty"])
def test_without_times_nothing_shifts(events):
    layer = PriorShift(N)
    none = np.zeros(0, np.int32)
    if events == "untimed":
        layer.adapt(make_events()._replace(times=None))
    if events == "empty":
        layer.adapt(TrainEvents(none, none, none.astype(np.int64)))
    assert not shifts(layer, [5]).any()


@pytest.mark.parametrize("half_life", [0.0, -0.1])
def test_a_half_life_is_positive(half_life):
    with pytest.raises(ValueError, match="`half_life` must be positive"):
        PriorShift(N, half_life=half_life)


@pytest.fixture
def batch():
    return {
        "user": tf.constant([1, 2]),
        "history": tf.constant([[0, 1, 2, 3], [1, 2, 4, 5]]),
        "history_times": tf.constant([[0, 1, 2, 3], [1, 2, 4, 5]], tf.int64),
        "target_time": tf.constant([5_000, 20_000], tf.int64),
        "candidates": tf.constant([[5], [6]]),
        "shared_negatives": tf.constant([1, 7, 8]),
    }


@pytest.mark.parametrize("kind", [MGNMPlus, MeanPooling])
def test_rankings_are_shifted_and_training_is_not(batch, kind):
    model = kind(3, N, max_history=4, embedding_dim=6, dropout=0.0)
    training = model.training_logits(batch, training=True)
    evaluated = model.training_logits(batch, training=False)
    lists = {key: value for key, value in batch.items() if key != "shared_negatives"}
    plain = model.rank_batch(lists)
    model.prior_shift = adapted(make_events())
    np.testing.assert_array_equal(model.training_logits(batch), training)
    again = model.training_logits(batch, training=False)
    np.testing.assert_array_equal(again, evaluated)
    expected = shifts(model.prior_shift, [5_000, 20_000])
    found = model.rank_batch(lists) - plain
    own = np.take_along_axis(expected, np.array([[5], [6]]), axis=1)
    np.testing.assert_allclose(found, own, rtol=1e-4, atol=1e-5)
    shared = tf.constant([1, 7, 8])
    request = model.request(batch)
    found = model.rank_items(request, shared) - model.score_items(request.state, shared)
    np.testing.assert_allclose(found, expected[:, [1, 7, 8]], rtol=1e-4, atol=1e-5)
    rows = tf.tile(shared[None], [2, 1])
    np.testing.assert_allclose(
        model.rank(request, rows), model.rank_items(request, shared), rtol=1e-5
    )
    assert not any("shift" in weight.name for weight in model.trainable_variables)


def test_a_table_of_shifts_is_no_parameter():
    model = MeanPooling(3, N, max_history=4, embedding_dim=6)
    model.item_embedding(tf.constant([0]))
    before, weights = model.num_parameters(), len(model.weights)
    model.prior_shift = PriorShift(N)
    assert model.num_parameters() == before
    assert len(model.weights) == weights + len(model.counted_weights()) == weights + 2


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("model", ["sasrec", "mgnm_plus", "popularity"])
def test_the_strong_recipe_shifts_every_model_that_trains(model, recipe):
    config = get_config(model, "toys", recipe=recipe)
    assert config.prior_shift == (recipe == STRONG and model != "popularity")
    built = construct(MODELS[model], config, 3, N, seed=0)
    assert (built.prior_shift is not None) == config.prior_shift


def test_a_built_model_has_counted_what_it_ranks_with(tiny_data):
    config = get_config("mean_pooling", "tiny", prior_shift=True)
    model = build_model(config, tiny_data, seed=1)
    assert model.prior_shift.shifts.numpy().any()
    plain = build_model(get_config("mean_pooling", "tiny"), tiny_data, seed=1)
    instances = tiny_data.instances["test"][:8]
    candidates = np.tile(np.arange(1, 6, dtype=np.int32), (8, 1))
    found, before = (
        make_ranker(m, tiny_data, config)._scoring.score_lists(instances, candidates)
        for m in (model, plain)
    )
    assert np.abs(found - before).max() > 1e-2
