"""Recommendations: the harness's own ranking, item by item, by raw ids."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from absl import logging as absl_logging

from data import build
from data.manifest import file_hash
from data.pipeline import targets
from harness import run_manifest, standalone, vocabulary
from harness.build import build_model, make_ranker
from harness.defaults import get_config
from harness.passport import Run
from harness.standalone import StandaloneRun
from serving import requests, search
from serving.histories import Histories, batch_of, padded
from serving.recommender import Recommender
from tests.datasets import NUM_ITEMS, NUM_USERS
from tests.slow import slow_but

SIZES = {"max_history": 6, "batch_size": 16, "max_epochs": 1}
SMALL = {"mgnm": {"embedding_dim": 4, "num_interests": 2, "num_layers": 1}}
# Inner products, several interests, a table of neighbours, target-aware ones, times.
# Their steps take long to trace.
AGREEING = ["mgnm", "sasrec", "comirec_sa", "item_knn", "popularity", "mimn", "sli_rec"]


def small_config(name):
    config = get_config(name, "tiny", **SIZES, prior_shift=name == "mgnm_plus")
    arguments = {**config.arguments, **SMALL.get(name, {})}
    return dataclasses.replace(config, arguments=arguments)


@pytest.fixture(scope="module")
def names(tiny_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    vocabulary.write(folder, tiny_data)
    return vocabulary.read(folder)


@pytest.fixture(scope="module")
def opened(tiny_data, names, tmp_path_factory):
    """By name, an untrained model whose scores are far apart, and its recommender."""
    made = {}

    def open_one(name):
        if name not in made:
            config = small_config(name)
            model = build_model(config, tiny_data, seed=1)
            for weight in model.trainable_variables:
                drawn = tf.random.stateless_normal(weight.shape, [3, 4]) / 2
                weight.assign(weight.constraint(drawn) if weight.constraint else drawn)
            folder = Run(tmp_path_factory.getbasetemp(), {"seed": 1})
            run = StandaloneRun(folder, model, config, names)
            store = tiny_data.store
            histories = Histories(store.items, store.offsets, store.times)
            made[name] = config, model, Recommender(run, histories)
        return made[name]

    return open_one


@pytest.fixture(scope="module")
def run_dir(mgnm_run):
    return mgnm_run[0]


@pytest.fixture(scope="module")
def recommender(run_dir, tiny_data):
    return Recommender.load(run_dir, data_dir=tiny_data.folder.parent.parent)


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(
        absl_logging, "warning", lambda text, *values: said.append(text % values)
    )
    return said


def table_of(data, instances):
    """The histories of instances as someone would hand them in, and their times."""
    rows = []
    for user, end in instances:
        start = data.store.offsets[user]
        for place in range(start, start + end):
            item, time = data.store.items[place], data.store.times[place]
            rows.append((f"u{user}", f"i{item}", time))
    return pd.DataFrame(rows, columns=["user", "item", "timestamp"])


@pytest.mark.parametrize(
    "name",
    slow_but(AGREEING, ("mgnm", "popularity")),
)
def test_agrees_item_by_item_with_the_full_ranking(
    name, opened, tiny_data, monkeypatch
):
    for name_of_width in ("_FEWEST", "_MOST"):  # Several chunks, the last one shorter.
        monkeypatch.setattr(search, name_of_width, 7)
    config, model, recommender = opened(name)
    ranker = make_ranker(model, tiny_data, config)
    ranking = ranker.rank("test", "full")
    instances = ranking.instances
    everything = np.tile(np.arange(1, NUM_ITEMS + 1, dtype=np.int32), (NUM_USERS, 1))
    scores = ranker.score_lists(instances, everything)
    wanted = targets(tiny_data, instances)
    found = answers_of(recommender, tiny_data, instances)
    every = [f"i{item}" for item in range(1, NUM_ITEMS + 1)]
    ranked = 0
    for row, (user, end) in enumerate(instances):
        own = found[found["user"] == f"u{user}"]
        start = tiny_data.store.offsets[user]
        past = {f"i{item}" for item in tiny_data.store.items[start : start + end]}
        expected = dict(zip(every, scores[row]))
        # All that was not seen, each with the harness's score, the highest first.
        assert {*own["item"]} == {*every} - past
        np.testing.assert_allclose(
            own["score"], [expected[i] for i in own["item"]], rtol=1e-4, atol=1e-6
        )
        assert (np.diff(own["score"]) <= 0).all()
        target = f"i{wanted[row]}"
        if target in past:
            continue  # The harness ranks it all the same; a shop would not.
        ranked += 1
        place = own["item"].tolist().index(target)
        assert ranking.ranks.optimistic[row] <= place <= ranking.ranks.pessimistic[row]
    assert ranked > NUM_USERS / 3


def answers_of(recommender, data, instances):
    """The whole catalogue for the histories of instances, each at its own time."""
    if not recommender.model.needs_times:
        return recommender.recommend(history=table_of(data, instances), k=NUM_ITEMS)
    tables = []
    for user, end in instances:
        at = int(data.store.times[data.store.offsets[user] + end])
        table = table_of(data, [(user, end)])
        tables.append(recommender.recommend(history=table, k=NUM_ITEMS, at=at))
    return pd.concat(tables)


def test_users_of_the_log_are_asked_with_all_they_had(recommender, tiny_data):
    user = 3
    everything = [(user, np.diff(tiny_data.store.offsets)[user])]
    table = table_of(tiny_data, everything)
    by_name = recommender.recommend(users=["u3"], k=5)
    by_history = recommender.recommend(history=table, k=5)
    pd.testing.assert_frame_equal(by_name, by_history)


def test_no_answer_depends_on_who_else_asks(recommender):
    everyone = recommender.table(
        recommender.everyone(),
        next(iter(recommender.stream(recommender.everyone(), 4))),
    )
    alone = recommender.recommend(users=["u7"], k=4)
    theirs = everyone[everyone["user"] == "u7"].reset_index(drop=True)
    assert theirs["item"].tolist() == alone["item"].tolist()
    np.testing.assert_allclose(theirs["score"], alone["score"], rtol=1e-5)


def test_a_list_is_one_unnamed_person_unseen_in_training(recommender):
    found = recommender.recommend(history=["i3", "i9", "i3"], k=4)
    assert found.columns.tolist() == ["rank", "item", "score", "basis", "level"]
    assert found["rank"].tolist() == [1, 2, 3, 4]
    assert not {"i3", "i9"} & {*found["item"]}
    assert {*found["basis"]} == {"history"}


def test_what_was_seen_may_be_recommended_again(recommender):
    found = recommender.recommend(history=["i3"], k=NUM_ITEMS, exclude_seen=False)
    assert {*found["item"]} == {f"i{item}" for item in range(1, NUM_ITEMS + 1)}


def test_what_was_had_is_left_out_as_the_run_was_measured(
    recommender, run_dir, tmp_path
):
    assert "i3" not in set(recommender.recommend(history=["i3"], k=29)["item"])
    kept = tmp_path / "kept"
    shutil.copytree(run_dir, kept)
    passport = json.loads((kept / "passport.json").read_text())
    passport["data"]["keeps_past"] = True
    (kept / "passport.json").write_text(json.dumps(passport))
    run_manifest.write(kept)
    again = Recommender.load(kept)
    assert "i3" in set(again.recommend(history=["i3"], k=NUM_ITEMS)["item"])
    few = again.recommend(history=["i3"], k=29, exclude_seen=True)
    assert "i3" not in set(few["item"])


def test_what_was_seen_long_ago_is_left_out_too(recommender):
    older = [f"i{item}" for item in range(1, 20)]
    assert len(older) > recommender.config.max_history
    found = recommender.recommend(history=older, k=NUM_ITEMS)
    assert {*found["item"]} == {f"i{item}" for item in range(20, NUM_ITEMS + 1)}


def test_candidates_alone_are_ranked(recommender, warnings):
    chosen = ["i8", "i2", "i5", "absent"]
    found = recommender.recommend(history=["i2"], k=3, candidates=chosen)
    assert {*found["item"]} == {"i8", "i5"}
    assert warnings == [
        "1 of 4 candidates are not known to the model; they are left out."
    ]


def test_an_empty_history_gets_the_popular_items_and_says_so(
    recommender, tiny_data, warnings
):
    found = recommender.recommend(history=["absent", "gone"], k=3)
    counts = np.bincount(tiny_data.train_events().items, minlength=NUM_ITEMS + 1)
    assert found["score"].tolist() == sorted(counts, reverse=True)[:3]
    assert {*found["basis"]} == {"popular"}
    assert len(warnings) == 2
    assert warnings[0].startswith(
        "2 events are of items that the model does not know, such as "
    )
    assert warnings[1].startswith("1 of 1 histories have no item")


def test_unknown_users_are_counted_once(recommender, warnings):
    found = recommender.recommend(users=["u1", "who", "what"], k=1)
    assert found["basis"].tolist() == ["history", "popular", "popular"]
    assert warnings[0] == "2 of 3 users are not known to the model."


def test_whole_numbers_are_ids(recommender, names):
    with pytest.raises(ValueError, match=r"ids as text or whole numbers.*3\.5"):
        recommender.recommend(history=[3.5])
    found = recommender.recommend(history=[7], k=1)  # "7" is no item here.
    assert found["basis"].tolist() == ["popular"]


def test_times_in_another_order_are_refused(opened):
    _, _, recommender = opened("sli_rec")
    with pytest.raises(ValueError, match="`times` must not fall"):
        recommender.recommend(history=["i1", "i2"], times=[20, 10])


@pytest.mark.slow
def test_a_table_is_put_in_the_order_of_its_times(opened):
    _, _, recommender = opened("sli_rec")
    table = pd.DataFrame(
        {"user": "x", "item": ["i2", "i1", "i3"], "timestamp": [30.5, 10.0, 40.0]}
    )
    listed = recommender.recommend(history=["i1", "i2", "i3"], times=[10, 30, 40], k=4)
    found = recommender.recommend(history=table, k=4).drop(columns="user")
    pd.testing.assert_frame_equal(found, listed)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"timestamp": [10.9, 10.2, 10.5]}, [1, 2, 0]),
        ({"timestamp": [10, 10, 9], "order": [1.7, 1.2, 5]}, [2, 1, 0]),
        ({"timestamp": [10.5, 10, 10], "order": [0, 2, 1]}, [2, 1, 0]),
        ({"order": [2**60 + 1, 2**60 + 2, 2**60]}, [2, 0, 1]),
        ({"order": [0.9, 0.2, 0.5]}, [1, 2, 0]),
    ],
)
def test_a_history_is_sorted_as_training_sorts_it(columns, expected, names, tmp_path):
    # A last event, so that there is one to train on.
    columns = {name: [*values, values[0] + 20] for name, values in columns.items()}
    table = pd.DataFrame({"user": "x", "item": ["i1", "i2", "i3", "i4"], **columns})
    expected = [*expected, 3]
    ids = requests.Ids(names)
    found = requests.of_table(table, ids).histories
    assert found.items.tolist() == [place + 1 for place in expected]
    log = pd.concat([table, table.assign(user="y")])
    if "timestamp" in log:
        log["timestamp"] += 10**9  # Small ones would be steps.
    log.to_csv(tmp_path / "log.csv", index=False)
    request = build.Request(
        "csv",
        tmp_path / "data",
        source=tmp_path / "log.csv",
        name="log",
        split="leave_one_out",
        keeps_past=True,
    )
    data = build.write(request)
    own = data.store.items[data.store.offsets[1] : data.store.offsets[2]]
    assert [data.keys("items")[i - 1] for i in own] == [f"i{p + 1}" for p in expected]


def test_times_of_a_fraction_must_not_fall_either(recommender):
    with pytest.raises(ValueError, match="`times` must not fall"):
        recommender.recommend(history=["i1", "i2"], times=[10.9, 10.2])


@pytest.mark.parametrize("late", [1.6e12, -1e13, 1e300])
def test_times_that_no_log_has_are_refused(recommender, late):
    with pytest.raises(ValueError, match="Are these milliseconds"):
        recommender.recommend(history=["i1"], times=[late])


def test_before_1970_the_time_of_asking_does_not_depend_on_the_batch():
    times = np.array([-900, -800, -700], np.int64)
    past = Histories(np.array([1, 2, 3], np.int32), np.array([0, 1, 3, 3]), times)
    batch = batch_of(np.zeros(3, np.int32), past, 5, last_time=-750, when=None)
    assert batch["target_time"].tolist() == [-750, -700, -750]


@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize(
    "nobody", [{"users": []}, {"history": pd.DataFrame({"user": [], "item": []})}]
)
def test_nobody_gets_a_table_without_rows(nobody, explain, recommender):
    found = recommender.recommend(**nobody, explain=explain)
    assert found.empty
    some = recommender.recommend(users=["u1"], explain=explain)
    assert found.columns.tolist() == some.columns.tolist()


def test_the_time_of_asking_is_the_newest_of_the_log_unless_given(opened, names):
    _, _, recommender = opened("sli_rec")
    history = {"history": ["i1", "i2"], "times": [10**9, 10**9 + 5], "k": 3}
    default = recommender.recommend(**history)
    same = recommender.recommend(**history, at=names.last_time)
    later = recommender.recommend(**history, at=names.last_time + 10**8)
    pd.testing.assert_frame_equal(default, same)
    assert default["score"].tolist() != later["score"].tolist()


def test_a_model_that_reads_times_asks_for_them(opened):
    _, _, recommender = opened("sli_rec")
    with pytest.raises(ValueError, match="sli_rec reads when events happened"):
        recommender.recommend(history=["i1"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"history": ["i1"], "k": 31}, "`k` is 31, and the catalogue has 30 items"),
        ({"history": ["i1"], "k": 0}, "`k` must be a positive whole number"),
        ({"history": ["i1"], "k": 2.5}, "`k` must be a positive whole number"),
        ({"history": ["i1"], "k": True}, "`k` must be a positive whole number"),
        ({"history": "i1"}, "`history` must be a list of ids"),
        ({"history": [None]}, "`history` must hold ids as text.*None"),
        ({"history": [float("nan")]}, "`history` must hold ids as text.*nan"),
        ({"history": ["i1"], "users": ["u1"]}, "either `history` or `users`"),
        ({}, "either `history` or `users`"),
        ({"history": ["i1"], "at": float("nan")}, "`at` must be finite"),
        ({"history": ["i1"], "times": [1, 2]}, "`times` has 2 entries"),
        ({"history": ["i1"], "candidates": ["absent"]}, "No candidate is an item"),
        ({"history": pd.DataFrame({"user": ["u1"]})}, "no column `item`"),
    ],
)
def test_a_wrong_argument_is_named(recommender, arguments, message):
    with pytest.raises(ValueError, match=message):
        recommender.recommend(**arguments)


def test_scores_that_are_no_numbers_are_refused(opened, names):
    _, model, recommender = opened("mean_pooling")
    before = model.item_embedding.get_weights()
    model.item_embedding.set_weights([np.full_like(before[0], np.nan)])
    with pytest.raises(ValueError, match="not finite numbers"):
        recommender.recommend(history=["i1"])
    model.item_embedding.set_weights(before)


def test_reasons_are_the_couplings_of_the_interest_that_won(recommender):
    history = ["i4", "i9", "i2", "i7"]
    found = recommender.recommend(history=history, k=5, explain=True)
    batch = {
        "user": tf.zeros([1], tf.int32),
        "history": tf.constant([[4, 9, 2, 7]]),
        "candidates": tf.constant([[int(item[1:]) for item in found["item"]]]),
    }
    explained = recommender.model.explain(batch)
    levels = tf.argmax(explained["level_logits"][0], axis=0).numpy()
    assert found["level"].tolist() == levels.tolist()
    items = recommender.model.item_embedding(batch["candidates"])[0].numpy()
    for row, level in enumerate(levels):
        interests = explained["interests"][0, level].numpy()
        won = int(np.argmax(interests @ items[row]))
        assert found["interest"][row] == won
        couplings = explained["couplings"][0, level, won].numpy()
        best = np.argsort(-couplings, kind="stable")[:3]
        assert found["because"][row] == [history[place] for place in best]


def test_a_model_without_interests_cannot_explain(opened):
    with pytest.raises(ValueError, match="Popularity has no interests"):
        opened("popularity")[2].recommend(history=["i1"], explain=True)


def test_histories_are_padded_on_the_left_and_cut_to_the_newest():
    values, offsets = np.arange(1, 7), np.array([0, 0, 4, 6])
    expected = [[0, 0, 0], [2, 3, 4], [0, 5, 6]]
    np.testing.assert_array_equal(padded(values, offsets, newest=3), expected)
    nobody = padded(values[:0], np.array([0, 0]))
    np.testing.assert_array_equal(nobody, [[0]])


@pytest.mark.slow
def test_a_new_item_is_what_it_is_like(recommender):
    longer = recommender.with_new_items({"new": ["i3", "i9"], "twin": ["i5"]})
    table = longer.model.item_embedding.embeddings.numpy()
    np.testing.assert_allclose(table[31], (table[3] + table[9]) / 2, rtol=1e-6)
    found = longer.recommend(history=["i1", "i2"], k=32 - 2)
    own = found.set_index("item")
    assert own.loc["twin", "score"] == pytest.approx(own.loc["i5", "score"], rel=1e-5)
    # Nothing else has changed, and a history may hold what is new.
    before = recommender.recommend(history=["i1", "i2"], k=28).set_index("item")
    same = own.loc[before.index, "score"]
    np.testing.assert_allclose(same, before["score"], rtol=1e-5)
    again = longer.recommend(history=["i1", "twin"], k=5)
    twin = recommender.recommend(history=["i1", "i5"], k=5, exclude_seen=False)
    scores = longer.recommend(history=["i1", "twin"], k=32, exclude_seen=False)
    expected = dict(zip(twin["item"], twin["score"]))
    found = dict(zip(scores["item"], scores["score"]))
    for item, score in expected.items():
        assert found[item] == pytest.approx(score, rel=1e-4)
    assert "twin" not in {*again["item"]}


@pytest.mark.slow
def test_people_are_asked_for_after_all_events(opened):
    _, model, recommender = opened("mgnm_plus")
    history = np.array([[1, 2, 5]], np.int32)
    every = tf.range(1, NUM_ITEMS + 1)
    batch = {"user": tf.constant([0]), "history": tf.constant(history)}
    scores = model.score_items(model.encode(batch), every)[0].numpy()
    latest = model.prior_shift.latest(every).numpy()
    assert latest.std() > 0.01
    found = recommender.recommend(history=["i1", "i2", "i5"], k=NUM_ITEMS - 3)
    expected = {
        f"i{item}": scores[item - 1] + latest[item - 1] for item in every.numpy()
    }
    for item, score in zip(found["item"], found["score"]):
        assert score == pytest.approx(expected[item], rel=1e-4, abs=1e-5)


@pytest.mark.slow
def test_a_new_item_is_as_popular_as_what_it_is_like(opened):
    known = opened("mgnm_plus")[2]
    longer = known.with_new_items({"twin": ["i5"], "new": ["i3", "i9"]})
    shifts = longer.model.prior_shift.shifts.numpy()
    assert shifts.any()
    np.testing.assert_array_equal(shifts[31], shifts[5])
    np.testing.assert_allclose(shifts[32], (shifts[3] + shifts[9]) / 2, atol=1e-3)


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"i3": ["i1"]}, "The item i3 is not new"),
        ({"new": ["absent"]}, "is like no item that the model knows"),
        ({"new": [1.5]}, "`like` must hold ids as text"),
    ],
)
def test_a_new_item_that_cannot_be_is_refused(like, message, recommender):
    with pytest.raises(ValueError, match=message):
        recommender.with_new_items(like)


def test_a_model_that_counts_takes_no_new_item(opened):
    with pytest.raises(ValueError, match="item_knn has only counts"):
        opened("item_knn")[2].with_new_items({"new": ["i1"]})


def test_a_run_of_before_vocabularies_is_refused_then_completed(
    recommender, run_dir, tiny_data, tmp_path
):
    old = tmp_path / "old"
    shutil.copytree(run_dir, old)
    for name in (vocabulary.SUMMARY, vocabulary.USERS, vocabulary.ITEMS):
        (old / name).unlink()
    with pytest.raises(ValueError, match="from before runs kept their raw ids"):
        Recommender.load(old)
    standalone.complete(old, tiny_data.folder.parent.parent)
    again = Recommender.load(old).recommend(history=["i1"], k=3)
    first = recommender.recommend(history=["i1"], k=3)
    pd.testing.assert_frame_equal(again, first)


def test_a_run_alone_has_no_histories_of_its_users(run_dir):
    with pytest.raises(ValueError, match="are in the prepared data, not in the run"):
        Recommender.load(run_dir).recommend(users=["u1"])


def changed(run_dir, folder, change):
    shutil.copytree(run_dir, folder)
    change(folder)
    return folder


def _drop_a_user(folder):
    path = folder / vocabulary.USERS
    pd.read_parquet(path).iloc[1:].to_parquet(path)
    summary = json.loads((folder / vocabulary.SUMMARY).read_text())
    summary["users"] -= 1
    summary["sha256"][vocabulary.USERS] = file_hash(path)
    (folder / vocabulary.SUMMARY).write_text(json.dumps(summary))


def _damage(name):
    def change(folder):
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 255
        (folder / name).write_bytes(content)

    return change


def _of_another_version(folder):
    config = json.loads((folder / "config.json").read_text())
    config["arguments"]["wings"] = 2
    (folder / "config.json").write_text(json.dumps(config))
    seal = json.loads((folder / "seal.json").read_text())
    seal["config_sha256"] = file_hash(folder / "config.json")
    (folder / "seal.json").write_text(json.dumps(seal))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_damage("model.weights.h5"), "model.weights.h5 is not the file"),
        (_damage("items.parquet"), "items.parquet is not the file"),
        (_damage("config.json"), "config.json is not the file"),
        (_drop_a_user, "does not fit the run's configuration and vocabulary"),
        (_of_another_version, "is a run of another version: mgnm is not built with"),
        (lambda f: (f / "passport.json").unlink(), "holds an unfinished run"),
        (lambda f: (f / "passport.json").write_text("{"), "passport.json is damaged"),
        (
            lambda f: (f / "vocabulary.json").write_text("{}"),
            "vocabulary.json is damaged",
        ),
        (
            lambda f: (f / "seal.json").write_text("{}"),
            "seal.json is damaged: it lacks",
        ),
        (
            lambda f: (f / "manifest.json").write_text('{"format": 1}'),
            "manifest.json is damaged: it lacks files",
        ),
        (lambda f: (f / "model.weights.h5").unlink(), "model.weights.h5 is missing"),
        (lambda f: shutil.rmtree(f), "There is no folder"),
    ],
    ids=lambda value: (
        None if isinstance(value, str) else getattr(value, "__name__", "")
    ),
)
def test_a_folder_that_is_not_whole_is_refused(run_dir, tmp_path, change, message):
    folder = changed(run_dir, tmp_path / "run", change)
    with pytest.raises(ValueError, match=message):
        Recommender.load(folder)
