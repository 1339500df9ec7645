"""What models with and without order make of other orders, and the report of it."""

from __future__ import annotations

import csv
import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from data.altered_histories import reorder_simultaneous
from data.errors import UserError
from data.manifest import MANIFEST
from experiments.studies.fragility import measure, report
from experiments.studies.fragility import table as fragility_table
from harness import defaults, ledger, run_folder, runner
from tests.datasets import make_days
from tests.runs import write_run
from tests.slow import slow_but

SMALL = {"batch_size": 32, "max_epochs": 2, "max_history": 8}
SHOP = ("shop", "global_time")


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    return make_days(tmp_path_factory.mktemp("days"))


@pytest.fixture(
    scope="module", params=slow_but(["mean_pooling", "sasrec"], ["mean_pooling"])
)
def measured(request, days, tmp_path_factory):
    """A finished run and what was left in it."""
    run_dir = tmp_path_factory.mktemp(request.param) / "seed-1"
    runner.run(defaults.get_config(request.param, "days", **SMALL), days, run_dir, 1)
    folder = measure.measure(run_dir, days.folder.parent.parent)
    return request.param, run_dir, folder


def results_of(measured):
    return measure.read_results(measured[1])["orders"]


def ranks_of(measured, order):
    table = pd.read_parquet(measured[2] / "ranks.parquet")
    return [rows for _, rows in table[table["order"] == order].groupby("draw")]


def test_a_model_without_order_has_the_same_metrics_under_shuffled_histories(measured):
    model, _, _ = measured
    orders = results_of(measured)
    (stored,) = orders["stored"]
    same = [draw["metrics"] == stored["metrics"] for draw in orders["shuffled"]]
    assert same == [model == "mean_pooling"] * 3


def test_the_metrics_of_the_stored_order_are_those_of_the_run(measured):
    _, run_dir, _ = measured
    passport = json.loads((run_dir / "passport.json").read_text())
    own = passport["metrics"]["test"]["uni1000"]
    (stored,) = results_of(measured)["stored"]
    for grouping, values in own.items():
        assert stored["metrics"][grouping] == pytest.approx(values)


def test_a_run_that_a_sample_ranks_is_measured_on_that_sample(days, tmp_path):
    run_dir = tmp_path / "seed-1"
    config = defaults.get_config("mean_pooling", "days", **SMALL, test_instances=9)
    passport = runner.run(config, days, run_dir, 1)
    folder = measure.measure(run_dir, days.folder.parent.parent)
    results = measure.read_results(run_dir)
    (stored,) = results["orders"]["stored"]
    own = passport["metrics"]["test"]["uni1000"]
    assert results["instances"] == 9 < len(days.instances["test"])
    assert stored["metrics"]["instance"] == pytest.approx(own["instance"])
    counts = pd.read_parquet(folder / "ranks.parquet").groupby(["order", "draw"]).size()
    assert (counts == 9).all()


def test_redrawn_targets_are_the_same_events_in_another_order(measured, days):
    (stored,) = ranks_of(measured, "stored")
    redrawn = ranks_of(measured, "redrawn")
    assert len(redrawn) == 10
    draws = results_of(measured)["redrawn"]
    for draw, rows in zip(draws, redrawn):
        changed = rows["item"].to_numpy() != stored["item"].to_numpy()
        assert draw["targets_changed"] == changed.sum() > 0
        for column in ("user", "time"):
            np.testing.assert_array_equal(rows[column], stored[column])
        # By global time no day is parted: a user's test items are the same ones.
        assert draw["targets_trained"] == 0
        one, other = (
            rows.sort_values(["user", "item"])["item"].tolist()
            for rows in (rows, stored)
        )
        assert one == other
    assert len({draw["metrics"]["instance"]["gauc"] for draw in draws}) > 1


@pytest.mark.parametrize("order", ["shuffled", "another_user"])
def test_other_histories_leave_targets_and_candidates_alone(measured, order):
    (stored,) = ranks_of(measured, "stored")
    drawn = ranks_of(measured, order)
    assert len(drawn) == 3
    for rows in drawn:
        for column in ("user", "item", "time", "candidates"):
            np.testing.assert_array_equal(rows[column], stored[column])


def test_each_order_is_a_look_of_the_ledger(measured):
    _, run_dir, _ = measured
    looks = [look["what"] for look in ledger.looks(run_dir.parent)]
    assert looks[-4:] == [
        "uni1000, stored order, draws: 1",
        "uni1000, redrawn order, draws: 10",
        "uni1000, shuffled order, draws: 3",
        "uni1000, another_user order, draws: 3",
    ]


def test_what_is_there_is_left_alone(measured, days):
    _, run_dir, folder = measured
    looks = len(ledger.looks(run_dir.parent))
    before = folder.stat().st_mtime_ns
    assert measure.measure(run_dir, days.folder.parent.parent) == folder
    assert folder.stat().st_mtime_ns == before
    assert len(ledger.looks(run_dir.parent)) == looks


def test_what_an_older_version_left_is_measured_again(measured, days, tmp_path):
    run_dir = tmp_path / "older" / "seed-1"
    shutil.copytree(measured[1], run_dir)
    path = run_dir / measure.FOLDER / measure.RESULTS
    results = json.loads(path.read_text())
    del results["orders"]["another_user"]
    path.write_text(json.dumps(results))
    with pytest.raises(UserError, match=r"fragility\.json is damaged"):
        measure.read_results(run_dir)
    (path.parent / MANIFEST).unlink()  # An older version had none.
    assert measure.read_results(run_dir) is None
    measure.measure(run_dir, days.folder.parent.parent)
    assert "another_user" in measure.read_results(run_dir)["orders"]


@pytest.fixture
def again(measured, tmp_path):
    """The run as it was before, elsewhere."""
    run_dir = tmp_path / "again" / "seed-1"
    shutil.copytree(measured[1], run_dir)
    shutil.rmtree(run_dir / measure.FOLDER)
    return run_dir


def test_a_run_that_is_not_sealed_is_not_looked_into(again, days):
    (again / ledger.SEAL).unlink()
    with pytest.raises(ValueError, match=r"seal\.json is missing"):
        measure.measure(again, days.folder.parent.parent)
    assert not (again / measure.FOLDER).exists()
    assert ledger.looks(again.parent) == []


def test_data_of_another_run_are_refused(again, tmp_path):
    make_days(tmp_path / "other", num_users=39)
    with pytest.raises(ValueError, match="are not those of the run"):
        measure.measure(again, tmp_path / "other")
    assert ledger.looks(again.parent) == []


def test_a_failure_leaves_no_folder(again, days, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(run_folder, "write_ranks", fail)
    with pytest.raises(OSError, match="disk full"):
        measure.measure(again, days.folder.parent.parent)
    assert not (again / measure.FOLDER).exists()
    monkeypatch.undo()
    assert measure.measure(again, days.folder.parent.parent).exists()


def test_data_without_times_have_no_redrawn_order(tmp_path):
    data = make_days(tmp_path, times=False)
    run_dir = tmp_path / "runs/days/leave_one_out/mean_pooling/seed-1"
    runner.run(defaults.get_config("mean_pooling", "days", **SMALL), data, run_dir, 1)
    measure.measure(run_dir, tmp_path)
    results = measure.read_results(run_dir)
    assert list(results["orders"]) == ["stored", "shuffled", "another_user"]
    assert results["simultaneous"] is None
    pair = [("days", "leave_one_out")]
    text = report.write(tmp_path / "out", tmp_path / "runs", pair)
    assert "unknown for data without times" in text
    assert "| redrawn |" not in text


def test_a_split_that_parts_a_day_says_what_training_saw(tmp_path):
    data = make_days(tmp_path)
    users = np.arange(1, 41)
    rows = [(user, end) for user in users for end in range(1, 7)]
    data.instances["train"] = np.array(rows, np.int32)
    data.instances["test"] = np.stack([users, np.full(40, 7)], axis=1).astype(np.int32)
    every = np.arange(40)
    # Events 7 and 8 are of one day, 5 and 6 of the one before: none is parted.
    changed = reorder_simultaneous(data, 1)
    assert measure.compare_targets(changed, every)["targets_trained"] == 0
    data.instances["train"] = np.array([*rows, *((u, 7) for u in users)], np.int32)
    data.instances["test"][:, 1] = 8
    found = measure.compare_targets(reorder_simultaneous(data, 1), every)
    assert found["targets_trained"] == found["targets_changed"] > 5


# The report


def write_orders(runs, model, seed, stored, redrawn, shuffled, shift=0):
    """What the command would have left: every metric has the values given."""
    passport = write_run(runs, model, seed, shift=3)
    folder = runs / "shop/global_time" / model / f"seed-{seed}"
    names = passport["metrics"]["test"]["uni1000"]["instance"]
    tables, orders = [], {}
    own = pd.read_parquet(folder / "ranks.parquet")
    for order, values in (
        ("stored", [stored]),
        ("redrawn", redrawn),
        ("shuffled", shuffled),
        ("another_user", shuffled),
    ):
        orders[order] = [
            {
                "targets_changed": 4,
                "targets_trained": 0,
                "metrics": {
                    grouping: dict.fromkeys(names, value)
                    for grouping in ("instance", "user")
                },
            }
            for value in values
        ]
        for number in range(len(values)):
            moved = own["rank_pessimistic"] + shift * (
                order in ("shuffled", "another_user")
            )
            table = own.assign(rank_pessimistic=moved, rank_optimistic=moved)
            tables.append(table.assign(order=order, draw=number))
    (folder / "fragility").mkdir()
    pd.concat(tables).to_parquet(folder / "fragility/ranks.parquet")
    results = {
        "protocol": "uni1000",
        "commit": "abc",
        "instances": 200,
        "simultaneous": 50,
        "orders": orders,
    }
    (folder / "fragility/fragility.json").write_text(json.dumps(results))


@pytest.fixture
def shop(tmp_path):
    write_orders(tmp_path, "caser", 1, 0.3, [0.2, 0.4], [0.1, 0.1], shift=20)
    write_orders(tmp_path, "mgnm", 1, 0.5, [0.3, 0.4], [0.5, 0.5])
    write_orders(tmp_path, "gru4rec", 1, 0.4, [0.1, 0.5], [0.2, 0.6])
    return tmp_path


def test_a_row_is_the_mean_sd_and_range_of_its_draws(shop):
    text = report.write(shop / "out", shop, [SHOP])
    rows = list(csv.DictReader(io.StringIO((shop / "out/fragility.csv").read_text())))
    assert len(rows) == 3 * 4 * 2 * 4
    (row,) = (
        row
        for row in rows
        if (row["model"], row["order"], row["grouping"], row["metric"])
        == ("gru4rec", "redrawn", "instance", "ndcg@5")
    )
    found = [float(row[key]) for key in ("mean", "sd", "min", "max")]
    assert found == pytest.approx([0.3, 0.4 / np.sqrt(2), 0.1, 0.5], abs=1e-6)
    assert "| 0.3000 ± 0.2828 [0.1000, 0.5000] |" in text
    assert "training saw the stored order" in text
    lines = (shop / "out/fragility.jsonl").read_text().splitlines()
    runs = {run["model"]: run for run in map(json.loads, lines)}
    assert {(run["dataset"], run["split"], run["seed"]) for run in runs.values()} == {
        (*SHOP, 1)
    }
    draws = runs["gru4rec"]["fragility"]["orders"]["redrawn"]
    assert [d["metrics"]["instance"]["ndcg@5"] for d in draws] == [0.1, 0.5]


def test_a_stored_value_beyond_all_draws_is_marked(shop):
    table = fragility_table.make_table(shop, *SHOP)
    found = {
        model: fragility_table.outside(table, model, "ndcg@5") for model in table.values
    }
    assert found == {"caser": False, "gru4rec": False, "mgnm": True}


def test_shuffled_histories_that_change_ranks_are_marked(shop):
    table = fragility_table.make_table(shop, *SHOP)
    for order in ("shuffled", "another_user"):
        marks = table.by_users[order]
        assert marks["caser"] == dict.fromkeys(marks["caser"], True)
        assert not any(marks["mgnm"].values())
    text = report.to_markdown([table])
    assert "Of 3 models, shuffled histories change beyond chance: 1 in GAUC" in text
    assert "another user's history changes beyond chance: 1 in GAUC" in text
    assert "as far as the instances can tell: GRU4Rec, MGNM." in text
    assert "|  | history shuffled | 0.1000 ± 0.0000 † |" in text
    assert "|  | another user's history | 0.1000 ± 0.0000 † |" in text


def test_events_of_training_among_the_targets_are_said(shop):
    table = fragility_table.make_table(shop, *SHOP)
    assert not [text for text in table.notes if "events that training saw" in text]
    path = shop / "shop/global_time/caser/seed-1/fragility/fragility.json"
    path.write_text(
        path.read_text().replace('"targets_trained": 0', '"targets_trained": 9')
    )
    table = fragility_table.make_table(shop, *SHOP)
    (text,) = (text for text in table.notes if "events that training saw" in text)
    assert "9 of 200 targets on average" in text


def test_tau_with_the_stored_order_by_hand(shop):
    table = fragility_table.make_table(shop, *SHOP)
    # Caser, GRU4Rec, MGNM stand 0.3 < 0.4 < 0.5. The first draw has 0.2, 0.1, 0.3:
    # one pair of three is swapped. The second has 0.4, 0.5, 0.4: one agrees, one is
    # swapped, one is tied.
    found = fragility_table.taus(table, "redrawn", "ndcg@5")
    assert found == pytest.approx([1 / 3, 0.0])


def test_seeds_are_averaged_draw_by_draw(tmp_path):
    write_orders(tmp_path, "mgnm", 1, 0.2, [0.1, 0.5], [0.2, 0.2])
    write_orders(tmp_path, "mgnm", 2, 0.4, [0.3, 0.1], [0.2, 0.2])
    table = fragility_table.make_table(tmp_path, *SHOP)
    values = table.values["mgnm"]
    assert values["stored"]["instance"]["hit@5"] == pytest.approx([0.3])
    assert values["redrawn"]["instance"]["hit@5"] == pytest.approx([0.2, 0.3])


def test_runs_that_nothing_looked_into_are_said(tmp_path):
    write_run(tmp_path, "mgnm", 1, 0)
    assert fragility_table.measured(tmp_path, *SHOP) == {}
    with pytest.raises(ValueError, match="`make reproduce-fragility` does"):
        fragility_table.make_table(tmp_path, *SHOP)
