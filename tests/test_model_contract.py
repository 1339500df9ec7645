"""What every registered model must satisfy; a new one joins by being registered."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from experiments.studies.audit import checks, findings
from harness import defaults
from harness.models import MODELS
from mgnm_tf.batch import TrainEvents
from mgnm_tf.keras2 import keras
from mgnm_tf.lazy_adam import lazy_adam
from tests import contract, seeds
from tests.contract import MAX_HISTORY, M, N, T, score, tensors
from tests.slow import slow_but

# These two only count: they have no weight to train, and no gradient to test.
TRAINABLE = [name for name in MODELS if name not in ("popularity", "item_knn")]
# These four rank by the candidate, and take long to trace; the files of their own tests
# hold the same checks of them. The last two are much like MGNM and MIND.
SLOW = ("mimn", "sli_rec", "surge", "tgsrec", "mgnm_plus", "comirec_dr")
QUICK = [name for name in MODELS if name not in SLOW]


@pytest.fixture(scope="module")
def batch():
    return contract.make_batch()


def make(name, **arguments):
    seeds.seed(1)
    model = MODELS[name](N, M, MAX_HISTORY, **arguments)
    rng = np.random.default_rng(2)
    users = np.sort(rng.integers(1, N, 60)).astype(np.int32)
    items = rng.integers(1, M, 60).astype(np.int32)
    times = np.arange(60, dtype=np.int64) * 5_000
    model.adapt(TrainEvents(users, items, times))
    return model


@pytest.fixture(scope="module", params=slow_but(sorted(MODELS), QUICK))
def model(request, batch):
    made = make(request.param)
    made(tensors(batch))
    for weight in made.trainable_variables:  # As if trained: nothing near zero.
        drawn = tf.random.stateless_normal(weight.shape, [3, 4]) / 2
        weight.assign(weight.constraint(drawn) if weight.constraint else drawn)
    return made


@pytest.mark.parametrize("name", slow_but(sorted(MODELS), QUICK))
def test_every_model_takes_the_shared_arguments(name, batch):
    shared = {"num_users": N, "num_items": M, "max_history": MAX_HISTORY}
    model = MODELS[name](**shared, embedding_dim=6, l2=0.5, l2_scope="all")
    model(tensors(batch))
    assert (model.l2, model.l2_scope) == (0.5, "all")
    if name in TRAINABLE:
        assert 6 in {size for weight in model.weights for size in weight.shape}


def test_every_model_has_a_configuration():
    assert set(defaults.MODEL_SETTINGS) == set(MODELS)


def test_logits_are_float32_one_a_candidate(model, batch):
    found = model(tensors(batch))
    assert found.dtype == tf.float32
    assert found.shape == (5, 6)
    assert np.isfinite(found).all()


def test_a_call_is_a_score_of_what_was_encoded_without_candidates(model, batch):
    by_encode = functools.partial(checks.score_encoded, model)
    found = checks.encoded(by_encode, functools.partial(score, model), batch)
    assert found.verdict == findings.OK


@pytest.fixture(scope="module")
def score_of(model, batch):
    # One that reads item by item, eagerly, takes longer than its graph to trace.
    if isinstance(model, MODELS["mimn"]):
        return contract.traced(model, batch)
    return functools.partial(score, model)


@pytest.mark.parametrize("name", slow_but(sorted(MODELS), QUICK))
def test_half_precision_ranks_a_catalogue_as_it_ranks_lists(name, batch):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = make(name)
        whole = {
            **batch,
            "candidates": np.tile(np.arange(1, M, dtype=np.int32), (5, 1)),
        }
        lists = model.rank_batch(tensors(whole))
        request = model.request(tensors(batch))
        catalogue = model.rank_items(request, tf.range(1, M))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert lists.dtype == catalogue.dtype == tf.float32
    np.testing.assert_allclose(lists, catalogue, rtol=2e-2, atol=2e-2)
    if name not in TRAINABLE:  # Counts that half floats would not tell apart.
        np.testing.assert_array_equal(lists, catalogue)


@pytest.mark.parametrize("name", sorted(checks.COMPARISONS))
def test_what_a_request_stands_among_changes_no_score(score_of, batch, name):
    contract.check_alone(score_of, batch, name)


@pytest.mark.parametrize("length", [1, MAX_HISTORY])
def test_a_batch_of_the_shortest_and_the_longest_history_is_scored(
    score_of, batch, length
):
    history = np.arange(5 * length).reshape(5, length) % (M - 1) + 1
    times = np.tile(np.arange(length), (5, 1)) + 1_000_000
    found = score_of(
        {
            **batch,
            "history": history.astype(np.int32),
            "history_times": times.astype(np.int64),
        }
    )
    assert found.shape == (5, 6)
    assert np.isfinite(found).all()


def test_the_same_request_has_the_same_score(model, batch):
    own = functools.partial(score, model)
    assert checks.repeated(own, own, batch).value == 0


def test_what_the_padding_row_holds_changes_nothing(model, batch):
    if model.item_embedding is None:
        pytest.skip("it has no item table")
    contract.check_padding(model, batch)


@pytest.fixture(scope="module")
def other(model, batch):
    """Another of the same kind."""
    made = make(next(name for name, kind in MODELS.items() if type(model) is kind))
    made(tensors(batch))
    return made


@pytest.mark.parametrize("how", ["weights", "checkpoint"])
def test_weights_survive_saving(model, other, batch, tmp_path, how):
    for weight in other.variables:
        weight.assign(tf.zeros_like(weight))
    if how == "weights":
        model.save_weights(tmp_path / "model.weights.h5")
        other.load_weights(tmp_path / "model.weights.h5")
    else:
        path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
        tf.train.Checkpoint(model=other).read(path).assert_consumed()
    np.testing.assert_array_equal(score(other, batch), score(model, batch))


@pytest.mark.parametrize("name", slow_but(TRAINABLE, QUICK))
def test_every_weight_has_a_finite_gradient(name, batch):
    contract.check_gradients(make(name), batch)


@pytest.fixture(scope="module")
def crowd():
    """Fifty users, each with a history of two to eight items, and six candidates."""
    rng = np.random.default_rng(0)
    history = rng.integers(1, M, (50, 8)).astype(np.int32)
    for row, length in enumerate(rng.integers(2, 9, 50)):
        history[row, : 8 - length] = 0
    candidates = np.stack([rng.permutation(np.arange(1, M))[:6] for _ in range(50)])
    times = np.where(history > 0, 1_000_000 + 86_400 * np.arange(8), 0)
    return {
        "user": np.arange(1, 51, dtype=np.int32),
        "history": history,
        "candidates": candidates.astype(np.int32),
        "history_times": times.astype(np.int64),
        "target_time": np.full(50, 2_000_000, np.int64),
    }


# Draws in training, and routing over four interests, blur what fifty rows can teach.
LEARNS_BY_HEART = {
    "tgsrec": {"sampling": "recent", "dropout": 0.0},
    "mind": {"num_interests": 2},
    "comirec_dr": {"num_interests": 2},
}


@pytest.mark.parametrize("name", slow_but(TRAINABLE, ("mean_pooling",)))
def test_fifty_users_are_learned_by_heart(name, crowd):
    seeds.seed(1)
    model = MODELS[name](51, M, MAX_HISTORY, l2=0.0, **LEARNS_BY_HEART.get(name, {}))
    users, places = np.nonzero(crowd["history"])
    events = [crowd[key][users, places] for key in ("history", "history_times")]
    model.adapt(TrainEvents((users + 1).astype(np.int32), *events))
    model.compile(optimizer=lazy_adam(0.03))
    train_step = tf.function(model.train_step)
    labels = np.eye(6)[np.zeros(50, int)]
    entropy, steps = np.inf, 0
    while entropy > 0.1 and steps < 500:
        for _ in range(25):
            train_step(tensors(crowd))
        logits = score(model, crowd).astype(float)
        entropy = np.mean(np.logaddexp(0, logits) - labels * logits)
        steps += 25
    assert entropy < 0.1


@pytest.mark.parametrize("name", slow_but(sorted(MODELS), QUICK))
def test_adapting_or_training_changes_the_scores(name, batch):
    model = make(name)
    before = score(model, batch)
    if name in TRAINABLE:
        model.compile(optimizer=lazy_adam(0.1))
        model.train_step(tensors(batch))
    else:
        users, items = np.full(4, 1, np.int32), np.array([3, 4, 5, 5], np.int32)
        model.adapt(TrainEvents(users, items, None))
    assert np.abs(score(model, batch) - before).max() > 1e-4


EXPLAINING = ("comirec_dr", "comirec_sa", "mgnm", "mind")


def test_interests_that_are_explained_are_those_that_score(model, batch):
    given = tensors(batch)
    found = model.explain(given)
    names = {name for name in EXPLAINING if isinstance(model, MODELS[name])}
    assert bool(found) == bool(names)
    if not found:
        return
    state = tf.nest.flatten(model.encode(given, training=False))[0].numpy()
    num_interests = found["interests"].shape[2]
    np.testing.assert_array_equal(
        found["interests"], state.reshape(5, -1, num_interests, state.shape[-1])
    )
    assert found["couplings"].shape == (*found["interests"].shape[:3], T)


@pytest.mark.parametrize("name", EXPLAINING)
def test_what_is_coupled_is_shared_out_whole_and_not_to_padding(name, batch):
    found = make(name).explain(tensors(batch))
    couplings, real = found["couplings"].numpy(), batch["history"] != 0
    assert not np.moveaxis(couplings, -1, 1)[~real].any()
    if name in ("mgnm", "comirec_sa"):  # Items are shares of an interest.
        known = real.any(axis=1)
        np.testing.assert_allclose(couplings[known].sum(axis=3), 1.0, rtol=1e-5)
    else:  # Interests are shares of an item.
        shares = couplings.sum(axis=2)[:, 0]  # [B, T]
        np.testing.assert_allclose(shares[real], 1.0, rtol=1e-5)


@pytest.mark.parametrize("l2", [0.0, 0.5])
@pytest.mark.slow
def test_xla_trains_as_well_as_without(batch, l2):
    losses = []
    for jit_compile in (False, True):
        model = make("mean_pooling", l2=l2)
        model.compile(optimizer=lazy_adam(0.05), jit_compile=jit_compile)
        step = tf.function(model.train_step, jit_compile=jit_compile)
        for _ in range(3):
            model.reset_metrics()
            loss = step(tensors(batch))["loss"]
        losses.append(float(loss))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
