"""A model that is trained again on all events: what it knows, and what it refuses."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from data.errors import UserError
from experiments.results import finished_runs
from harness import (
    defaults,
    epoch,
    passport,
    refit,
    reopen,
    run_folder,
    runner,
    training,
)
from serving.recommender import Recommender
from tests import runs
from tests.calls import call


@pytest.fixture(scope="module")
def data_dir(tiny_data):
    return tiny_data.folder.parent.parent


@pytest.fixture(scope="module")
def run_dir(tiny_data, tmp_path_factory):
    """A finished run of few epochs."""
    folder = tmp_path_factory.mktemp("runs") / "tiny/global_time/mean_pooling/seed-1"
    config = defaults.get_config("mean_pooling", "tiny", max_epochs=4, batch_size=16)
    runner.run(config, tiny_data, folder, seed=1)
    return folder


@pytest.fixture(scope="module")
def made(run_dir, data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "shop"
    refit.refit(run_dir, data_dir, folder)
    return folder


def test_it_knows_all_events(tiny_data, run_dir, made):
    parts = tiny_data.instances
    every = refit.with_all_events(tiny_data).instances["train"]
    assert sorted(map(tuple, every)) == sorted(
        tuple(row) for part in ("train", "valid", "test") for row in parts[part]
    )
    before, after = (
        pd.read_parquet(folder / "items.parquet")["train_events"]
        for folder in (run_dir, made)
    )
    assert after.tolist() == np.bincount(tiny_data.store.items)[1:].tolist()
    assert after.sum() > before.sum()


def test_it_has_the_epochs_that_validation_chose(run_dir, made):
    before, after = passport.read(run_dir).passport, passport.read(made).passport
    best = before["training"]["best_epoch"]
    assert after["training"]["epochs"] == best
    assert after["training"]["max_epochs"] == 4  # Over which the rate falls.
    assert after["refit"]["epochs"] == best
    assert after["config"] == before["config"]
    ours, theirs = runs.weights_of(made), runs.weights_of(run_dir)
    assert any(not np.array_equal(ours[name], theirs[name]) for name in ours)


def test_it_recommends_and_cannot_be_ranked(made, data_dir):
    answer = Recommender.load(made, data_dir).recommend(users=["1"], k=2)
    assert len(answer) == 2
    with pytest.raises(UserError, match="was trained on the test instances too"):
        reopen.open_run(made, data_dir)
    with pytest.raises(UserError, match="knows all events already"):
        refit.refit(made, data_dir, made.parent / "again")


def test_no_table_takes_it(run_dir, made, tmp_path):
    models = tmp_path / "tiny/global_time"
    shutil.copytree(run_dir, models / "mean_pooling/seed-1")
    shutil.copytree(made, models / "gru4rec/seed-1")
    found = finished_runs.models_runs(tmp_path, "tiny", "global_time")
    assert [*found] == ["mean_pooling"]


def test_a_finished_one_is_found_and_another_refused(
    run_dir, made, data_dir, mgnm_run, monkeypatch
):
    def trained(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "train_epochs", trained)
    refit.refit(run_dir, data_dir, made)
    for folder in (made, run_dir):
        with pytest.raises(UserError, match="something else than this run's model"):
            refit.refit(mgnm_run[0], data_dir, folder)


def test_a_stopped_one_goes_on_to_the_same_bits(
    run_dir, made, data_dir, tmp_path, monkeypatch
):
    run_epoch, asked = epoch.run_epoch, []

    def stopped(model, data, config, seed, number, first_step, stopping):
        asked.append(number)
        stop = (lambda: True) if len(asked) == 1 else stopping
        return run_epoch(model, data, config, seed, number, first_step, stop)

    monkeypatch.setattr(training, "run_epoch", stopped)
    with pytest.raises(training.Interrupted):
        refit.refit(run_dir, data_dir, tmp_path / "shop")
    with pytest.raises(UserError, match="no finished run"):
        passport.read(tmp_path / "shop")
    refit.refit(run_dir, data_dir, tmp_path / "shop")
    runs.assert_same_weights(tmp_path / "shop", made)
    assert not (tmp_path / "shop" / run_folder.CHECKPOINT).exists()


def test_what_counts_counts_all(tiny_data, data_dir, tmp_path):
    config = defaults.get_config("popularity", "tiny")
    runner.run(config, tiny_data, tmp_path / "run", seed=1)
    ended = call(
        "experiments.refit",
        *(f"--run_dir={tmp_path}/run", f"--data_dir={data_dir}"),
        f"--to={tmp_path}/all",
    )
    assert ended.code == 0, ended.err
    answer = Recommender.load(tmp_path / "all").recommend(history=[], k=1)
    assert answer["score"][0] == np.bincount(tiny_data.store.items)[1:].max()
    stored = json.loads((tmp_path / "all" / run_folder.PASSPORT).read_text())
    assert stored["metrics"] == {"valid": {}, "test": {}}
