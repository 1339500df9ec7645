"""Training goes on from a finished run on a log with other users and items."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from data import prepared
from data.store import SequenceStore
from harness import refit, runner, standalone, warm_start
from harness.build import build_model
from harness.config import Config
from harness.reopen import open_run
from tests.datasets import NUM_ITEMS, NUM_USERS


def small_config(model="mgnm", **changes):
    arguments = {
        "mgnm": {"embedding_dim": 4, "num_interests": 2, "num_layers": 1},
        "caser": {"embedding_dim": 4},
        "mgnm_plus": {"embedding_dim": 4, "num_interests": 2},
    }.get(model, {})
    given = {"batch_size": 64, "max_epochs": 1, "max_history": 8, **changes}
    return Config(model=model, arguments=arguments, **given)


def later_log(folder, data):
    """The log a while later: users 1 and 2 left, "u99" and "i77" came, ids moved."""
    users, items = [], []
    lengths = np.diff(data.store.offsets)
    keys = {"users": [], "items": [f"i{n}" for n in range(NUM_ITEMS, 0, -1)] + ["i77"]}
    for number, user in enumerate(range(3, NUM_USERS + 1), start=1):
        start = data.store.offsets[user]
        events = data.store.items[start : start + lengths[user]]
        users += [number] * len(events)
        items += [NUM_ITEMS + 1 - item for item in events]
        keys["users"].append(f"u{user}")
    last = len(keys["users"]) + 1
    users += [last] * 4
    items += [NUM_ITEMS + 1, 1, 2, NUM_ITEMS + 1]
    keys["users"].append("u99")
    times = np.arange(len(users)) + 10**9
    store = SequenceStore.build(
        np.array(users), np.array(items), times, last + 1, NUM_ITEMS + 2
    )
    ends = np.diff(store.offsets)[1:]
    everyone = np.arange(1, last + 1)
    train = [(u, e) for u, n in zip(everyone, ends) for e in range(1, n - 2)]
    parts = {
        "train": np.array(train, np.int32),
        "valid": np.stack([everyone, ends - 2], axis=1).astype(np.int32),
        "test": np.stack([everyone, ends - 1], axis=1).astype(np.int32),
    }
    meta = {**data.meta, "name": "later"}
    return prepared.write(folder / "later" / "leave_one_out", store, parts, meta, keys)


@pytest.fixture(scope="module")
def later(tiny_data, tmp_path_factory):
    return later_log(tmp_path_factory.mktemp("later"), tiny_data)


@pytest.fixture
def first_run(mgnm_run):
    return mgnm_run[0]


def row(model, table, data, vocabulary, key):
    number = data.keys(vocabulary).tolist().index(key) + 1
    return getattr(model, table).embeddings.numpy()[number]


@pytest.mark.slow
def test_rows_follow_their_raw_ids(first_run, tiny_data, later):
    old = open_run(first_run, tiny_data.folder.parent.parent).model
    new = build_model(small_config(), later, seed=2)
    fresh = build_model(small_config(), later, seed=2)
    before = new.item_embedding.embeddings.numpy()
    said = warm_start.start_from(new, small_config(), later, first_run)
    for vocabulary, table in (("users", "user_embedding"), ("items", "item_embedding")):
        known = {*tiny_data.keys(vocabulary)}
        for key in later.keys(vocabulary):
            found = row(new, table, later, vocabulary, key)
            if key in known:
                expected = row(old, table, tiny_data, vocabulary, key)
            elif table == "item_embedding":
                expected = before[later.keys("items").tolist().index(key) + 1]
            else:
                continue
            np.testing.assert_array_equal(found, expected)
    # What has no row an id is copied whole, where a new model has drawn its own.
    ours, theirs = new.capsule.projection.numpy(), old.capsule.projection.numpy()
    np.testing.assert_array_equal(ours, theirs)
    assert not np.allclose(fresh.capsule.projection.numpy(), theirs)
    assert said["users"] == {"kept": NUM_USERS - 2, "new": 1}
    assert said["items"] == {"kept": NUM_ITEMS, "new": 1}


@pytest.mark.slow
def test_what_is_counted_is_of_the_new_log(tiny_data, later, tmp_path):
    config = small_config("mgnm_plus", objective="sampled_softmax", prior_shift=True)
    runner.run(config, tiny_data, tmp_path / "first", seed=1)
    old = open_run(tmp_path / "first", tiny_data.folder.parent.parent).model
    new = build_model(config, later, seed=2)
    counted = [weight.numpy() for weight in new.counted_weights()]
    warm_start.start_from(new, config, later, tmp_path / "first")
    assert len(new.counted_weights()) == len(counted)
    for weight, before in zip(new.counted_weights(), counted):
        np.testing.assert_array_equal(weight, before)
    ours, theirs = new.prior_shift.span_ends, old.prior_shift.span_ends
    assert not np.array_equal(ours, theirs)
    np.testing.assert_array_equal(old.newest_kernel, new.newest_kernel)


@pytest.mark.slow
def test_the_passport_says_from_where(first_run, later, tmp_path):
    config = small_config(init_from=str(first_run))
    passport = runner.run(config, later, tmp_path / "second", seed=1)
    assert passport["init_from"]["run"] == str(first_run)
    assert passport["init_from"]["items"] == {"kept": NUM_ITEMS, "new": 1}
    assert len(passport["init_from"]["weights_sha256"]) == 64
    with pytest.raises(ValueError, match="another init_from"):
        runner.run(small_config(), later, tmp_path / "second", seed=1)


def test_every_table_is_known_by_its_rows_not_by_its_size():
    # As many users as items, and as units: sizes cannot tell.
    model = standalone.build(small_config("caser"), 4, 4, seed=0)
    tables = standalone.tables(small_config("caser"))
    names = {model.weights[number].name: kind for number, kind in tables.items()}
    assert sorted(names.values()) == ["items", "items", "items", "users"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (small_config("caser"), "is a run of mgnm.*this is caser"),
        (small_config(max_history=7), "the weights .* Train with the settings"),
        (small_config("popularity"), "is a run of mgnm"),
    ],
)
def test_what_does_not_fit_is_refused(config, message, first_run, later, tmp_path):
    config = dataclasses.replace(config, init_from=str(first_run))
    with pytest.raises(ValueError, match=message):
        runner.run(config, later, tmp_path / "run", seed=1)
    assert not (tmp_path / "run").exists()


def small_sasrec(blocks, **changes):
    arguments = {"embedding_dim": 4, "num_blocks": blocks, "num_heads": 1}
    return dataclasses.replace(small_config("sasrec", **changes), arguments=arguments)


@pytest.mark.slow
def test_a_model_of_more_or_fewer_layers_is_refused(tiny_data, later, tmp_path):
    first = tmp_path / "first"
    runner.run(small_sasrec(1), tiny_data, first, seed=1)
    config = small_sasrec(2, init_from=str(first))
    wanted = "arrays of weights, and this .* num_blocks is 2 here and 1 there"
    with pytest.raises(ValueError, match=wanted):
        runner.run(config, later, tmp_path / "run", seed=1)
    second = tmp_path / "second"
    runner.run(small_sasrec(2), tiny_data, second, seed=1)
    config = small_sasrec(1, init_from=str(second))
    with pytest.raises(ValueError, match="num_blocks is 1 here and 2 there"):
        runner.run(config, later, tmp_path / "run", seed=1)


@pytest.mark.slow
def test_other_weights_in_the_place_of_the_first_are_another_run(
    first_run, tiny_data, later, tmp_path
):
    start, folder = tmp_path / "start", tmp_path / "run"
    shutil.copytree(first_run, start)
    config = small_config(init_from=str(start))
    runner.run(config, later, folder, seed=1)
    later_dir = later.folder.parent.parent
    refit.refit(folder, later_dir, tmp_path / "refit")
    shutil.rmtree(start)
    runner.run(config, later, folder, seed=1)  # Finished: nothing is needed any more.
    runner.run(small_config(), tiny_data, start, seed=9)
    with pytest.raises(ValueError, match="another init_weights"):
        runner.run(config, later, folder, seed=1)
    with pytest.raises(ValueError, match="holds other weights than those"):
        refit.refit(folder, later_dir, tmp_path / "again")


def test_a_folder_without_a_run_is_refused(later, tmp_path):
    config = small_config(init_from=str(tmp_path))
    with pytest.raises(ValueError, match="holds no finished run"):
        runner.run(config, later, tmp_path / "run", seed=1)
