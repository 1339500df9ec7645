"""Finishing a run is one step: stopped at any file operation, it goes on from there."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import random
import shutil
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest

from data import locks, manifest
from data.errors import UserError
from experiments.results import finished_runs
from harness import (
    defaults,
    ledger,
    metrics,
    passport,
    run_folder,
    run_manifest,
    runner,
    training,
)
from harness.config import Config

SEED = 3
# What changes a file or a folder, in Python's own words.
OPERATIONS = (
    (os, "replace"),
    (os, "rename"),
    (os, "unlink"),
    (os, "remove"),
    (os, "mkdir"),
    (os, "rmdir"),
    (io, "open"),
    (shutil, "rmtree"),
)


class Killed(BaseException):
    """What a process is after SIGKILL: none of its file operations happen any more."""


@contextlib.contextmanager
def killed_at(number, folder, after=False):
    """Kills before (or after) the operation of that number in the folder.

    Gives the list of the operations, which is what there is to be killed at.
    """
    seen = []

    def watched(module, name):
        original = getattr(module, name)

        def operation(path, *arguments, **options):
            inside = str(folder) in str(path)
            if name == "open":
                mode = arguments[0] if arguments else options.get("mode", "r")
                inside = inside and any(letter in mode for letter in "wax+")
            if not inside:
                return original(path, *arguments, **options)
            if number is not None and len(seen) > number:
                raise Killed
            seen.append((name, Path(str(path)).name))
            if len(seen) - 1 != number:
                return original(path, *arguments, **options)
            if after:
                opened = original(path, *arguments, **options)
                if name == "open":
                    opened.close()
            raise Killed

        return mock.patch.object(module, name, operation)

    with contextlib.ExitStack() as stack:
        for module, name in OPERATIONS:
            stack.enter_context(watched(module, name))
        yield seen


@pytest.fixture(scope="module", autouse=True)
def may_tie():
    """Counting ties on few users, which is no matter here."""
    with mock.patch.object(metrics, "check_ties"):
        yield


@pytest.fixture(scope="module")
def counting():
    """A run that trains nothing: only finishing is left of it."""
    return defaults.get_config("popularity", "tiny")


@pytest.fixture(scope="module")
def learning():
    return Config("mean_pooling", {"embedding_dim": 4}, batch_size=64, max_epochs=2)


def files(run_dir):
    """What a reader sees of a run, without clocks."""
    ranks = pd.read_parquet(run_dir / run_folder.RANKS)
    return {
        "metrics": passport.read(run_dir).passport["metrics"],
        "weights": manifest.file_hash(run_dir / run_folder.WEIGHTS),
        "ranks": ranks.sort_values(["protocol", "user"]).to_csv(index=False),
        "names": sorted(path.name for path in run_dir.iterdir()),
        "looks": len(ledger.looks(run_dir.parent)),
    }


def kill_and_go_on(config, data, run_dir, number, after):
    with killed_at(number, run_dir.parent, after) as seen, contextlib.suppress(Killed):
        runner.run(config, data, run_dir, SEED)
    with mock.patch.object(training, "run_epoch", side_effect=AssertionError) as epoch:
        runner.run(config, data, run_dir, SEED)
    assert not epoch.called, f"trained again after {seen[-1]}"
    return seen


@pytest.fixture(scope="module")
def undisturbed(tiny_data, counting, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("undisturbed") / "seed-3"
    with killed_at(None, run_dir.parent) as seen:
        runner.run(counting, tiny_data, run_dir, SEED)
    return files(run_dir), seen


def test_a_run_is_whole_by_its_manifest_which_is_written_last(undisturbed):
    _, seen = undisturbed
    renamed = [name for operation, name in seen if operation == "replace"]
    assert renamed[-2].endswith(run_folder.PASSPORT)
    assert renamed[-1].endswith(run_manifest.MANIFEST)


def go_on_after(undisturbed, data, config, folder, number, after):
    whole, operations = undisturbed
    run_dir = folder / f"{number}-{after}" / "seed-3"
    kill_and_go_on(config, data, run_dir, number, after)
    assert files(run_dir) == whole, operations[number]


def test_stopped_at_some_file_operations_it_goes_on_with_one_look(
    tiny_data, counting, undisturbed, tmp_path
):
    operations = undisturbed[1]
    assert len(operations) >= 12
    drawn = random.Random(SEED).sample(range(len(operations)), 3)
    for number, after in zip(drawn, (False, True, False)):
        go_on_after(undisturbed, tiny_data, counting, tmp_path, number, after)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_stopped_at_any_file_operation_it_goes_on_with_one_look(
    tiny_data, counting, undisturbed, tmp_path, after
):
    for number in range(len(undisturbed[1])):
        go_on_after(undisturbed, tiny_data, counting, tmp_path, number, after)


@pytest.fixture(scope="module")
def trained(tiny_data, learning, tmp_path_factory):
    """A folder whose training is over and whose finishing has not begun; the whole."""
    folder = tmp_path_factory.mktemp("trained")
    run_dir = folder / "stopped" / "seed-3"
    sealing = mock.patch.object(ledger, "seal", side_effect=Killed)
    with sealing, contextlib.suppress(Killed):
        runner.run(learning, tiny_data, run_dir, SEED)
    shutil.copytree(folder / "stopped", folder / "whole")
    with killed_at(None, folder / "whole") as seen:
        runner.run(learning, tiny_data, folder / "whole/seed-3", SEED)
    return run_dir, files(folder / "whole/seed-3"), seen


def finish_after(trained, data, config, tmp_path, number, after):
    stopped, whole, operations = trained
    shutil.copytree(stopped.parent, tmp_path / f"{number}-{after}")
    run_dir = tmp_path / f"{number}-{after}" / "seed-3"
    kill_and_go_on(config, data, run_dir, number, after)
    assert files(run_dir) == whole, operations[number]


def test_a_trained_run_stopped_while_it_is_finished_is_not_trained_again(
    trained, tiny_data, learning, tmp_path
):
    names = [f"{operation} {name}" for operation, name in trained[2]]
    last = len(names) - 1
    removals = [n for n, name in enumerate(names) if "epoch-" in name]
    # While it is cleared, as the campaign found it; all others are `slow`.
    assert removals
    for number in (removals[0], last):
        finish_after(trained, tiny_data, learning, tmp_path, number, after=True)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_a_trained_run_stopped_at_any_file_operation_is_not_trained_again(
    trained, tiny_data, learning, tmp_path, after
):
    for number in range(len(trained[2])):
        finish_after(trained, tiny_data, learning, tmp_path, number, after)


def test_a_run_deleted_and_made_anew_shows_in_the_ledger(tiny_data, counting, tmp_path):
    run_dir = tmp_path / "seed-3"
    for looks in (1, 2):
        runner.run(counting, tiny_data, run_dir, SEED)
        assert len(ledger.looks(tmp_path)) == looks
        shutil.rmtree(run_dir)


def test_a_run_whose_look_is_gone_says_so_in_every_table(tiny_data, counting, tmp_path):
    run_dir = tmp_path / "popularity" / "seed-3"
    runner.run(counting, tiny_data, run_dir, SEED)
    runs = {"popularity": [passport.read(run_dir)]}
    gone = "lines of the ledger that were there when the run was finished are gone"
    assert not any(gone in one for one in finished_runs.run_warnings(runs))
    (run_dir.parent / ledger.LEDGER).unlink()
    assert any(gone in one for one in finished_runs.run_warnings(runs))


def hold(run_dir, held, done):
    with locks.writing(run_dir, "trained"):
        held.set()
        done.wait(60)


@pytest.mark.slow
def test_the_second_writer_learns_who_holds_the_folder(tiny_data, counting, tmp_path):
    run_dir = tmp_path / "seed-3"
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    first = context.Process(target=hold, args=(run_dir, held, done))
    first.start()
    assert held.wait(60)
    with pytest.raises(UserError, match=f"being trained by process {first.pid} on .*"):
        runner.run(counting, tiny_data, run_dir, SEED)
    first.kill()  # Its lock goes with it.
    first.join()
    assert runner.run(counting, tiny_data, run_dir, SEED)["status"] == "complete"


def test_readers_are_free_while_a_run_is_written(tiny_data, counting, tmp_path):
    run_dir = tmp_path / "seed-3"
    runner.run(counting, tiny_data, run_dir, SEED)
    with locks.writing(run_dir, "evaluated"):
        assert passport.read(run_dir).passport["status"] == "complete"
        assert runner.run(counting, tiny_data, run_dir, SEED)["status"] == "complete"


@pytest.mark.parametrize("number", range(12))
def test_replaced_files_are_whole_wherever_replacing_is_stopped(number, tmp_path):
    for name in run_manifest.FILES:
        (tmp_path / name).write_text(json.dumps({"old": name}))
    run_manifest.write(tmp_path)
    names = (run_folder.RANKS, run_folder.PASSPORT)
    killed, dead = killed_at(number, tmp_path), contextlib.suppress(Killed)
    with killed, dead, run_manifest.replacing(tmp_path, names) as partials:
        for name, partial in partials.items():
            partial.write_text(json.dumps({"new": name}))
    run_manifest.check(tmp_path)
    (tmp_path / run_folder.RANKS).write_text("{}")
    with pytest.raises(UserError, match=run_folder.RANKS):
        run_manifest.check(tmp_path)


def test_a_run_of_an_older_version_is_read_and_said_to_be_unchecked(
    tiny_data, counting, tmp_path
):
    run_dir = tmp_path / "seed-3"
    runner.run(counting, tiny_data, run_dir, SEED)
    (run_dir / run_manifest.MANIFEST).unlink()
    assert not run_manifest.is_finished(run_dir)  # Of this version it lacks one.
    sealed = json.loads((run_dir / ledger.SEAL).read_text())
    old = {key: sealed[key] for key in ("config_sha256", "weights_sha256")}
    (run_dir / ledger.SEAL).write_text(json.dumps(old))
    assert run_manifest.is_finished(run_dir)
    assert not run_manifest.can_check(run_dir)
    assert runner.run(counting, tiny_data, run_dir, SEED)["status"] == "complete"


@pytest.mark.parametrize(
    "line", [b"[1]", b"{", b'{"run": "seed-3"}', b"", b'{"a": 1, "sha256": "0"}']
)
def test_a_line_of_the_ledger_that_is_not_as_written_is_named(line, tmp_path):
    (tmp_path / ledger.LEDGER).write_bytes(line + b"\n")
    with pytest.raises(UserError, match=r"test_looks\.jsonl, line 1 is not as it was"):
        ledger.looks(tmp_path)
