"""The synthetic world is what it says, and models recover it."""

from __future__ import annotations

import numpy as np
import pytest

from data import prepared
from data.candidates import candidate_negatives
from data.pipeline import targets
from data.split import split
from data.store import SequenceStore
from data.synthetic import SyntheticSpec, generate
from harness import build, defaults, metrics, training

SPEC = SyntheticSpec(
    num_users=600, num_items=150, mean_events=30, num_coarse=4, fine_per_coarse=5
)


@pytest.fixture(scope="module")
def world():
    return generate(SPEC)


@pytest.fixture(scope="module")
def data(world, tmp_path_factory):
    store = SequenceStore.build(
        world.users, world.items, world.times, SPEC.num_users + 1, SPEC.num_items + 1
    )
    parts, rule = split(store, "leave_one_out")
    meta = {"name": "planted", "split": "leave_one_out", "split_rule": rule}
    meta["statistics"] = {name: len(rows) for name, rows in parts.items()}
    folder = tmp_path_factory.mktemp("planted") / "planted" / "leave_one_out"
    return prepared.write(folder, store, parts, meta, {})


def rank(data, scores_of):
    instances = data.instances["test"]
    negatives = candidate_negatives(data, "test", "uni1000", 1)
    scores = scores_of(*instances.T.astype(np.int64))
    rows = np.arange(len(instances))[:, None]
    positives = scores[rows[:, 0], targets(data, instances)]
    ranks = metrics.rank_scores(positives, scores[rows, negatives], negatives > 0)
    return metrics.instance_metrics(ranks)


def test_made_data_have_their_ids_as_keys(data):
    for name, count in (("users", SPEC.num_users), ("items", SPEC.num_items)):
        assert data.keys(name).tolist() == [str(n + 1) for n in range(count)]


def test_a_seed_repeats_itself(world):
    again = generate(SPEC)
    np.testing.assert_array_equal(world.items, again.items)
    np.testing.assert_array_equal(world.times, again.times)


def test_times_of_a_user_rise(world):
    same_user = world.users[1:] == world.users[:-1]
    assert (np.diff(world.times)[same_user] >= 0).all()


def test_lengths_are_about_what_was_asked(world):
    lengths = np.diff(world.offsets)[1:]
    assert lengths.min() >= 5
    assert lengths.mean() == pytest.approx(SPEC.mean_events, rel=0.15)


def test_the_scores_of_the_oracle_are_probabilities(world):
    scores = world.oracle_scores(np.array([1, 2, 3]), np.array([0, 1, 4]))
    np.testing.assert_allclose(scores.sum(axis=1), 1.0)
    assert not scores[:, 0].any()


def test_items_fall_as_often_as_the_oracle_says(world):
    rows = np.arange(len(world.items))
    ends = rows - world.offsets[world.users]
    scores = world.oracle_scores(world.users, ends)
    chosen = scores[rows, world.items]
    # Events of probability p should come as often as p: compare by size of p.
    for low, high in ((0.0, 0.01), (0.01, 0.03), (0.03, 0.1), (0.1, 1.0)):
        band = (scores >= low) & (scores < high)
        expected = scores[band].sum()
        found = np.sum((chosen >= low) & (chosen < high))
        assert found == pytest.approx(expected, abs=4 * np.sqrt(expected) + 1)


def test_the_world_has_more_to_learn_than_popularity(world, data):
    counts = np.bincount(data.train_events().items, minlength=SPEC.num_items + 1)
    popular = rank(data, lambda users, ends: np.tile(counts, (len(users), 1)))
    best = rank(data, world.oracle_scores)
    assert best["ndcg@5"] > 2 * popular["ndcg@5"]
    assert best["gauc"] > popular["gauc"] + 0.15


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "epochs", "share"),
    [("mgnm", 3, 0.65), ("gru4rec", 8, 0.65)],
)
def test_a_model_recovers_most_of_what_can_be_known(
    world, data, tmp_path, name, epochs, share
):
    config = defaults.get_config(
        name, "planted", max_epochs=epochs, patience=epochs, max_history=8, l2=1e-3
    )
    build.set_up_tensorflow(config, seed=1)
    model = build.build_model(config, data, seed=1)
    ranker = build.make_ranker(model, data, config)
    training.train(model, data, config, ranker, tmp_path, seed=1)
    found = metrics.instance_metrics(ranker.rank("test", "uni1000").ranks)
    best = rank(data, world.oracle_scores)
    # Above chance (0.5) by this share of what the oracle is; and never above it.
    assert share * (best["gauc"] - 0.5) < found["gauc"] - 0.5
    assert found["gauc"] < best["gauc"] + 0.01


def test_too_few_items_are_refused():
    with pytest.raises(ValueError, match="`num_items` must be at least"):
        SyntheticSpec(num_items=3)
