"""A folder of logs, and runs that count for their data and settings alone."""

from __future__ import annotations

import dataclasses
import json
import shlex

import numpy as np
import pytest

from data import locks, prepared
from data.errors import UserError
from data.filters import Filters
from data.log_options import LogOptions
from experiments.reproduction import grid, profiles
from experiments.results import finished_runs
from harness import metrics, rankings
from harness.metrics import Ranks
from tests import logs
from tests.calls import call
from tests.runs import write_run


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "my logs"
    path.mkdir()
    return path


def put(folder, *names):
    for name in names:
        (folder / name).write_bytes(logs.PLAIN)


def test_each_log_of_a_folder_has_a_name_of_its_own(folder, caplog):
    put(folder, "jan.csv_part1.csv", "jan.csv_part2.csv", "SHOP.CSV", "a b.tsv")
    put(folder, "x.csv.gz", "README.md", "notes.txt")
    found = profiles.log_files(str(folder))
    assert {name: path.name for name, path in found.items()} == {
        "SHOP": "SHOP.CSV",
        "a-b": "a b.tsv",
        "jan.csv_part1": "jan.csv_part1.csv",
        "jan.csv_part2": "jan.csv_part2.csv",
        "x": "x.csv.gz",
    }
    assert "README.md, notes.txt" in caplog.text


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.csv", "a.tsv"], r"a\.tsv and a\.csv would both be called a"),
        (["README.md"], "There is no log in"),
    ],
)
def test_a_folder_without_the_logs_of_a_table_is_said(folder, names, message):
    put(folder, *names)
    with pytest.raises(UserError, match=message):
        profiles.log_files(str(folder))


def test_no_folder_is_said(tmp_path):
    with pytest.raises(UserError, match="DATA_DIR"):
        profiles.log_files(None)
    with pytest.raises(UserError, match="There is no folder"):
        profiles.log_files(str(tmp_path / "absent"))


@pytest.fixture
def options(folder, tmp_path):
    put(folder, "shop.csv")
    return grid.Options(
        profile="folder",
        csv_dir=str(folder),
        prepared_dir=tmp_path / "prepared",
        runs_dir=tmp_path / "runs",
        reports_dir=tmp_path / "reports",
        max_epochs=1,
    )


def prepare(options):
    grid.prepare(options)
    return prepared.load(options.prepared_dir, "shop").meta


def test_a_log_that_has_changed_is_prepared_again(options, folder):
    first = prepare(options)
    stamp = (options.prepared_dir / "shop/global_time/meta.json").stat().st_mtime_ns
    assert prepare(options) == first
    path = options.prepared_dir / "shop/global_time/meta.json"
    assert path.stat().st_mtime_ns == stamp
    lines = logs.PLAIN.splitlines(keepends=True)
    (folder / "shop.csv").write_bytes(b"".join(lines[:-8]))
    second = prepare(options)
    assert second["statistics"]["users"] == first["statistics"]["users"] - 1


def test_a_log_of_steps_is_split_by_its_order(options, folder, tmp_path, caplog):
    (folder / "shop.csv").write_text(logs.of_steps())
    assert grid.prepare(options) == [("shop", "leave_one_out")]
    assert "these are steps and no times" in caplog.text
    plan = planned(folder, tmp_path)
    assert plan.code == 0, plan.err
    assert "shop, leave_one_out: prepared" in plan.out


SHOPS = ("--columns=user=who,item=what,timestamp=when", "--separator=;")


def of_a_shop(folder):
    """A log that only flags explain; every row stands there twice."""
    rows = logs.PLAIN.decode().splitlines()[1:]
    shops = ["who;what;when;channel"]
    shops += [f"{row.replace(',', ';')};web" for row in rows for _ in range(2)]
    (folder / "shop.csv").write_text("\n".join(shops) + "\n")


def planned(folder, tmp_path, *flags):
    return call(
        *("experiments.reproduce_table2", "--profile=folder", "--dry_run"),
        *(f"--data_dir={folder}", f"--prepared_dir={tmp_path}/prepared"),
        *(f"--runs_dir={tmp_path}/runs", f"--reports_dir={tmp_path}/reports"),
        *flags,
    )


def test_what_the_flags_say_of_a_log_reaches_its_preparation(folder, tmp_path):
    of_a_shop(folder)
    unnamed = planned(folder, tmp_path)
    assert "Name the columns: --columns=" in unnamed.sentence
    plan = planned(folder, tmp_path, *SHOPS, "--where=channel=web", "--deduplicate")
    assert plan.code == 0, plan.err
    typed = shlex.split(plan.out.split("This prepares it: ")[1].splitlines()[0])
    assert typed[:3] == ["python", "-m", "data.prepare"]
    assert call(*typed[2:]).code == 0
    meta = prepared.load(tmp_path / "prepared", "shop", "global_time").meta
    assert meta["log"]["dropped"]["duplicates"] == meta["log"]["rows"] / 2
    options = grid.Options(
        *("folder", str(folder), tmp_path / "prepared", tmp_path, tmp_path),
        log=LogOptions(
            columns={"user": "who", "item": "what", "timestamp": "when"},
            separator=";",
            where={"channel": ("web",)},
        ),
        filters=Filters(deduplicate=True),
    )
    # What the printed command has prepared is what the grid would prepare.
    assert grid.prepare(options) == [("shop", "global_time")]
    assert prepare(options) == meta
    again = prepare(dataclasses.replace(options, filters=Filters()))
    assert again["log"]["dropped"].get("duplicates", 0) == 0


def test_a_plan_says_that_other_flags_prepare_again(folder, tmp_path):
    of_a_shop(folder)
    flags = (*SHOPS, "--deduplicate")
    plan = planned(folder, tmp_path, *flags)
    call(*shlex.split(plan.out.split("This prepares it: ")[1].splitlines()[0])[2:])
    assert "shop, global_time: prepared; " in planned(folder, tmp_path, *flags).out
    other = planned(folder, tmp_path, *SHOPS)
    assert f"to be prepared again from {folder}/shop.csv; as it is" in other.out


def test_a_plan_prepares_a_well_known_file_as_the_grid_does(folder, tmp_path):
    rows = ["user,item,rating,timestamp"]
    rows += [
        f"{u},{(u * t) % 9},{t % 5},{1_600_000_000 + t * 86_400}"
        for u in range(1, 30)
        for t in range(1, 9)
    ]
    (folder / "instruments_5core.csv").write_text("\n".join(rows) + "\n")
    assert "--rating_above=2.0" in planned(folder, tmp_path).out


def test_flags_of_logs_are_refused_where_no_log_is_read():
    done = call("experiments.reproduce", "--what=table2", "--dry_run", *SHOPS)
    assert done.code == 1
    assert "it goes with --profile=folder. Received: --profile=quick" in done.sentence


def test_damaged_data_are_prepared_again(options):
    first = prepare(options)
    (options.prepared_dir / "shop/global_time/items.npy").write_bytes(b"")
    assert prepare(options) == first


RUN = grid.GridRun("shop", "global_time", 1, "mean_pooling")


@pytest.fixture
def stored(options):
    """A run as the grid's command would have left it."""
    sha256 = prepare(options)["sha256"]
    folder = RUN.folder(options)
    folder.mkdir(parents=True)
    identity = RUN.identity(options, sha256)
    (folder / "config.json").write_text(json.dumps(identity))
    return folder


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({}, None),
        ({"max_epochs": 20}, "max_epochs"),
        ({"recipe": "strong"}, ".*recipe"),
    ],
)
def test_a_run_counts_for_the_settings_that_are_asked_for(
    options, stored, change, named
):
    asked = dataclasses.replace(options, **change)
    if named is None:
        grid.check_current(asked, [RUN])
        return
    with pytest.raises(UserError, match=rf": 1 run in .*, which differs in .*{named}"):
        grid.check_current(asked, [RUN])
    assert (stored / "config.json").exists()


def test_a_run_counts_for_its_data(options, stored, folder):
    lines = logs.PLAIN.splitlines(keepends=True)
    (folder / "shop.csv").write_bytes(b"".join(lines[:-8]))
    prepare(options)
    with pytest.raises(UserError, match=r"seed-1, which differs in data\."):
        grid.make(options, [RUN])


def test_the_command_has_what_the_identity_says(options):
    arguments = {"num_interests": 2, "routing_axis": "capsules"}
    run = grid.GridRun("shop", "global_time", 3, "mgnm", "study-x", arguments)
    identity = run.identity(options, "f" * 64)
    assert "--set=num_interests=2" in run.command(options)
    assert "--max_epochs=1" in run.command(options)
    assert {**identity["arguments"], **arguments} == identity["arguments"]
    assert (identity["seed"], identity["max_epochs"]) == (3, 1)
    assert (identity["variant"], identity["data"]) == ("study-x", "f" * 64)


def test_who_is_missing_from_a_table_is_said(tmp_path):
    write_run(tmp_path, "mgnm", 1, shift=0)
    stopped = tmp_path / "shop/global_time/popularity/seed-1"
    stopped.mkdir(parents=True)
    (stopped / "config.json").write_text("{}")
    study = tmp_path / "shop/global_time/mgnm-study-full/seed-1"
    study.mkdir(parents=True)
    (study / "config.json").write_text("{}")
    runs = finished_runs.read_runs(tmp_path, "shop", "global_time")
    found = [text for text in finished_runs.run_warnings(runs) if "Popularity" in text]
    assert found == ["Popularity, seed-1: failed or stopped, and so not in this table."]
    with locks.writing(stopped, "trained"):
        found = finished_runs.run_warnings(runs)
        assert "Popularity, seed-1: still under way, and so not in this table." in found
    assert not locks.is_being_written(stopped)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"runs_at_once": 2}, "unlike shares of one machine"),
        ({"cpu": "another", "runs_at_once": 2}, "several machines"),
    ],
)
def test_whether_costs_compare_is_said(tmp_path, changes, said):
    machine = {"cpu": "a CPU", "cores": 2, "memory_gb": 1, "gpu": None}
    write_run(tmp_path, "mgnm", 1, shift=0, machine=machine)
    write_run(tmp_path, "gru4rec", 1, shift=0, machine={**machine, **changes})
    runs = finished_runs.read_runs(tmp_path, "shop", "global_time")
    found = [t for t in finished_runs.run_warnings(runs) if "costs do not" in t]
    assert len(found) == (said is not None)
    assert not found or said in found[0]


def test_several_budgets_and_ties_of_counts_are_said(tmp_path):
    for model in ("mgnm", "popularity"):
        write_run(tmp_path, model, 1, shift=0)
        path = tmp_path / f"shop/global_time/{model}/seed-1/passport.json"
        passport = json.loads(path.read_text())
        passport["training"]["max_epochs"] = 20 if model == "mgnm" else 30
        passport["ties"] = {"uni1000": 0.0, "full": 0.25 * (model == "popularity")}
        path.write_text(json.dumps(passport))
    runs = finished_runs.read_runs(tmp_path, "shop", "global_time")
    text = " ".join(finished_runs.run_warnings(runs))
    assert "several budgets: 20, 30 epochs" in text
    assert "Popularity: its scores tie" in text
    assert "under full would be up to 0.2500 higher" in text
    assert "MGNM: its scores tie" not in text


def test_counts_may_tie_and_scores_may_not():
    ranks = Ranks(
        pessimistic=np.array([5, 0]),
        optimistic=np.array([0, 0]),
        negatives=np.array([9, 9]),
    )
    ranking = rankings.Ranking(np.zeros((2, 2), np.int32), ranks, None)
    found = rankings.summarise(ranking, may_tie=True)["instance"]
    assert found["hit@5"] == 0.5
    assert metrics.tie_gap(ranks) == 0.5
    with pytest.raises(ValueError, match="Ties decide"):
        rankings.summarise(ranking)


def test_the_old_name_of_the_profile_of_a_folder_still_works(folder, tmp_path):
    put(folder, "shop.csv")
    found = [
        grid.prepare(grid.Options(name, str(folder), tmp_path, tmp_path, tmp_path))
        for name in ("folder", "public")
    ]
    assert found[0] == found[1] == [("shop", "global_time")]


def test_the_old_name_of_a_profile_is_taken_and_not_listed(folder, tmp_path):
    put(folder, "shop.csv")
    flags = ("--dry_run", f"--data_dir={folder}", f"--runs_dir={tmp_path}")
    taken = call("experiments.reproduce_table2", "--profile=public", *flags)
    assert taken.code == 0, taken.err
    assert "shop, global_time" in taken.out
    refused = call("experiments.reproduce_table2", "--profile=nonsense", *flags)
    assert refused.code == 1
    assert "<folder|paper|quick|toys-5core>" in refused.err


def test_every_profile_but_an_old_name_is_listed():
    assert {*profiles.PROFILES} - {*profiles.NAMES} == {"public"}


def test_a_reading_of_mgnm_is_a_row_beside_all_models(tiny_data, tmp_path):
    options = grid.Options(
        "paper", None, tiny_data.folder.parents[1], tmp_path, tmp_path
    )
    assert "mgnm-linear_long" in grid.chosen_models(None, options.readings)
    quick = dataclasses.replace(options, profile="quick")
    strong = dataclasses.replace(options, recipe="strong")
    assert quick.readings == strong.readings == ()
    assert "mgnm-linear_long" not in grid.chosen_models(None)
    models = grid.chosen_models(["mgnm", "mgnm-linear"])
    data = tiny_data.folder
    assert grid.with_variants(options, models, data.parent.name, data.name) == [
        ("mgnm", "paper"),
        ("mgnm", "linear"),
    ]
    with pytest.raises(UserError, match=r"no \['mgnm-lineal'\]; there"):
        grid.chosen_models(["mgnm-lineal"])
