"""The benchmarks measure what they say, and speed's invariants hold."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import integrity, limits, plain, tables, trial, workloads
from benchmarks.trial import Trial
from data.pipeline import training_dataset
from harness import build, defaults
from harness.config import Config
from mgnm_tf.keras2 import keras
from mgnm_tf.lazy_adam import lazy_adam
from mgnm_tf.model import MGNM
from tests.calls import call

ROOT = Path(__file__).parent.parent


def hlo(function):
    compiled = tf.function(function, jit_compile=True)
    return compiled.experimental_get_compiler_ir()(stage="hlo")


def test_products_are_counted_from_their_shapes():
    left, right = tf.ones([6, 3, 4]), tf.ones([6, 4, 5])
    found = limits.count(hlo(lambda: left @ right), loop_steps=1)
    assert found.flops == 2 * 6 * 3 * 4 * 5
    assert found.bytes == 4 * 6 * (3 * 4 + 4 * 5 + 3 * 5)


def test_a_convolution_is_counted_from_its_shapes():
    rows, kernel = tf.ones([2, 9, 3]), tf.ones([4, 3, 7])
    found = limits.count(hlo(lambda: tf.nn.conv1d(rows, kernel, 1, "VALID")), 1)
    assert found.flops == 2 * (2 * 6 * 7) * (4 * 3)


def test_a_loop_counts_for_each_step_of_the_history():
    cell = keras.layers.SimpleRNN(4, use_bias=False)
    rows = tf.ones([3, 11, 5])
    cell(rows)
    found = limits.count(hlo(lambda: cell(rows)), loop_steps=11)
    assert found.flops == 11 * 2 * 3 * (5 * 4 + 4 * 4)


@pytest.mark.slow
def test_the_recurrent_steps_of_mgnm_dominate_its_count(tiny_data):
    batch_size, length, size = 4, 7, 8
    model = MGNM(30, 40, embedding_dim=size, num_layers=1, num_interests=2)
    config = Config(model="mgnm", arguments={})
    build.set_up_tensorflow(config, seed=1)
    model.compile(optimizer=lazy_adam(1e-3), jit_compile=True)
    batch = {
        "user": tf.ones([batch_size], tf.int32),
        "history": tf.ones([batch_size, length], tf.int32),
        "candidates": tf.ones([batch_size, 6], tf.int32),
    }
    model(batch)
    step = tf.function(model.train_step, jit_compile=True)
    found = limits.step_work(step, batch)
    sequences = batch_size * 2 * 2  # Levels, capsules.
    gates = 2 * sequences * length * 2 * (size + size) * 4 * size  # Both directions.
    assert 3 * gates < found.flops < 5 * gates


def test_the_plain_composition_is_the_same_model():
    arguments = {"embedding_dim": 6, "num_layers": 2, "num_interests": 3, "l2": 0.0}
    ours, other = MGNM(9, 20, **arguments), plain.PlainMGNM(9, 20, **arguments)
    history = np.random.default_rng(0).integers(1, 20, (5, 8))
    history[0, :5], history[1, :7] = 0, 0
    batch = {
        "user": tf.range(1, 6),
        "history": tf.constant(history, tf.int32),
        "candidates": tf.reshape(tf.range(1, 16), [5, 3]),
    }
    ours(batch), other(batch)
    for mine, theirs in (
        (ours.user_embedding, other.user_embedding),
        (ours.item_embedding, other.item_embedding),
        (ours.gcn, other.gcn),
        (ours.capsule.encoder, other.capsule.encoder),
    ):
        theirs.set_weights(mine.get_weights())
    for name in ("projection", "output_kernel", "inference_draw"):
        getattr(other.capsule, name).assign(getattr(ours.capsule, name))
    np.testing.assert_allclose(ours(batch), other(batch), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_a_workload_has_the_lengths_it_says(name, tmp_path):
    spec = workloads.WORKLOADS[name]
    data = workloads.build(name, tmp_path, active_users=500, num_items=5_000)
    again = workloads.build(name, tmp_path / "2", active_users=500, num_items=5_000)
    assert data.meta["sha256"] == again.meta["sha256"]
    lengths = data.instances["test"][:, 1]
    expected = spec.shortest + np.exp(spec.mean_log + spec.sigma_log**2 / 2)
    assert lengths.mean() == pytest.approx(expected, rel=0.1)
    assert lengths.min() >= spec.shortest
    assert data.num_users == spec.num_users + 1


@pytest.mark.slow
def test_nothing_is_traced_again_after_the_first_step(tiny_data):
    config = Config(model="mgnm", arguments={"embedding_dim": 4}, batch_size=7)
    build.set_up_tensorflow(config, seed=1)
    model = build.build_model(config, tiny_data, seed=1)
    ranker = build.make_ranker(model, tiny_data, config)
    step = model.make_train_function()
    lengths = set()
    for epoch in range(2):
        dataset = training_dataset(
            tiny_data,
            epoch=epoch,
            seed=1,
            batch_size=7,
            num_negatives=5,
            max_history=9,
        )
        lengths |= {tuple(batch["history"].shape) for batch in dataset}
        batches = iter(dataset)
        for _ in dataset:
            step(batches)
        ranker.rank("valid", "uni1000")
        ranker.rank("test", "uni1000", rows=np.arange(3))
    assert len(lengths) > 3
    assert step.experimental_get_tracing_count() == 1
    assert ranker._scoring._lists.experimental_get_tracing_count() == 1


@pytest.mark.slow
def test_the_first_step_comes_soon_after_the_start(tiny_data, tmp_path):
    """Idle, start and end take about 10 s of the processor; on a busy machine more."""
    command = [
        *(sys.executable, "-m", "experiments.train", "--model=mgnm"),
        *("--dataset=tiny", f"--data_dir={tiny_data.folder.parent.parent}"),
        *(f"--run_dir={tmp_path / 'run'}", "--max_epochs=1"),
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of the processor, not by the clock: other programs do not count.
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    assert seconds < 30


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    output = tmp_path_factory.mktemp("bench") / "result"
    folder = tmp_path_factory.mktemp("data")
    workloads.build("toys", folder, active_users=600, num_items=2_000, num_users=600)
    command = [
        *(sys.executable, "-m", "benchmarks.bench"),
        "--models=gru4rec,tgsrec,popularity",
        *("--dataset=toys", f"--data_dir={folder}", "--seconds=0.2", "--rounds=2"),
        *("--steps=4", "--instances=64"),
        f"--output={output}",
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return json.loads(output.with_suffix(".json").read_text()), output


@pytest.mark.slow
def test_bench_measures_every_model_beside_its_limit(result):
    found, output = result
    models = found["workloads"]["toys"]["models"]
    assert list(models) == ["gru4rec", "tgsrec", "popularity"]
    gru4rec = models["gru4rec"]
    share = gru4rec["positives_per_s"] / gru4rec["limit_positives_per_s"]
    assert gru4rec["limit_share"] == pytest.approx(share, abs=0.01)
    assert "limit_share" not in models["tgsrec"]  # XLA cannot count it.
    assert "positives_per_s" not in models["popularity"]
    assert models["popularity"]["full_per_s"] > 0
    assert "| gru4rec |" in output.with_suffix(".md").read_text()


@pytest.mark.slow
def test_bench_prints_ratios_to_a_stored_run(result):
    found, _ = result
    faster = json.loads(json.dumps(found))
    faster["workloads"]["toys"]["models"]["gru4rec"]["ranked_per_s"] *= 2
    text = tables.ratios(faster, found)
    assert "| toys: gru4rec | 1.00 | 2.00 |" in text
    assert "| toys: popularity | – | 1.00 |" in text


def test_ratios_to_peers_are_ours_over_theirs():
    figures = {"our_train": 30, "their_train": 10, "our_rank": 8, "their_rank": 2}
    text = tables.peers({"sasrec": figures})
    assert "| sasrec | 10 | 30 | 3.0 | 2 | 8 | 4.0 |" in text


def test_bucketing_is_compared_seed_by_seed():
    figures = {
        "like": [{"gauc": 0.5}, {"gauc": 0.7}],
        "random": [{"gauc": 0.4}, {"gauc": 0.6}],
        "epoch_s": {"like": 1.0, "random": 4.0},
    }
    result = {"dataset": "d", "split": "s", "seeds": [1, 2], "models": {"m": figures}}
    expected = "| 0.6000 ± 0.1414 | 0.5000 ± 0.1414 | 0.1000 ± 0.0000 | 1.0 | 4.0 |"
    assert f"| m | gauc {expected}" in tables.bucketing(result)


@pytest.mark.parametrize(
    ("module", "flag", "message"),
    [
        ("benchmarks.bucketing", "--models=nobody", "--models: no ['nobody']"),
        ("benchmarks.bench", "--models=nobody", "--models: no ['nobody']"),
        ("benchmarks.bench", "--baseline=nowhere.json", "--baseline: nowhere.json"),
        ("benchmarks.bench", "--workloads=nowhere", "--workloads: no ['nowhere']"),
        ("benchmarks.peers", "--peer_python=nowhere", "--peer_python"),
        ("benchmarks.integrity", "--rounds=1", "Say which data: --dataset, or"),
    ],
)
def test_wrong_flags_of_benchmarks_are_one_line(module, flag, message):
    more = ["--dataset=nowhere"] if module == "benchmarks.bucketing" else []
    done = call(module, flag, *more)
    assert done.code == 1
    assert message in done.err.strip().splitlines()[-1]


def test_checks_of_integrity_are_timed_and_hashes_cost_more(tmp_path):
    data = workloads.build("toys", tmp_path, active_users=3_000)
    found = integrity.measure(tmp_path, data.name, rounds=3)
    assert found["interactions"] == data.meta["statistics"]["interactions"]
    assert 0 < found["unchecked_s"] < found["verified_s"]


def test_every_drawn_batch_is_timed_once(tmp_path):
    data = workloads.build("toys", tmp_path, active_users=300)
    seen = []

    def step(batches):
        batch = next(batches)
        seen.append(
            {
                (int(u), tuple(h))
                for u, h in zip(batch["user"], batch["history"].numpy())
            }
        )
        return {"loss": tf.constant(0.0)}

    speed = trial.training_speed(
        step,
        data,
        steps=7,
        batch_size=32,
        epoch=1,
        seed=1,
        num_negatives=2,
        max_history=100,
    )
    assert speed > 0
    untimed, *timed = seen
    assert len(timed) == 7
    assert untimed == timed[-1]
    assert sum(map(len, timed)) == len(set.union(*timed)) == 7 * 32


@pytest.mark.slow
def test_shared_negatives_of_the_strong_recipe_are_part_of_its_limit(tiny_data):
    config = defaults.get_config("mean_pooling", "tiny", recipe="strong")
    trial = Trial(tiny_data, "mean_pooling", config, steps=2, seconds=0.1)
    trial.round(1)
    found = trial.figures(limits.Rates(1e9, 1e9, 1e9))
    assert found["positives_per_s"] > 0
    # All 30 items are negatives: a product forward and two backward, of 64 numbers.
    rows = min(config.batch_size, len(tiny_data.instances["train"]))
    products = 3 * 2 * rows * 64 * (tiny_data.num_items - 1)
    assert found["step_gflop"] * 1e9 >= products
