"""The commands as a newcomer types them, and what the sources may import."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from data import command_line
from harness import defaults, provenance
from harness.config import with_arguments
from tests.calls import call
from tests.commands import run

ROOT = Path(__file__).parent.parent
SLOW_TO_IMPORT = {
    *("tensorflow", "keras", "tf_keras", "scipy", "sklearn", "matplotlib", "h5py"),
}
THREADS = "TF_NUM_INTRAOP_THREADS"
COMMANDS = [
    "benchmarks.bucketing",
    "data.prepare",
    "experiments.train",
    "experiments.evaluate",
    "experiments.reproduce",
    "experiments.reproduce_table2",
    "experiments.levels",
    "experiments.fragility",
    "experiments.report",
    "experiments.tune",
    "experiments.paper_consistency",
    "experiments.waterfall",
    "experiments.audit",
    "experiments.recommend",
    "experiments.export",
    "experiments.refit",
    "experiments.from_log",
    "benchmarks.serving",
]


MORE_COMMANDS = [
    "data.sequential",
    *("benchmarks.bench", "benchmarks.integrity", "benchmarks.peers"),
    *("benchmarks.prepare", "benchmarks.scaling", "benchmarks.soak"),
]
BEHIND_MAKE = {
    "recommend": "experiments.from_log",
    "bench": "benchmarks.bench",
    "bench-serving": "benchmarks.serving",
    "bench-peers": "benchmarks.peers",
    "figures": "experiments.reproduce",
}


@pytest.fixture(scope="module")
def helped():
    """What each command's `--help` prints, its flags, and the packages it imports."""
    modules = [*COMMANDS, *MORE_COMMANDS]
    command = [sys.executable, "-m", "tests.help_of_commands", *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", COMMANDS)
def test_help_answers_at_once(helped, module):
    """In a process of its own, without what takes seconds to import."""
    assert "Example: python -m" in helped[module]["text"]
    assert helped[module]["code"] == 0
    imported = {*helped[module]["imported"]}
    assert "absl" in imported
    assert imported.isdisjoint(SLOW_TO_IMPORT)


def flags_in_docs():
    """(module, flag) of the commands that pages and docstrings show."""
    found = set()
    sources = [
        path
        for room in ("data", "experiments", "benchmarks", "serving")
        for path in (ROOT / room).rglob("*.py")
    ]
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *sources]:
        text = re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8"))
        shown = re.findall(r"python -m (\w+\.\w+)([^\n`]*)", text)
        for target, rest in re.findall(r"\bmake ([a-z0-9-]+)([^\n`]*)", text):
            if target.startswith("reproduce-"):
                shown.append(("experiments.reproduce", rest))
            elif target in BEHIND_MAKE:
                shown.append((BEHIND_MAKE[target], rest))
        for module, rest in shown:
            found |= {(module, flag) for flag in re.findall(r"--(\w+)", rest)}
    table = (ROOT / "docs/your_data.md").read_text(encoding="utf-8")
    of_logs = {
        flag
        for row in re.findall(r"^\| `(--.*?)` ", table, re.MULTILINE)
        for flag in re.findall(r"--(\w+)", row)
    }
    assert {"columns", "where", "deduplicate"} <= of_logs
    found |= {("data.prepare", flag) for flag in of_logs}
    found |= {("experiments.from_log", flag) for flag in of_logs}
    of_logs -= {"rating_above", "keep_past"}
    found |= {("experiments.reproduce", flag) for flag in of_logs}
    found |= {("experiments.reproduce_table2", flag) for flag in of_logs}
    return found


def test_help_lists_every_flag_of_every_command(helped):
    """Those that pages name, and those that the command takes, wherever defined."""
    wanted = {
        *flags_in_docs(),
        *((module, flag) for module in helped for flag in helped[module]["flags"]),
    }
    hidden = {
        (module, flag)
        for module, flag in wanted
        if module in helped
        and not re.search(
            rf"^  (-\w,)?--(\[no\])?{flag}:", helped[module]["text"], re.MULTILINE
        )
    }
    assert hidden == set()
    assert {module for module, _ in flags_in_docs()} <= {*helped}


@pytest.mark.parametrize(
    ("given", "expected"), [({}, max(1, provenance.cores() // 2)), ({THREADS: "7"}, 7)]
)
def test_half_the_cores_share_an_operation_unless_told_otherwise(given, expected):
    inherited = {key: value for key, value in os.environ.items() if key != THREADS}
    program = (
        "import os; from harness import environment; environment.set_defaults(); "
        f"print(os.environ['{THREADS}'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**inherited, **given},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.csv", "error: There is no file"),
        ("odd.csv", "has no column that is known as the item"),
    ],
)
def test_a_log_that_cannot_be_read_waits_for_no_tensorflow(name, message, tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "odd.csv").write_text("user,thing,timestamp\na,b,5\n")
    done = subprocess.run(
        [sys.executable, "-m", "experiments.from_log", f"--source={tmp_path}/{name}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.parametrize("module", COMMANDS)
def test_an_unknown_flag_is_named(module):
    done = call(module, "--no_such_flag=1")
    assert done.code != 0
    assert "no_such_flag" in done.err


def test_an_unknown_model_lists_the_known():
    done = call("experiments.train", "--model=bert", "--dataset=x")
    assert done.code != 0
    assert "gru4rec" in done.err


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        (
            "experiments.train",
            ["--model=mgnm", "--dataset=absent"],
            "error: absent is not prepared",
        ),
        (
            "experiments.train",
            ["--model=mgnm", "--dataset=x", "--set=nonsense"],
            "error: `--set` takes name=value",
        ),
        (
            "experiments.waterfall",
            ["--dataset=absent"],
            "error: absent is not prepared",
        ),
        (
            "experiments.train",
            ["--model=mind", "--dataset=x", "--variant=released"],
            "error: mind has no variant released",
        ),
        (
            "experiments.evaluate",
            ["--run_dir=nowhere"],
            "error: nowhere holds no finished run",
        ),
        (
            "experiments.tune",
            ["--model=popularity", "--dataset=x"],
            "error: x is not prepared",
        ),
        ("experiments.report", ["--runs_dir=nowhere"], "error: nowhere holds no"),
        ("experiments.levels", ["--run_dir=nowhere"], "error: nowhere holds no"),
        ("experiments.fragility", ["--run_dir=nowhere"], "error: nowhere holds no"),
        (
            "experiments.paper_consistency",
            ["table2"],
            "Unexpected arguments: ['table2']",
        ),
        (
            "experiments.reproduce",
            ["--what=table3", "--profile=folder", "--data_dir=nowhere"],
            "error: There is no folder nowhere.",
        ),
        (
            "experiments.reproduce_table2",
            ["--profile=folder"],
            "error: The profile `folder` reads a folder of logs",
        ),
        (
            "experiments.reproduce_table2",
            ["--profile=folder", "--data_dir=nowhere"],
            "error: There is no folder nowhere.",
        ),
        (
            "experiments.reproduce_table2",
            ["--models=mgnm,bert"],
            "error: `--models`: no ['bert']",
        ),
    ],
)
def test_an_error_of_the_user_is_one_line(module, arguments, message):
    done = call(module, *arguments)
    assert done.code == 1
    assert message in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("raised", "arguments", "message"),
    [
        ("UserError('Row 3 has no item.')", [], "error: Row 3 has no item."),
        ("KeyboardInterrupt", [], "Stopped. Nothing was written."),
        ("KeyboardInterrupt", ["more"], "Unexpected arguments: ['more']"),
    ],
)
def test_a_command_that_does_not_end_well_ends_in_a_sentence(
    raised, arguments, message
):
    program = [
        "from data import command_line",
        "from data.errors import UserError",
        "def main():",
        f"    raise {raised}",
        "command_line.run(main, stopped='Stopped. Nothing was written.')",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(program), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_fault_of_the_code_shows_where_it_came_from():
    with pytest.raises(ValueError, match="no sentence for a user"):
        command_line.call(_fail, stopped="")


def _fail():
    raise ValueError("no sentence for a user")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: flag --model=None"),
        (["--model=bert"], "error: There is no model bert. Registered are a2svd,"),
        (["--model=nowhere:Mine"], "error: The module nowhere cannot be imported"),
        (["--model=mgnm", "more"], "error: Unexpected arguments: ['more']"),
        (["--model=all", "--variant=released"], "error: --variant and --set are of"),
        (
            ["--model=mgnm", "--output=table.txt"],
            "error: --output ends in .md or .json",
        ),
        (["--model=mgnm", "--output=nowhere/a.md"], "error: --output: nowhere is no"),
        (["--model=mind", "--variant=released"], "error: mind has no variant released"),
    ],
)
def test_an_audit_that_cannot_be_ends_otherwise_than_a_leak(arguments, message):
    done = call("experiments.audit", *arguments)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """The profile `folder` over one small file without times, one seed."""
    folder = tmp_path_factory.mktemp("grid")
    (folder / "csv").mkdir()
    rows = [(u, (u * t) % 23 + 1, t) for u in range(1, 31) for t in range(1, 8)]
    table = pd.DataFrame(rows, columns=["user", "item", "order"])
    table.to_csv(folder / "csv" / "shop.csv", index=False)
    arguments = [
        "--profile=folder",
        f"--data_dir={folder}/csv",
        f"--prepared_dir={folder}/prepared",
        f"--runs_dir={folder}/runs",
        f"--reports_dir={folder}/reports",
        *("--models=gru4rec,item_knn,sli_rec,tgsrec", "--seeds=1", "--max_epochs=1"),
    ]
    return folder, arguments, run("experiments.reproduce_table2", *arguments)


@pytest.mark.slow
def test_the_grid_ends_in_a_table(grid):
    folder, _, done = grid
    assert done.returncode == 0, done.stderr
    assert "| GRU4Rec |" in done.stdout
    assert "| SLi_Rec (no_times) |" in done.stdout
    assert (folder / "reports/table2.md").read_text() in done.stdout


@pytest.mark.slow
def test_a_model_that_needs_times_is_left_out_of_a_table_without(grid):
    folder, _, done = grid
    assert "shop has no times, which tgsrec need" in done.stderr
    run_dir = folder / "runs/shop/leave_one_out/sli_rec-no_times/seed-1"
    passport = json.loads((run_dir / "passport.json").read_text())
    assert passport["config"]["arguments"]["use_times"] is False
    assert not list(folder.glob("runs/**/tgsrec*"))


@pytest.mark.slow
def test_a_finished_grid_runs_nothing_again(grid):
    folder, arguments, _ = grid
    passports = sorted(folder.glob("runs/**/passport.json"))
    before = [path.stat().st_mtime_ns for path in passports]
    done = run("experiments.reproduce_table2", *arguments)
    assert done.returncode == 0
    assert len(passports) == 3
    assert [path.stat().st_mtime_ns for path in passports] == before


@pytest.mark.slow
@pytest.mark.parametrize("what", ["protocols", "fragility"])
def test_a_report_of_finished_runs_makes_what_it_lacks_and_goes_on(grid, what):
    folder, arguments, _ = grid
    models = "--models=gru4rec,item_knn"
    passports = sorted(folder.glob("runs/**/passport.json"))
    before = [path.stat().st_mtime_ns for path in passports]
    done = run("experiments.reproduce", f"--what={what}", *arguments, models)
    assert done.returncode == 0, done.stderr
    assert (folder / f"reports/{what}.md").read_text() in done.stdout
    assert (folder / f"reports/{what}.csv").exists()
    assert [path.stat().st_mtime_ns for path in passports] == before
    made = sorted(folder.glob("runs/**/fragility.json"))
    assert len(made) == (2 if what == "fragility" else 0)
    stamps = [path.stat().st_mtime_ns for path in made]
    again = run("experiments.reproduce", f"--what={what}", *arguments, models)
    assert again.stdout == done.stdout
    assert [path.stat().st_mtime_ns for path in made] == stamps
    for path in made[:1]:  # As an older version would have left it.
        whole = path.read_text()
        results = json.loads(whole)
        del results["orders"]["another_user"]
        path.write_text(json.dumps(results))
        (path.parent / "manifest.json").unlink()
        run("experiments.reproduce", f"--what={what}", *arguments, models)
        assert json.loads(path.read_text()) == json.loads(whole)
        assert [other.stat().st_mtime_ns for other in made[1:]] == stamps[1:]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["full", "pop1000"])
def test_evaluate_ranks_again_to_the_same_metrics(grid, protocol):
    folder, _, _ = grid
    run_dir = folder / "runs/shop/leave_one_out/gru4rec/seed-1"
    before = json.loads((run_dir / "passport.json").read_text())["metrics"]["test"]
    done = run(
        "experiments.evaluate",
        f"--run_dir={run_dir}",
        f"--data_dir={folder}/prepared",
        f"--candidates={protocol}",
    )
    assert done.returncode == 0, done.stderr
    after = json.loads((run_dir / "passport.json").read_text())["metrics"]["test"]
    assert after == before
    ranks = pd.read_parquet(run_dir / "ranks.parquet")
    assert {*ranks["protocol"]} == {*before}
    assert ranks.groupby("protocol").size().nunique() == 1


@pytest.mark.slow
def test_under_a_small_catalogue_full_and_uniform_ranks_agree(grid):
    # 22 items: the thousand negatives are all that there are.
    folder, _, _ = grid
    run_dir = folder / "runs/shop/leave_one_out/gru4rec/seed-1"
    ranks = pd.read_parquet(run_dir / "ranks.parquet")
    full = ranks[ranks["protocol"] == "full"].set_index("user")
    uniform = ranks[ranks["protocol"] == "uni1000"].set_index("user")
    assert (full["rank_pessimistic"] == uniform["rank_pessimistic"]).all()
    assert (full["candidates"] == uniform["candidates"]).all()


def test_arguments_are_read_from_text():
    config = defaults.get_config("mgnm", "toys", learning_rate=0.1, patience=None)
    found = with_arguments(config, ["num_interests=2", "routing_axis=capsules"])
    own = {"num_interests": 2, "routing_axis": "capsules"}
    assert found.arguments == {**defaults.MODEL_SETTINGS["mgnm"], **own}
    assert (found.learning_rate, found.patience) == (0.1, config.patience)


def test_micro_video_has_the_embedding_size_of_the_paper():
    for dataset in ("micro_video", "kuairand_likes_hates"):
        config = defaults.get_config("sli_rec", dataset)
        assert config.arguments == {"embedding_dim": 40, "time_unit": 60.0}
    assert "embedding_dim" not in defaults.get_config("mgnm", "toys").arguments


def test_a_form_without_times_is_of_the_model_that_has_one():
    config = defaults.get_config("sli_rec", "toys", variant="no_times")
    assert config.arguments == {"use_times": False}
    with pytest.raises(ValueError, match="gru4rec has no variant no_times"):
        defaults.get_config("gru4rec", "toys", variant="no_times")
