"""How a grid's runs are started, ordered, counted and estimated, and what it prints."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from experiments.reproduction import estimate, forks, grid, plan, stages
from experiments.reproduction.estimate import Size
from experiments.reproduction.forks import Forks
from harness import defaults
from tests.commands import run as run_command

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
    """Modules that can be run: one ends well, one badly, one waits for Ctrl-C."""
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
        "import sys, time\n"
        "from pathlib import Path\n"
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


def test_each_command_is_a_process_of_its_own_with_its_flags(commands):
    first, second = commands / "1", commands / "2"
    with Forks() as running:
        assert running.run(["writes", str(first), "--a=b c"]) == 0
        assert running.run(["writes", str(second)]) == 0
    one, other = first.read_text().split(" ", 2), second.read_text().split(" ", 2)
    assert one[0] != other[0]
    assert one[1:] == ["__main__", "['--a=b c']"]
    assert other[1:] == ["__main__", "[]"]


def test_a_command_that_fails_leaves_the_next_one_alone(commands, capfd):
    with Forks() as running:
        assert running.run(["fails"]) == 1
        assert running.run(["killed"]) == -signal.SIGKILL
        assert running.run(["writes", str(commands / "1")]) == 0
    assert "error: no" in capfd.readouterr().err


def test_the_next_command_starts_anew_where_the_origin_was_killed(commands):
    with Forks() as running:
        assert running.run(["parricide"]) != 0
        assert running.run(["writes", str(commands / "1")]) == 0


def test_after_ctrl_c_the_command_has_had_the_time_to_save(commands):
    mark = commands / "mark"

    def interrupt():
        while not mark.exists():
            time.sleep(0.01)
        # As a terminal does: all processes of the group, this one first, so that it
        # still waits for the other.
        os.kill(os.getpid(), signal.SIGINT)
        for process in Path("/proc").glob("[0-9]*"):
            try:
                line = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(running._origin.args[-1]).encode() in line and b"-c" in line:
                os.kill(int(process.name), signal.SIGINT)

    with Forks() as running:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            running.run(["waits", str(mark)])
        thread.join()
    assert mark.read_text() == "saved"


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
    clock = grid.Clock({"a": 10.0, "b": 30.0})
    assert clock.text() == "0.0 min elapsed"
    now[0] += 120.0  # Twelve times as long as estimated.
    clock.end("a")
    assert clock.text() == "2.0 min elapsed, about 6.0 min left"
    now[0] += 360.0
    clock.end("b")
    assert clock.text() == "8.0 min elapsed, about 0 s left"


# The plan.


def test_the_rows_that_a_reader_looks_for_come_first(options):
    runs = stages.table2_s_runs(options, [("ml-100k", "global_time")])
    models = [run.model for run in runs]
    assert models[:4] == ["mgnm", "popularity", "gru4rec", "caser"]
    assert sorted(models) == sorted(defaults.MODEL_SETTINGS)


def test_a_plan_lists_what_is_finished_and_what_the_rest_takes(options):
    pairs = [("ml-100k", "global_time")]
    runs = stages.table2_s_runs(options, pairs)
    folder = runs[1].folder(options)
    folder.mkdir(parents=True)
    (folder / "passport.json").write_text("{}")
    text = plan.text(options, runs)
    assert "ml-100k, global_time: to be downloaded and prepared; 943 users" in text
    assert f"{folder}: finished\n" in text
    assert f"{runs[0].folder(options)}: at most" in text
    assert f"{len(runs)} runs: 1 finished, {len(runs) - 1} left." in text
    spelled = grid.spell(sum(plan.seconds(options, [runs[0], *runs[2:]])))
    assert f"takes at most about {spelled}, " in text


def test_a_plan_downloads_nothing_and_needs_no_tensorflow(options, tmp_path):
    done = run_command(
        "experiments.reproduce",
        *("--what=table2", "--profile=paper", "--dry_run", "--recipe=strong"),
        *(f"--prepared_dir={tmp_path}/prepared", f"--runs_dir={tmp_path}/runs"),
    )
    assert done.returncode == 0, done.stderr
    assert "toys, as_released: to be downloaded" in done.stdout
    assert (
        f"{tmp_path}/runs/strong/toys/as_released/mgnm/seed-5: at most" in done.stdout
    )
    assert "The rates are of the paper's recipe" in done.stdout
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize("model", sorted(defaults.MODEL_SETTINGS))
def test_an_estimate_grows_with_the_work(model):
    small = estimate.of_run(config(model), TOYS)
    large = Size(400_000, 300_000, 900_000, 5_000, 20_000, 50.0)
    found = estimate.of_run(config(model), large)
    assert found.seconds > small.seconds > 8
    assert found.memory_mb > small.memory_mb > 600
    assert found.disk_mb > small.disk_mb > 0


def test_what_was_not_benched_has_no_estimate_and_is_said(options):
    unknown = dataclasses.replace(config("mgnm"), model="shop.models:Mine")
    costs = [estimate.of_run(unknown, TOYS), estimate.of_run(config("mgnm"), TOYS)]
    assert costs[0] is None
    found = plan._totals(options, costs, [])
    assert found[-1] == "1 runs have no estimate and are not in it."


def test_the_rates_that_are_kept_are_those_of_the_bench():
    path = ROOT / "docs/figures/rates.py"
    spec = importlib.util.spec_from_file_location("rates", path)
    rates = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rates)
    stored = json.loads(rates.STORED.read_text())
    assert json.loads(rates.WRITTEN.read_text()) == rates.rates(stored)
    assert sys.modules.get("rates") is None


# The table while it grows.


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
