"""The campaign: damaged files and malformed inputs, each through the real commands.

Nothing may be silently wrong, end in a traceback, or leave anything half-written. A
seeded sample runs with every test run, a larger one with `-m slow`, and all of it, for
half an hour, with `-m slow` and MGNM_WHOLE_CAMPAIGN=1 in the environment.
"""

from __future__ import annotations

import collections
import dataclasses
import errno
import json
import os
import shutil
from unittest import mock

import pandas as pd
import pytest

from harness import run_manifest
from tests import corruptions
from tests.calls import call
from tests.slow import slow_but

RUN = "runs/tiny/leave_one_out/mean_pooling/seed-1"
DATA = "prepared/tiny/leave_one_out"
SAMPLE = 80


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with prepared data and a finished run of them."""
    folder = tmp_path_factory.mktemp("campaign")
    rows = [
        (f"u{u}", f"i{(u * (t + 1)) % 37 + 2}", 1_600_000_000 + 86_400 * t + u)
        for u in range(1, 31)
        for t in range(8)
    ]
    pd.DataFrame(rows, columns=["user", "item", "timestamp"]).to_csv(
        folder / "tiny.csv", index=False
    )
    done = call(
        "data.prepare",
        "--dataset=csv",
        f"--source={folder}/tiny.csv",
        "--name=tiny",
        "--split=leave_one_out",
        f"--data_dir={folder}/prepared",
    )
    assert done.code == 0, done.err
    done = train(folder, RUN)
    assert done.code == 0, done.err
    return folder


def train(folder, run_dir, epochs=1):
    return call(
        "experiments.train",
        "--model=mean_pooling",
        "--dataset=tiny",
        f"--data_dir={folder}/prepared",
        f"--run_dir={folder / run_dir}",
        f"--max_epochs={epochs}",
        "--set=embedding_dim=8",
    )


def train_anew(folder):
    shutil.rmtree(folder / "runs/new", ignore_errors=True)
    return train(folder, "runs/new/seed-1")


def train_again(folder):
    return train(folder, RUN)


def evaluate(folder):
    return call(
        "experiments.evaluate",
        f"--run_dir={folder / RUN}",
        f"--data_dir={folder}/prepared",
        "--candidates=pop1000",
    )


def report(folder):
    return call(
        "experiments.report",
        f"--runs_dir={folder}/runs",
        f"--output_dir={folder}/reports",
    )


COMMANDS = {
    "train": train_anew,
    "train again": train_again,
    "evaluate": evaluate,
    "report": report,
}
# Which commands read what.
OF_DATA, OF_RUN = ("train", "evaluate"), ("train again", "evaluate", "report")


def results(folder, command):
    """What a command leaves that a reader would take for its result."""
    if command == "train":
        return _of_run(folder / "runs/new/seed-1")
    if command == "report":
        return (folder / "reports/table2.csv").read_text()
    return _of_run(folder / RUN)


def _of_run(run_dir):
    passport = json.loads((run_dir / "passport.json").read_text())
    ranks = pd.read_parquet(run_dir / "ranks.parquet")
    ranks = ranks.sort_values(["protocol", "user"], ignore_index=True)
    return passport["metrics"], passport["data"], passport["config"], ranks.to_csv()


def judge(whole, folder, damage, where, command, expected):
    """What became of it, and what was said.

    One of "clear", "unclear", "traceback", "harmless" and "silently wrong".
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    damage.apply(folder / where)
    done = COMMANDS[command](folder)
    if done.is_traceback:
        return "traceback", done.err.strip().splitlines()[-1]
    if done.code:
        said = done.sentence
        named = damage.file.rsplit("/", 1)[-1] in said or str(folder / where) in said
        return (
            "clear" if named and said.endswith(".") else "unclear"
        ), said or done.err
    same = results(folder, command) == expected
    return ("harmless" if same else "silently wrong"), ""


@pytest.fixture(scope="module")
def expected(whole, tmp_path_factory):
    """What each command leaves where nothing is damaged."""
    folder = tmp_path_factory.mktemp("undamaged") / "copy"
    found = {}
    for name, command in COMMANDS.items():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        done = command(folder)
        assert done.code == 0, (name, done.err)
        found[name] = results(folder, name)
    return found


def cases(whole):
    """(damage, folder, command) of the whole campaign."""
    found = []
    for folder, commands in ((DATA, OF_DATA), (RUN, OF_RUN)):
        damages = corruptions.of_folder(whole / folder)
        if folder == RUN:
            ledger = (whole / RUN).parent / "test_looks.jsonl"
            damages += [
                dataclasses.replace(damage, file=f"../{damage.file}")
                for damage in corruptions.of_file(ledger)
            ]
        found += [(one, folder, name) for one in damages for name in commands]
    return found


def run_campaign(whole, expected, folder, chosen):
    counts = collections.defaultdict(collections.Counter)
    wrong = []
    for damage, where, command in chosen:
        kind, said = judge(whole, folder, damage, where, command, expected[command])
        counts[where.split("/")[0], command][kind] += 1
        if kind not in ("clear", "harmless"):
            wrong.append(f"{command}, {damage}: {kind}: {said}")
    return counts, wrong


@pytest.mark.slow
def test_no_damage_is_silently_wrong_or_a_traceback(whole, expected, tmp_path):
    chosen = cases(whole)
    if not os.environ.get("MGNM_WHOLE_CAMPAIGN"):
        chosen = corruptions.sample(chosen, SAMPLE)
    counts, wrong = run_campaign(whole, expected, tmp_path / "copy", chosen)
    for (where, command), found in counts.items():
        print(f"{where}, {command}: {sum(found.values())}: {dict(found)}")
    assert not wrong, "\n".join(wrong)


def commands_that_write(folder, place):
    """Every command that writes, with all its writing pointed at `place`."""
    data, run = f"--data_dir={folder}/prepared", f"--run_dir={folder / RUN}"
    model = ("--model=mean_pooling", "--dataset=tiny", data)
    source = f"--source={folder}/tiny.csv"
    return {
        "data.prepare": ("--dataset=csv", source, f"--data_dir={place}"),
        "experiments.train": (*model, f"--run_dir={place}/run", "--max_epochs=1"),
        "experiments.tune": (*model, f"--output_dir={place}", "--trials=1"),
        "experiments.evaluate": (run, data, "--candidates=full"),
        "experiments.fragility": (run, data),
        "experiments.report": (f"--runs_dir={folder}/runs", f"--output_dir={place}"),
        "experiments.audit": ("--model=mean_pooling", f"--output={place}/audit.md"),
    }


PLACED = ("data.prepare", "experiments.train", "experiments.tune", "experiments.report")


@pytest.mark.parametrize("module", [*PLACED, "experiments.audit"])
def test_a_place_that_cannot_be_written_is_said_before_the_work(module, whole):
    arguments = commands_that_write(whole, whole / "tiny.csv/below")[module]
    done = call(module, *arguments)
    assert done.code in (1, 2)
    assert not done.is_traceback, done.err
    assert "tiny.csv" in done.sentence
    assert "Epoch" not in done.err


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "may not open it"),
        (errno.EMFILE, "oo many files are open"),
        (errno.EIO, "cannot read or write it"),
        (None, "not enough memory"),
    ],
)
@pytest.mark.parametrize("module", ["data.prepare", "experiments.report"])
def test_what_the_system_refuses_is_a_sentence(module, number, said, whole, tmp_path):
    error = MemoryError() if number is None else OSError(number, "no", "a/file")
    arguments = commands_that_write(whole, tmp_path / "out")[module]
    refused = [
        mock.patch.object(os, name, side_effect=error) for name in ("replace", "rename")
    ]
    with refused[0], refused[1]:
        done = call(module, *arguments)
    assert done.code == 1
    assert not done.is_traceback, done.err
    assert said in done.sentence
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in left if not path.name.startswith(".lock")] == []


@pytest.mark.parametrize(
    "module", ["experiments.evaluate", "experiments.fragility", "experiments.train"]
)
@pytest.mark.parametrize(
    "number", slow_but([errno.ENOSPC, errno.EACCES], [errno.ENOSPC])
)
def test_a_run_s_folder_is_as_it_was_after_the_system_refused(
    module, number, whole, tmp_path
):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    arguments = commands_that_write(folder, tmp_path / "new")[module]
    before = _of_run(folder / RUN)
    error = OSError(number, "no", "a/file")
    refused = [
        mock.patch.object(os, name, side_effect=error) for name in ("replace", "rename")
    ]
    with refused[0], refused[1]:
        done = call(module, *arguments)
    assert done.code == 1
    assert not done.is_traceback, done.err
    assert done.sentence
    run_manifest.check(folder / RUN)
    assert _of_run(folder / RUN) == before
