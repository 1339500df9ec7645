"""Runs: whole or not at all, resumed to the bit, refused where they do not match."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from baselines.gru4rec import GRU4Rec
from data import pipeline
from data.candidates import PROTOCOLS
from data.errors import UserError
from harness import (
    build,
    defaults,
    epoch,
    ledger,
    provenance,
    run_folder,
    run_manifest,
    runner,
    training,
    vocabulary,
)
from harness.config import with_arguments, with_settings
from harness.defaults import READINGS
from tests.commands import Running, run
from tests.runs import EPOCHS, SEED, assert_same_weights, small_config, weights_of


@pytest.fixture
def finished(mgnm_run):
    return mgnm_run


@pytest.mark.slow
def test_ctrl_c_saves_and_resuming_gives_the_same_bits(
    finished, tiny_data, tmp_path, monkeypatch
):
    batches = pipeline.training_batches

    def interrupting(*args, **kwargs):
        for step, batch in enumerate(batches(*args, **kwargs)):
            if kwargs["epoch"] == 1 and step == 2:
                os.kill(os.getpid(), signal.SIGINT)
            yield batch

    monkeypatch.setattr(pipeline, "training_batches", interrupting)
    with pytest.raises(training.Interrupted):
        runner.run(small_config(), tiny_data, tmp_path, SEED)
    assert not (tmp_path / run_folder.PASSPORT).exists()
    monkeypatch.undo()
    monkeypatch.setattr(provenance, "commit", lambda: "another")
    passport = runner.run(small_config(), tiny_data, tmp_path, SEED)
    # Weights are the same, since the code is; a table cannot know.
    first, *_ = finished[1]["training"]["commits"]
    assert passport["training"]["commits"] == [first, "another"]
    assert passport["metrics"] == finished[1]["metrics"]
    assert passport["training"]["steps"] == finished[1]["training"]["steps"]
    assert_same_weights(tmp_path, finished[0])


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bits(finished, tiny_data, tmp_path):
    run_dir = tmp_path / "killed"
    data_dir = tiny_data.folder.parent.parent
    reading = READINGS["drawn"]  # The constructor's own, which the finished run has.
    running = Running(
        *("experiments.train", "--model=mgnm"),
        *("--set=embedding_dim=4", "--set=num_interests=2", "--set=num_layers=1"),
        *(f"--set={name}={value}" for name, value in reading.items()),
        *("--batch_size=16", "--max_history=8"),
        *(f"--max_epochs={EPOCHS}", f"--seed={SEED}"),
        *(f"--dataset={tiny_data.name}", f"--data_dir={data_dir}"),
        f"--run_dir={run_dir}",
    )
    while (
        running.process.is_alive() and not (run_dir / "checkpoint/checkpoint").exists()
    ):
        time.sleep(0.01)
    running.interrupt(signal.SIGKILL)
    running.finish()
    assert not (run_dir / run_folder.PASSPORT).exists()
    runner.run(with_settings(small_config(), reading), tiny_data, run_dir, SEED)
    assert_same_weights(run_dir, finished[0])


@pytest.mark.slow
def test_the_same_steps_give_the_same_bits_each_time(tiny_data):
    # Four threads share an operation: the order of a sum is theirs to decide.
    folder = tiny_data.folder.parent.parent
    threads = {"TF_NUM_INTRAOP_THREADS": "4"}
    done = run("tests.repeated_steps", str(folder), environment=threads)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


@pytest.mark.slow
def test_another_seed_gives_other_weights(finished, tiny_data, tmp_path):
    runner.run(small_config(), tiny_data, tmp_path, SEED + 1)
    ours, theirs = weights_of(finished[0]), weights_of(tmp_path)
    differ = {key for key in ours if not np.array_equal(ours[key], theirs[key])}
    # All but the zeros that biases and counters start from may differ; these must.
    assert {name for name in ours if "embedding" in name or "kernel" in name} <= differ


def test_the_learning_rate_falls_to_zero_over_the_budget(tiny_data):
    config = small_config(learning_rate=0.1)
    schedule = build.build_model(config, tiny_data, SEED).optimizer.learning_rate
    steps = config.max_epochs * -(-len(tiny_data.instances["train"]) // 16)
    found = [float(schedule(step)) for step in (0, steps // 2, steps)]
    np.testing.assert_allclose(found, [0.1, 0.05, 0.0], atol=3e-3)
    constant = small_config(schedule="constant", learning_rate=0.1)
    rate = build.build_model(constant, tiny_data, SEED).optimizer.learning_rate
    assert float(rate) == pytest.approx(0.1)


def test_a_finished_run_is_not_repeated(finished, tiny_data, monkeypatch):
    run_dir, passport = finished
    monkeypatch.setattr(build, "build_model", None)
    assert runner.run(small_config(), tiny_data, run_dir, SEED) == passport


def test_a_run_of_another_config_is_refused(finished, tiny_data):
    with pytest.raises(ValueError, match="another learning_rate"):
        runner.run(small_config(learning_rate=0.1), tiny_data, finished[0], SEED)


def test_the_passport_holds_what_other_programs_read(finished, tiny_data):
    run_dir, passport = finished
    assert json.loads((run_dir / run_folder.PASSPORT).read_text()) == passport
    assert passport["status"] == "complete"
    assert passport["data"]["sha256"] == tiny_data.meta["sha256"]
    assert passport["data"]["test"] == len(tiny_data.instances["test"])
    assert passport["training"]["epochs"] == EPOCHS
    assert passport["training"]["steps"] == EPOCHS * -(-passport["data"]["train"] // 16)
    assert {"gauc", "hit@5", "ndcg@5", "mrr@5"} <= {
        *passport["metrics"]["test"]["uni1000"]["instance"]
    }
    assert {"gauc", "hit@5"} <= {*passport["metrics"]["test"]["uni1000"]["user"]}


def test_the_table_of_ranks_gives_the_metrics_of_the_passport(finished):
    run_dir, passport = finished
    ranks = pd.read_parquet(run_dir / run_folder.RANKS)
    assert [*passport["metrics"]["test"]] == [*PROTOCOLS]
    for protocol in PROTOCOLS:
        found = passport["metrics"]["test"][protocol]["instance"]
        own = ranks[ranks["protocol"] == protocol]
        assert len(own) == passport["evaluation"]["instances"]
        hit = float((own["rank_pessimistic"] < 5).mean())
        assert found["hit@5"] == pytest.approx(hit)


def test_nothing_unfinished_stays_in_a_finished_run(finished):
    names = {path.name for path in finished[0].iterdir()}
    assert names == {
        *(run_folder.CONFIG, run_folder.PASSPORT, run_folder.RANKS, run_folder.WEIGHTS),
        *(ledger.SEAL, run_manifest.MANIFEST, "tensorboard"),
        *(vocabulary.SUMMARY, vocabulary.USERS, vocabulary.ITEMS),
    }


def test_a_diverging_loss_is_said(tiny_data, tmp_path):
    config = small_config(learning_rate=1e30)
    config = dataclasses.replace(config, model="gru4rec", arguments={})
    with pytest.raises(ValueError, match="learning_rate"):
        runner.run(config, tiny_data, tmp_path, SEED)


@pytest.mark.parametrize(
    "switch",
    [
        pytest.param("mixed_precision", marks=pytest.mark.slow),
        pytest.param("jit_compile", marks=pytest.mark.slow),
        pytest.param("deterministic", marks=pytest.mark.slow),
    ],
)
def test_a_switch_trains_to_a_finite_score(tiny_data, tmp_path, switch):
    # Short histories: XLA compiles the step anew for each length.
    config = small_config(max_epochs=1, max_history=2, **{switch: True})
    passport = runner.run(config, tiny_data, tmp_path, SEED)
    assert 0.0 < passport["metrics"]["test"]["uni1000"]["instance"]["gauc"] <= 1.0


def test_a_model_that_xla_cannot_compile_is_refused_it(tiny_data, tmp_path):
    config = defaults.get_config("tgsrec", tiny_data.name, jit_compile=True)
    with pytest.raises(ValueError, match="leave out --jit_compile"):
        runner.run(config, tiny_data, tmp_path / "run", SEED)
    assert not (tmp_path / "run").exists()


def test_an_argument_that_the_model_does_not_take_is_named(tiny_data):
    config = with_arguments(small_config(), ["nope=1"])
    with pytest.raises(ValueError, match=r"mgnm has no setting nope .*num_interests"):
        build.build_model(config, tiny_data, SEED)


def test_a_model_that_reads_times_is_refused_data_without(
    tiny_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(GRU4Rec, "needs_times", True)
    store = dataclasses.replace(tiny_data.store, times=None)
    undated = dataclasses.replace(tiny_data, store=store)
    config = defaults.get_config("gru4rec", tiny_data.name)
    with pytest.raises(ValueError, match="gru4rec reads when events happened"):
        runner.run(config, undated, tmp_path / "run", SEED)
    config = defaults.get_config("sli_rec", tiny_data.name)
    with pytest.raises(ValueError, match="runs with --variant=no_times"):
        runner.run(config, undated, tmp_path / "run", SEED)
    assert not (tmp_path / "run").exists()


def test_events_that_a_model_cannot_learn_from_are_said(tiny_data, tmp_path):
    store = dataclasses.replace(tiny_data.store, times=tiny_data.store.times - 2**40)
    early = dataclasses.replace(tiny_data, store=store)
    config = defaults.get_config("tgsrec", tiny_data.name)
    with pytest.raises(UserError, match=r"^tgsrec does not take tiny: Times must be"):
        runner.run(config, early, tmp_path / "run", SEED)


def test_an_epoch_without_a_bar_says_now_and_then_how_far_it_is(monkeypatch, caplog):
    caplog.set_level("INFO", logger="absl")
    now = [0.0]
    monkeypatch.setattr(epoch.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(epoch, "_LOG_EVERY", 1)

    def step():
        now[0] += 25.0
        return {"loss": tf.constant(0.5)}

    config = small_config()
    for disable, lines in ((True, 2), (False, 0)):
        caplog.clear()
        bar = epoch.tqdm(total=9, initial=2, disable=disable)
        epoch._run_steps(step, 7, config, lambda: False, bar)
        found = [record.getMessage() for record in caplog.records]
        assert len(found) == lines
        assert not found or found[0] == (
            "Batch 5 of 9 of this epoch: loss 0.5000, 1 positives/s, "
            "about 100 s left of it"
        )


def test_a_folder_that_holds_something_else_is_left_as_it_is(tiny_data, tmp_path):
    (tmp_path / "checkpoint").mkdir()
    for name in ("checkpoint/torch.pt", "epoch-7.weights.h5", "users.parquet"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=r"holds no run, but checkpoint, epoch-7"):
        runner.run(small_config(), tiny_data, tmp_path, SEED)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "epoch-7.weights.h5",
        "torch.pt",
        "users.parquet",
    ]
