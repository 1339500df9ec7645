"""How a grid's runs are started, ordered, counted and estimated, and what it prints."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
import shlex
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from data.errors import UserError
from experiments.reproduction import forks, grid, plan, stages
from experiments.reproduction.forks import Forks
from harness import defaults, estimate
from harness.estimate import Size
from tests.calls import call

ROOT = Path(__file__).parent.parent


@pytest.fixture
def options(tmp_path):
    return grid.Options(
        profile="quick",
        csv_dir=None,
        prepared_dir=tmp_path / "prepared",
        runs_dir=tmp_path / "runs",
        reports_dir=tmp_path / "reports",
    )


# Forks. What they import first is left out: it takes seconds, and changes nothing here.


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Modules that can be run: one ends well, one badly, one waits for a signal."""
    program = (
        "from experiments.reproduction import forks; import sys; "
        "forks._IMPORTED_BEFORE = (); forks.main(int(sys.argv[2]))"
    )
    monkeypatch.setattr(forks, "_PROGRAM", program)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    (tmp_path / "writes.py").write_text(
        "import os, sys\n"
        "from pathlib import Path\n"
        "Path(sys.argv[1]).write_text(f'{os.getpid()} {__name__} {sys.argv[2:]}')\n"
    )
    (tmp_path / "fails.py").write_text("import sys\nsys.exit('error: no')\n")
    (tmp_path / "waits.py").write_text(
        "import signal, sys, time\n"
        "from pathlib import Path\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "try:\n"
        "    Path(sys.argv[1]).touch()\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    Path(sys.argv[1]).write_text('saved')\n"
        "    sys.exit(1)\n"
    )
    (tmp_path / "killed.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "parricide.py").write_text(
        "import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\n"
    )
    return tmp_path


def run(running, command):
    running.start(command)
    return running.end()


def test_each_command_is_a_process_of_its_own_with_its_flags(commands):
    first, second = commands / "1", commands / "2"
    with Forks() as running:
        assert run(running, ["writes", str(first), "--a=b c"]) == 0
        assert run(running, ["writes", str(second)]) == 0
    one, other = first.read_text().split(" ", 2), second.read_text().split(" ", 2)
    assert one[0] != other[0]
    assert one[1:] == ["__main__", "['--a=b c']"]
    assert other[1:] == ["__main__", "[]"]


def test_a_command_that_fails_leaves_the_next_one_alone(commands, capfd):
    with Forks() as running:
        assert run(running, ["fails"]) == 1
        assert run(running, ["killed"]) == -signal.SIGKILL
        assert run(running, ["writes", str(commands / "1")]) == 0
    assert "error: no" in capfd.readouterr().err


def test_the_next_command_starts_anew_where_the_origin_was_killed(commands):
    with Forks() as running:
        assert run(running, ["parricide"]) != 0
        assert run(running, ["writes", str(commands / "1")]) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at_once", [1, 2])
def test_after_a_signal_the_commands_have_had_the_time_to_save(
    commands, at_once, number
):
    before = signal.getsignal(signal.SIGTERM)
    marks = [commands / f"mark-{place}" for place in range(at_once)]

    def interrupt():
        while not all(mark.exists() for mark in marks):
            time.sleep(0.01)
        os.kill(os.getpid(), number)
        if number == signal.SIGINT:
            # As a terminal does: all processes of the group, this one first, so that
            # it still waits for the others.
            for process in descendants(os.getpid()):
                os.kill(process, number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        forks.run_all(
            {mark.name: ["waits", str(mark)] for mark in marks},
            at_once,
            started=str,
            ended=lambda name, code: None,
        )
    thread.join()
    assert [mark.read_text() for mark in marks] == ["saved"] * at_once
    assert signal.getsignal(signal.SIGTERM) == before


def descendants(process):
    """Children, and theirs, by number."""
    found = []
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def test_two_commands_run_at_once_and_know_it(commands, monkeypatch):
    monkeypatch.delenv("TF_NUM_INTEROP_THREADS", raising=False)
    (commands / "meets.py").write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "own, other = map(Path, sys.argv[1:])\n"
        "own.write_text(os.environ['MGNM_RUNS_AT_ONCE'])\n"
        "assert os.environ['TF_NUM_INTEROP_THREADS'] >= '1'\n"
        "while not other.exists():\n"
        "    time.sleep(0.01)\n"
    )
    one, two = str(commands / "1"), str(commands / "2")
    ends = {}
    forks.run_all(
        {"a": ["meets", one, two], "b": ["meets", two, one], "c": ["fails"]},
        at_once=2,
        started=str,
        ended=ends.__setitem__,
    )
    assert ends == {"a": 0, "b": 0, "c": 1}
    assert Path(one).read_text() == Path(two).read_text() == "2"


@pytest.mark.parametrize(
    ("cores", "memory_mb", "asked", "wanted"),
    [
        (2, 24_000, None, 2),
        (1, 24_000, None, 1),
        (2, 2_000, None, 1),
        (1, 2_000, 3, 3),
    ],
)
def test_two_runs_are_made_at_a_time_where_they_fit(
    rated, monkeypatch, cores, memory_mb, asked, wanted
):
    monkeypatch.setattr(plan, "_GPUS", ())
    monkeypatch.setattr(plan.provenance, "cores", lambda: cores)
    monkeypatch.setattr(plan.provenance, "memory_mb", lambda: memory_mb)
    options = dataclasses.replace(rated, at_once=asked)
    runs = stages.table2_s_runs(options, [("ml-100k", "global_time")])
    assert plan.at_once(options, runs) == wanted
    monkeypatch.setattr(plan, "_GPUS", (__file__,))
    assert plan.at_once(options, runs) == (asked or 1)


def test_commands_that_fail_are_named_and_the_others_counted(commands, caplog):
    caplog.set_level("INFO", logger="absl")
    left = []
    failed = grid.run_commands(
        {
            "a": ["writes", str(commands / "1")],
            "b": ["fails"],
            "c": ["writes", str(commands / "2")],
        },
        after_each=left.append,
    )
    assert failed == ["b"]
    assert left == [2, 0]
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "Run 1 of 3, 0.0 min elapsed: a"
    wanted = r"Run 3 of 3, \d+\.\d min elapsed, about .+ left: c"
    assert re.fullmatch(wanted, lines[-1])


def test_the_clock_corrects_the_estimates_by_what_has_ended(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(grid.time, "monotonic", lambda: now[0])
    clock = grid.Clock({"a": 10.0, "b": 30.0}, trusted=0.0)
    assert clock.text() == "0.0 min elapsed"
    now[0] += 120.0  # Twelve times as long as estimated.
    clock.end("a")
    assert clock.text() == "2.0 min elapsed, about 6.0 min left"
    now[0] += 360.0
    clock.end("b")
    assert clock.text() == "8.0 min elapsed, about 0 s left"


def test_the_clock_begins_with_the_estimates_and_comes_to_what_is_measured(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(grid.time, "monotonic", lambda: now[0])
    clock = grid.Clock({"short": 10.0, "a": 600.0, "b": 600.0}, at_once=2)
    assert clock.text() == "0.0 min elapsed, about 20.2 min left"
    clock.start("short")
    clock.start("a")
    now[0] += 40.0
    clock.end("short")  # Four times as long as estimated, and "a" runs beside it.
    assert clock.text() == "0.7 min elapsed, about 21.9 min left"
    clock.start("b")
    now[0] += 2_400.0
    clock.end("a")
    clock.end("b")
    assert clock.text() == "40.7 min elapsed, about 0 s left"


def test_the_clock_never_doubles_its_estimate_for_one_short_run(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(grid.time, "monotonic", lambda: now[0])
    clock = grid.Clock({"short": 10.0, "long": 600.0})
    clock.start("short")
    now[0] += 60.0
    clock.end("short")
    # By the short run's ratio alone it would be an hour.
    assert clock.text() == "1.0 min elapsed, about 17.1 min left"


# The plan.

# A model without a rate can be registered: it has no estimate.
RATED = sorted(
    model
    for model in defaults.MODEL_SETTINGS
    if estimate.of_run(defaults.get_config(model, "toys"), Size(9, 9, 9, 9, 9, 6.6))
)


@pytest.fixture
def rated(options):
    assert len(RATED) >= 16
    return dataclasses.replace(options, models=RATED)


def test_the_rows_that_a_reader_looks_for_come_first(options):
    runs = stages.table2_s_runs(options, [("ml-100k", "global_time")])
    models = [run.model for run in runs]
    assert models[:3] == ["mgnm", "popularity", "gru4rec"]
    later = plan.seconds(options, runs)[3:]
    assert later == sorted(later, reverse=True)
    assert later[0] > later[-1]
    assert sorted(models) == sorted(defaults.MODEL_SETTINGS)


def test_a_plan_lists_what_is_finished_and_what_the_rest_takes(rated):
    options = rated
    pairs = [("ml-100k", "global_time")]
    runs = stages.table2_s_runs(options, pairs)
    folder = runs[1].folder(options)
    folder.mkdir(parents=True)
    (folder / "passport.json").write_text("{}")
    text = plan.text(options, runs)
    assert "ml-100k, global_time: to be downloaded and prepared; 943 users" in text
    assert ("2 runs are made at a time" in text) == (plan.at_once(options, runs) == 2)
    assert f"{folder}: finished\n" in text
    assert f"{runs[0].folder(options)}: about" in text
    assert f"{len(runs)} runs: 1 finished, {len(runs) - 1} left." in text
    alone = sum(plan.seconds(options, [runs[0], *runs[2:]]))
    spelled = estimate.spell(plan.stretch(plan.at_once(options, runs)) * alone)
    assert f"takes about {spelled} on idle cores, " in text


def test_a_plan_downloads_nothing_and_needs_no_tensorflow(options, tmp_path):
    done = call(
        "experiments.reproduce",
        *("--what=table2", "--profile=paper", "--dry_run", "--recipe=strong"),
        *(f"--prepared_dir={tmp_path}/prepared", f"--runs_dir={tmp_path}/runs"),
    )
    assert done.code == 0, done.err
    assert "toys, as_released: to be downloaded" in done.out
    assert f"{tmp_path}/runs/strong/toys/as_released/mgnm/seed-5: about" in done.out
    assert "The rates are of the paper's recipe" in done.out
    assert "micro_video, by_date: not published" in done.out
    assert "No runs of micro_video: there are no data" in done.out
    assert "runs/strong/micro_video" not in done.out
    assert list(tmp_path.iterdir()) == []


def test_two_runs_at_a_time_are_estimated_as_they_were_measured(rated):
    options = dataclasses.replace(rated, at_once=2)
    runs = stages.table2_s_runs(options, [("ml-100k", "global_time")])
    alone = sum(plan.seconds(options, runs))
    assert alone == pytest.approx(
        281, rel=0.1
    )  # The estimate that `stretch` stands on.
    measured = 360  # From the first run's start to the last one's end.
    assert plan.stretch(2) * alone == pytest.approx(measured, rel=0.15)
    assert plan.stretch(1) == 1
    largest = sorted(cost.memory_mb for cost in plan.costs(options, runs))[-2:]
    assert f"{sum(largest) / 1_000:.1f} GB of memory, and" in plan.text(options, runs)
    assert f"about {estimate.spell(plan.stretch(2) * alone)} on" in plan.text(
        options, runs
    )


def test_the_page_of_costs_and_the_plan_say_the_same(options):
    options = dataclasses.replace(
        options, profile="paper", datasets=["toys"], num_seeds=1, at_once=1
    )
    text = plan.text(options, stages.table2_s_runs(options, [("toys", "as_released")]))
    (total,) = re.findall(r"What is left takes about (\S+ \S+) on", text)
    page = (ROOT / "docs/cost.md").read_text()
    assert f"| **all, one after the other** | | | {total} |" in page
    (mgnm,) = re.findall(r"/mgnm/seed-1: about (\S+ \S+),", text)
    assert re.search(rf"^\| mgnm \| .* \| {re.escape(mgnm)} \|$", page, flags=re.M)


# Estimates.


def config(model, **changes):
    return defaults.get_config(model, "toys", **changes)


TOYS = Size(313_557, 241_657, 500_000, 5_000, 10_000, 6.6)


def test_where_it_was_measured_an_estimate_is_the_measurement():
    rows = json.loads((ROOT / "docs/performance/bench.json").read_text())
    row = rows["workloads"]["toys"]["models"]["gru4rec"]
    few = estimate.of_run(config("gru4rec", max_epochs=1), TOYS)
    more = estimate.of_run(config("gru4rec", max_epochs=3), TOYS)
    epoch = 500_000 / row["positives_per_s"] + 5_000 / row["ranked_per_s"]
    assert more.seconds - few.seconds == pytest.approx(2 * epoch, rel=1e-6)
    # Three copies while it trains, beside the best weights.
    assert few.disk_mb == pytest.approx(4 * 4e-6 * row["parameters"], rel=0.02)


@pytest.mark.parametrize("model", RATED)
def test_an_estimate_grows_with_the_work(model):
    small = estimate.of_run(config(model), TOYS)
    large = Size(400_000, 300_000, 900_000, 5_000, 20_000, 50.0)
    found = estimate.of_run(config(model), large)
    assert found.seconds > small.seconds > 8
    assert found.memory_mb > small.memory_mb > 600
    assert found.disk_mb > small.disk_mb > 0


HISTORIES = {  # Mean history of the training instances, of at most 100 events.
    "toys_5core_order-leave_one_out": 8.8,
    "sports_5core-global_time": 5.8,
    "instruments_5core-global_time-drawn": 4.1,
    "kuairand_likes_hates-by_date-drawn": 39.0,
}


@pytest.mark.parametrize("name", HISTORIES)
def test_the_memory_of_stored_runs_is_estimated_within_a_half(name):
    lines = (ROOT / f"docs/passports/{name}.jsonl").read_text().splitlines()
    passports = [json.loads(line) for line in lines]
    ratios = {}
    for passport in passports:
        if passport["seed"] > 1 or passport["variant"] != "paper":
            continue
        data = passport["data"]
        counts = (data[key] for key in ("users", "items", "train", "valid", "test"))
        arguments = passport["config"]["arguments"]
        asked = dataclasses.replace(config(passport["model"]), arguments=arguments)
        found = estimate.of_run(asked, Size(*counts, HISTORIES[name]))
        ratios[passport["model"]] = found.memory_mb / passport["peak_memory_mb"]
    assert len(ratios) > 8
    assert min(ratios.values()) > 0.6, ratios
    assert max(ratios.values()) < 1.8, ratios


def test_what_was_not_benched_has_no_estimate_and_is_said(options):
    unknown = dataclasses.replace(config("mgnm"), model="shop.models:Mine")
    costs = [estimate.of_run(unknown, TOYS), estimate.of_run(config("mgnm"), TOYS)]
    assert costs[0] is None
    found = plan._totals(options, costs, [], [])
    assert found[-1] == "1 run without an estimate: not in it."


def test_a_plan_of_an_unprepared_log_says_what_prepares_it(options, tmp_path):
    logs = tmp_path / "my logs"
    logs.mkdir()
    (logs / "shop.csv").write_text("user,item,timestamp\n1,2,3\n")
    asked = dataclasses.replace(options, profile="folder", csv_dir=str(logs))
    run = grid.GridRun("shop", "global_time", 1, "item_knn")
    words = plan.text(asked, [run])
    assert words.count("no estimate") == 1
    command = shlex.split(words.splitlines()[-1].partition("prepares it: ")[2])
    assert command[:3] == ["python", "-m", "data.prepare"]
    assert f"--source={logs / 'shop.csv'}" in command
    assert f"--data_dir={options.prepared_dir}" in command


def test_a_plan_says_that_runs_of_other_settings_are_in_the_way(options, monkeypatch):
    def refused(options, runs):
        raise UserError(f"Of other data or settings: {len(runs)} run.")

    monkeypatch.setattr(grid, "check_current", refused)
    monkeypatch.setattr(grid, "is_prepared", lambda options, name, split: True)
    monkeypatch.setattr(plan, "size_of", lambda options, name, split: TOYS)
    run = grid.GridRun("ml-100k", "global_time", 1, "item_knn")
    words = plan.text(options, [run])
    assert words.endswith(
        "\nAs it is, the command will stop. Of other data or settings: 1 run.\n"
    )


def test_the_rates_that_are_kept_are_those_of_the_bench():
    path = ROOT / "docs/figures/rates.py"
    spec = importlib.util.spec_from_file_location("rates", path)
    rates = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rates)
    stored = json.loads(rates.STORED.read_text())
    wanted = {**rates.rates(stored), "memory_mb": rates.memory()}
    assert json.loads(rates.WRITTEN.read_text()) == wanted
    assert sys.modules.get("rates") is None


# The table while it grows.


@pytest.mark.slow
def test_the_table_grows_and_says_that_it_does(options):
    from tests.runs import write_run

    write_run(options.runs_dir, "mgnm", 1, shift=0)
    pairs = [("shop", "global_time"), ("later", "global_time")]
    stages._grow_table2(options, pairs, left=3)
    text = (options.reports_dir / "table2.md").read_text()
    assert "This table grows: 3 runs are still to be made." in text
    picture = (options.reports_dir / "table2.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    write_run(options.runs_dir, "gru4rec", 1, shift=2)
    stages._grow_table2(options, pairs, left=2)
    assert "GRU4Rec" in (options.reports_dir / "table2.md").read_text()
    assert (options.reports_dir / "table2.png").read_bytes() != picture


@pytest.fixture
def grown(options, monkeypatch):
    """Writes the growing table, without its picture; gives its text or None."""
    from experiments.reports import table2_page

    monkeypatch.setattr(table2_page, "picture", lambda tables: b"")
    monkeypatch.setattr(table2_page, "to_html", lambda *arguments: "")

    def grow(pairs):
        stages._grow_table2(options, pairs, left=3)
        path = options.reports_dir / "table2.md"
        return path.read_text() if path.exists() else None

    return grow


def being_finished(options, model):
    """The folder of a run that has its passport, and waits for its manifest."""
    from harness import ledger
    from tests.runs import write_run

    write_run(options.runs_dir, model, 1, shift=1)
    folder = options.runs_dir / "shop/global_time" / model / "seed-1"
    (folder / "config.json").write_text("{}")
    (folder / "weights.h5").write_bytes(b"")
    ledger.seal(folder / "config.json", folder / "weights.h5")
    return folder


SHOP = ("shop", "global_time")


def test_a_run_that_is_being_finished_is_skipped_while_the_table_grows(options, grown):
    from data import locks
    from experiments.reports import table2
    from tests.runs import write_run

    folder = being_finished(options, "gru4rec")
    assert grown([SHOP]) is None  # No run is finished yet.
    write_run(options.runs_dir, "mgnm", 1, shift=0)
    with locks.writing(folder, "trained"):
        text = grown([SHOP])
    assert "| MGNM |" in text
    assert "| GRU4Rec |" not in text
    assert "GRU4Rec, seed-1: still under way, and so not in this table." in text
    with pytest.raises(UserError, match="has a passport, but no manifest"):
        table2.make_table(options.runs_dir, *SHOP)


def test_a_data_set_without_a_finished_run_waits_for_its_table(options, grown):
    from tests.runs import write_run

    write_run(options.runs_dir, "mgnm", 1, shift=0)
    refit = options.runs_dir / "other/global_time/mgnm/seed-1"
    refit.mkdir(parents=True)
    (refit / "passport.json").write_text(
        json.dumps({**write_run(options.runs_dir, "mind", 1, 0), "refit": {}})
    )
    text = grown([("other", "global_time"), SHOP])
    assert "## shop" in text
    assert "## other" not in text


@pytest.mark.parametrize("fault", [None, UserError("no"), OSError("no"), KeyError(1)])
def test_a_growing_table_that_fails_does_not_stop_the_runs(
    options, grown, monkeypatch, caplog, fault
):
    from experiments.reports import table2_text
    from tests.runs import write_run

    def fails(*arguments, **options):
        raise fault

    write_run(options.runs_dir, "mgnm", 1, shift=0)
    write_run(options.runs_dir, "mind", 1, shift=0, recipe="strong")
    if fault is not None:
        (options.runs_dir / "shop/global_time/mind/seed-1/passport.json").unlink()
        monkeypatch.setattr(table2_text, "write", fails)
    assert grown([SHOP]) is None
    (record,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert "The table so far was not written, and the runs go on" in record.message
    assert bool(record.exc_info) == isinstance(fault, KeyError)
