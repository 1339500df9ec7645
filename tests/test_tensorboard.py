"""What a run leaves for TensorBoard, read back from its events and files."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams_metadata

from harness import build, run_folder, runner
from harness.board import epochs
from harness.board.finished import write_projector
from harness.board.heat_maps import HistoryPicture
from harness.config import Config
from mgnm_tf.model import MGNM
from tests.runs import EPOCHS, SEED, assert_same_weights, small_config

LEVELS = [f"level_{number}" for number in range(2)]


def run(config, data, run_dir):
    return runner.run(config, data, run_dir, SEED), events_of(run_dir)


def events_of(run_dir):
    events = EventAccumulator(str(run_dir / "tensorboard"), {"tensors": 0})
    return events.Reload()


@pytest.fixture(scope="module")
def finished(mgnm_run):
    run_dir, passport = mgnm_run
    return run_dir, passport, events_of(run_dir)


def scalars(events, tag):
    return [float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)]


def steps(events, tag):
    return [event.step for event in events.Tensors(tag)]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("levels/valid_loss", 0.01, 10.0),
        ("levels/win_share/positive", 0.0, 1.0),
        ("levels/win_share/negative", 0.0, 1.0),
        ("interests/routing_entropy", 0.0, 1.0 + 1e-6),
        ("interests/cosine", 0.0, 1.0 + 1e-6),  # ReLU leaves no negative cosine.
        ("interests/dead_share", 0.0, 1.0),
    ],
)
def test_each_level_has_its_numbers_after_each_epoch(finished, level, name, low, high):
    events = finished[2]
    assert steps(events, f"{name}/{level}") == [*range(1, EPOCHS + 1)]
    found = scalars(events, f"{name}/{level}")
    assert low <= min(found)
    assert max(found) <= high


@pytest.mark.parametrize("kind", ["positive", "negative"])
def test_shares_of_wins_add_up_to_one(finished, kind):
    tags = [f"levels/win_share/{kind}/{level}" for level in LEVELS]
    total = np.sum([scalars(finished[2], tag) for tag in tags], axis=0)
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)


def test_histograms_of_winners_count_what_the_shares_do(finished):
    events = finished[2]
    for kind, count in (("positive", 24), ("negative", None)):
        for number, event in enumerate(events.Tensors(f"levels/winner/{kind}")):
            buckets = tf.make_ndarray(event.tensor_proto)  # left, right, count
            total = buckets[:, 2].sum()
            assert count is None or total == count  # Tiny data have 24 users.
            first = buckets[buckets[:, 0] < 0.5, 2].sum() / total
            share = scalars(events, f"levels/win_share/{kind}/level_0")[number]
            assert first == pytest.approx(share)


@pytest.mark.slow
def test_training_losses_of_levels_are_means_over_the_epoch(
    tiny_data, tmp_path, monkeypatch
):
    """At a rate of zero every step's loss is of the same weights."""
    seen = []
    step = MGNM.train_step

    def noting(self, data):
        logs = step(self, data)
        tf.py_function(lambda x: seen.append(float(x)), [logs["level_1_loss"]], Tout=[])
        return logs

    monkeypatch.setattr(MGNM, "train_step", noting)
    config = small_config(max_epochs=1)
    events = run(config, tiny_data, tmp_path)[1]
    assert len(seen) == -(-len(tiny_data.instances["train"]) // config.batch_size)
    found = scalars(events, "Loss/train_level_1")
    assert found == [pytest.approx(np.mean(seen), rel=1e-5)]


def test_pictures_are_of_epochs_ever_farther_apart_and_of_the_last(finished, tiny_data):
    events = finished[2]
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("history/")]
    assert len(tags) == 3
    for tag in tags:
        assert tag.removeprefix("history/user_") in tiny_data.keys("users")
        assert EPOCHS == 5
        assert steps(events, tag) == [1, 4, 5]
        width, height, png = tf.make_ndarray(events.Tensors(tag)[-1].tensor_proto)
        pixels = tf.io.decode_png(png).numpy()
        assert pixels.shape == (int(height), int(width), 3)
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


@pytest.mark.slow
def test_looking_changes_no_bit_of_a_run(finished, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(epochs.Board, "write", lambda *_, **__: None)
    run_dir, passport, _ = finished
    unseen, events = run(small_config(), tiny_data, tmp_path)
    assert "levels/valid_loss/level_0" not in events.Tags()["tensors"]
    assert unseen["metrics"] == passport["metrics"]
    assert_same_weights(tmp_path, run_dir)


def test_a_model_without_interests_is_not_looked_into(tiny_data, tmp_path):
    config = Config(model="mean_pooling", arguments={}, max_epochs=1, max_history=8)
    events = run(config, tiny_data, tmp_path)[1]
    groups = {tag.split("/")[0] for tag in events.Tags()["tensors"]}
    assert groups == {"Loss", "train", "valid", "test", "_hparams_"}


@pytest.mark.slow
def test_a_model_with_one_level_of_interests_has_their_numbers(tiny_data, tmp_path):
    config = Config(model="mind", arguments={}, max_epochs=1, max_history=8)
    events = run(config, tiny_data, tmp_path)[1]
    tags = {tag for tag in events.Tags()["tensors"] if tag.startswith("interests/")}
    names = ("routing_entropy", "cosine", "dead_share")
    assert tags == {f"interests/{name}/level_0" for name in names}
    assert any(tag.startswith("history/") for tag in events.Tags()["tensors"])


def test_the_looked_into_are_of_different_users_and_the_same_for_all_models(tiny_data):
    users = np.repeat(np.arange(1, 40), 5)
    rows = epochs._one_row_a_user(users)
    assert len(rows) == 39
    assert len(np.unique(users[rows])) == 39
    np.testing.assert_array_equal(rows, epochs._one_row_a_user(users))


def test_hparams_hold_every_setting_and_the_columns_of_the_metrics(finished):
    run_dir, passport, events = finished
    stored = events.SummaryMetadata("_hparams_/session_start_info")
    start = hparams_metadata.parse_session_start_info_plugin_data(
        stored.plugin_data.content
    )
    assert start.group_name == f"mgnm {SEED}: {run_dir}"
    assert start.hparams["dataset"].string_value == passport["dataset"]
    assert start.hparams["num_layers"].number_value == 1  # of this run
    assert start.hparams["num_iterations"].number_value == 3  # MGNM's default
    assert start.hparams["l2"].number_value == passport["config"]["l2"]
    stored = events.SummaryMetadata("_hparams_/experiment")
    experiment = hparams_metadata.parse_experiment_plugin_data(
        stored.plugin_data.content
    )
    assert {column.name for column in experiment.hparam_infos} <= {*start.hparams}
    found = {
        f"test/{protocol}/{key}": groupings["instance"][key]
        for protocol, groupings in passport["metrics"]["test"].items()
        for key in ("gauc", "ndcg@5", "hit@5", "mrr@5")
    }
    assert [info.name.tag for info in experiment.metric_infos] == [*found]
    for tag, value in found.items():
        assert scalars(events, tag) == [pytest.approx(value)]


def test_the_projector_reads_the_finished_weights_and_the_items_keys(
    finished, tiny_data
):
    folder = finished[0] / "tensorboard"
    table = np.loadtxt(folder / "item_embedding.tsv", delimiter="\t")
    config = small_config()
    model = build.build_model(config, tiny_data, SEED)
    model.load_weights(finished[0] / run_folder.WEIGHTS)
    expected = model.item_embedding.embeddings.numpy()[1:]
    np.testing.assert_allclose(table, expected, rtol=1e-4)
    head, *rows = (folder / "items.tsv").read_text().splitlines()
    assert head == "item\ttraining events"
    keys, counts = zip(*(row.split("\t") for row in rows))
    assert list(keys) == list(tiny_data.keys("items"))
    events = tiny_data.train_events().items
    assert [int(count) for count in counts] == [
        np.sum(events == number) for number in range(1, len(keys) + 1)
    ]


def test_a_key_with_a_tab_stays_one_field(tiny_data, tmp_path, monkeypatch):
    odd = np.array([f" a\tb\n{n}\u2028" for n in range(tiny_data.num_items - 1)])
    monkeypatch.setattr(type(tiny_data), "keys", lambda *_: odd)
    table = np.zeros((tiny_data.num_items - 1, 2))
    write_projector(tmp_path, table, tiny_data)
    rows = (tmp_path / "items.tsv").read_text().rstrip("\n").split("\n")
    assert {row.count("\t") for row in rows} == {1}
    assert rows[1].startswith(" a b 0\u2028\t")


def test_a_picture_has_the_colour_of_a_coupling_at_its_row_and_column():
    picture = HistoryPicture("user u", ["a", "b", "c"], 1, 2, with_adjacency=True)
    pictures = []
    for place in ((0, 0, 1), (0, 1, 2)):
        couplings = np.zeros((1, 2, 3))
        couplings[place] = 1.0
        pictures.append(picture.draw(couplings, np.full((3, 3), 0.5)).astype(int))
    changed = (pictures[0] != pictures[1]).any(axis=2)
    one = np.array([254, 232, 56])  # cividis at 1
    (top, left), (below, right) = (
        np.nonzero(changed & (np.abs(image - one) < 4).all(axis=2))
        for image in pictures
    )
    assert len(top) > 100  # pixels
    assert len(top) == pytest.approx(len(below), rel=0.1)
    assert top.max() < below.min()
    assert left.max() < right.min()


def test_small_departures_from_a_half_can_be_seen():
    picture = HistoryPicture("user u", ["a", "b"], 1, 1, with_adjacency=True)
    flat = picture.draw(np.ones((1, 1, 2)), np.full((2, 2), 0.5)).astype(int)
    moved = picture.draw(np.ones((1, 1, 2)), np.full((2, 2), 0.51)).astype(int)
    assert np.abs(flat - moved).max() > 15
