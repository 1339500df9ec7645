"""From a shop's log to recommendations: what the report says of them."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from data import prepared
from data.errors import UserError
from data.log_options import LogOptions, parse_columns
from harness import training
from tests import calls, logs

COLUMNS = "--columns=user=klant,item=artikel,timestamp=wanneer"
NUM_USERS, NUM_EVENTS = 30, 10


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """People who take one of their own four items over and over, for most events."""
    path = tmp_path_factory.mktemp("shop") / "kassa.csv"
    rng = np.random.default_rng(1)
    rows = [
        (user, 4 * user + step % 4 if rng.random() < 0.7 else 200 + step, 1e9 + step)
        for user in range(NUM_USERS)
        for step in range(NUM_EVENTS)
    ]
    table = pd.DataFrame(rows, columns=["klant", "artikel", "wanneer"])
    table.astype({"wanneer": int}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def made(log):
    folder = log.parent / "made"
    arguments = (f"--source={log}", f"--output_dir={folder}", COLUMNS)
    ended = calls.call(
        "experiments.from_log", *arguments, "--models=mean_pooling", "--max_epochs=1"
    )
    assert ended.code == 0, ended.err
    return folder, (folder / "report.txt").read_text()


def test_what_is_not_recommended_again_is_no_hit(log, made):
    folder, report = made
    (share,) = re.findall(
        r"(\d+)% of these events are of an item that the user", report
    )
    assert 40 < int(share) < 90
    hits = [float(text) for text in re.findall(r"([\d.]+)% of the test", report)]
    assert len(hits) == 3
    assert max(hits) <= 100 - int(share) + 1
    recommended = pd.read_parquet(folder / "recommendations.parquet")
    had = pd.read_csv(log).astype(str)
    pairs = set(zip(had["klant"], had["artikel"]))
    assert not pairs & set(zip(recommended["user"], recommended["item"]))


def test_the_model_that_recommends_knows_all_events(log, made, tmp_path):
    folder, report = made
    data = prepared.load(folder / "prepared", "kassa", "global_time")
    assert f"is now made again from all {len(data.store.items)} events" in report
    (model,) = (folder / "all_events").iterdir()
    counts = pd.read_parquet(model / "items.parquet")["train_events"]
    assert counts.sum() == NUM_USERS * NUM_EVENTS
    given = (f"--source={log}", f"--output_dir={tmp_path / 'out'}", COLUMNS)
    small = ("--models=mean_pooling", "--max_epochs=1")
    ended = calls.call("experiments.from_log", *given, *small, "--norefit")
    assert ended.code == 0, ended.err
    assert not (tmp_path / "out" / "all_events").exists()
    assert "The model knows the training events." in ended.out
    assert (tmp_path / "out" / "recommendations.parquet").exists()


def test_a_log_of_steps_is_taken_by_its_order(tmp_path, caplog):
    (tmp_path / "days.csv").write_text(logs.of_steps())
    folder = tmp_path / "out"
    given = (f"--source={tmp_path / 'days.csv'}", f"--output_dir={folder}")
    small = ("--models=mean_pooling", "--max_epochs=1", "--norefit")
    ended = calls.call("experiments.from_log", *given, *small)
    assert ended.code == 0, ended.err
    assert "days, leave_one_out: the last event of each user tests" in ended.out
    assert "these are steps and no times" in caplog.text
    assert (folder / "recommendations.parquet").exists()


@pytest.mark.parametrize(("users", "told"), [(29, False), (30, True)])
def test_few_users_are_not_said_to_tell_models_apart(users, told):
    from experiments.studies import own_log

    hits = {"sasrec": np.ones(users, bool), "popularity": np.zeros(users, bool)}
    text = own_log._compared("sasrec", "popularity", hits, np.arange(users))
    assert ("sasrec beats popularity" in text) == told
    assert ("29 test users: too few to tell" in text) == (not told)


def options(*models):
    from data.filters import Filters
    from experiments.studies.own_log import Options

    return Options(LogOptions(), Filters(), [*models], 10, 10, None, False, 1)


def test_how_long_it_takes_is_said_before_anything_is_trained(log, tmp_path, caplog):
    given = (f"--source={log}", f"--output_dir={tmp_path / 'out'}", COLUMNS)
    small = ("--models=mean_pooling", "--max_epochs=1")
    assert calls.call("experiments.from_log", *given, *small).code == 0
    lines = [record.getMessage() for record in caplog.records]
    (said,) = [line for line in lines if line.startswith("Training takes about ")]
    assert lines.index(said) < lines.index("popularity")
    assert "if every model uses its 1 epoch (popularity 8 s, item_knn" in said
    assert "Faster" not in said
    caplog.clear()
    assert calls.call("experiments.from_log", *given, *small).code == 0
    assert "Training takes" not in caplog.text  # Nothing is left to be trained.


@pytest.mark.parametrize(
    ("models", "faster"),
    [
        (["sasrec", "mgnm_plus"], "--models=sasrec (ARGS=--models=... of make)"),
        (["mgnm_plus"], "--models=sasrec (ARGS=--models=... of make)"),
        (["gru4rec", "caser", "tgsrec"], "--models=gru4rec,caser (ARGS="),
    ],
)
def test_a_long_training_names_a_faster_one(made, monkeypatch, models, faster):
    from experiments.studies import own_log

    folder, _ = made
    data = prepared.load(folder / "prepared", "kassa", "global_time")
    large = own_log.estimate.Size(50_000, 20_000, 900_000, 90_000, 90_000, 30.0)
    monkeypatch.setattr(own_log.estimate.Size, "of", lambda _: large)
    text = own_log.expected([*own_log.SIMPLE, *models], data, options(*models))
    alone = own_log.expected(["popularity"], data, options("sasrec"))
    assert f"Faster: {faster}" in text
    assert "Faster" not in alone


def test_a_model_without_rates_is_said_to_have_none(made, monkeypatch):
    from experiments.studies import own_log

    folder, _ = made
    data = prepared.load(folder / "prepared", "kassa", "global_time")
    monkeypatch.setattr(own_log.estimate, "of_run", lambda config, size: None)
    text = own_log.expected(["sasrec"], data, options("sasrec"))
    assert "(sasrec unknown)" in text


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (UserError("It needs times."), UserError, "No model could be .*It needs times"),
        (ValueError("shapes"), ValueError, "^shapes$"),
    ],
)
def test_a_fault_of_the_code_leaves_no_model_out(
    log, tmp_path, monkeypatch, error, raised, message
):
    from experiments.studies import own_log

    def fails(*arguments):
        raise error

    monkeypatch.setattr(own_log.runner, "run", fails)
    columns = parse_columns(COLUMNS.removeprefix("--columns="))
    given = dataclasses.replace(options("sasrec"), log=LogOptions(columns=columns))
    with pytest.raises(ValueError, match=message) as caught:
        own_log.recommend(log, tmp_path / "out", given)
    assert type(caught.value) is raised


def test_other_flags_for_reading_are_another_log(log, made):
    folder, _ = made
    given = (f"--source={log}", f"--output_dir={folder}", COLUMNS, "--deduplicate")
    ended = calls.call("experiments.from_log", *given)
    assert ended.code == 1
    assert "was made from another log, or with other flags for reading" in ended.err


def test_a_log_whose_past_is_kept_has_a_folder_of_its_own(log, monkeypatch):
    from experiments.studies import own_log

    folders = []
    monkeypatch.setattr(
        own_log, "recommend", lambda _, folder, __: folders.append(folder)
    )
    for flag in ([], ["--keep_past"]):
        given = (f"--source={log}", COLUMNS, *flag)
        assert calls.call("experiments.from_log", *given).code == 0
    assert list(map(str, folders)) == [
        "recommended/kassa",
        "recommended/kassa-keep_past",
    ]


def test_ctrl_c_in_a_training_ends_in_a_sentence(log, tmp_path, monkeypatch):
    def stopped(*_):
        raise training.Interrupted

    monkeypatch.setattr(training, "train", stopped)
    given = (f"--source={log}", f"--output_dir={tmp_path / 'out'}", COLUMNS)
    ended = calls.call("experiments.from_log", *given, "--models=mean_pooling")
    assert ended.code == 1
    assert not ended.is_traceback
    assert ended.err.endswith("Stopped. The same command goes on from there.\n")
