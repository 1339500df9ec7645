"""What only a GPU proves: `make test-gpu`. Without one these tests are skipped.

Their bodies run on a CPU too, under the CPU's name in place of the GPU's, so that what
is to be proven there has at least been executed here.
"""

from __future__ import annotations

import dataclasses
import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import limits, tables
from data.pipeline import gather_histories, targets
from harness import build, run_folder, runner, training
from harness.epoch import run_epoch
from mgnm_tf.keras2 import keras
from mgnm_tf.sequence_encoders import BidirectionalEncoder
from tests import commands, runs, seeds
from tests.datasets import make_prepared

CPU = "/CPU:0"
ON_GPU = pytest.param("/GPU:0", marks=pytest.mark.gpu)
ANY = pytest.mark.parametrize("device", [CPU, ON_GPU])
SLOW_ON_CPU = pytest.mark.parametrize(
    "device", [pytest.param(CPU, marks=pytest.mark.slow), ON_GPU]
)


@pytest.fixture(autouse=True)
def _has_device(request):
    device = request.node.callspec.params["device"]
    if device != CPU and not tf.config.list_physical_devices("GPU"):
        pytest.skip("TensorFlow sees no GPU on this machine")


@pytest.fixture
def float32_again():
    yield
    keras.mixed_precision.set_global_policy("float32")


def output_and_gradients(device, kind):
    """Of an encoder of 5 steps, 3 sequences and 4 units, whose weights are drawn."""
    with tf.device(device):
        seeds.seed(4)
        layer = BidirectionalEncoder(kind)
        sequences = tf.random.stateless_normal([5, 3, 4], [1, 2])
        layer(sequences, mask=None)
        for number, weight in enumerate(layer.trainable_variables):
            weight.assign(tf.random.stateless_normal(weight.shape, [3, number]))
        recurrent = layer.recurrent.forward_layer
        with tf.GradientTape() as tape:
            tape.watch(sequences)
            output = layer(sequences, mask=None)
            total = tf.reduce_sum(tf.square(output))
        watched = [sequences, *layer.trainable_variables]
        found = [output, *tape.gradient(total, watched)]
    return recurrent, found


@ANY
@pytest.mark.parametrize("kind", ["bilstm", "gru"])
def test_the_cudnn_kernel_computes_what_the_cpu_s_does(device, kind):
    recurrent, found = output_and_gradients(device, kind)
    # Keras asks this of a layer before it takes cuDNN's kernel on a GPU.
    assert recurrent._could_use_gpu_kernel
    assert device[1:4] in found[0].device
    _, expected = output_and_gradients(CPU, kind)
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def losses(device, data, steps=12, **changes):
    """Of MGNM's steps on one batch."""
    config = dataclasses.replace(runs.small_config(), **changes)
    build.set_up_tensorflow(config, seed=1)
    rows = data.instances["train"][:32]
    batch = gather_histories(data, rows, config.max_history)
    positives = targets(data, rows)[:, None]
    batch["candidates"] = np.concatenate([positives, positives % 9 + 1], axis=1)
    with tf.device(device):
        model = build.build_model(config, data, seed=1)
        batch = {key: tf.constant(value) for key, value in batch.items()}
        step = tf.function(model.train_step, jit_compile=config.jit_compile)
        found = []
        for _ in range(steps):
            step(batch)
            found.append(float(model.loss_tracker.result()))
            model.reset_metrics()
        logits = model(batch)
    return np.array(found), logits


@SLOW_ON_CPU
def test_half_precision_learns_and_scores_in_single(device, tiny_data, float32_again):
    found, logits = losses(device, tiny_data, mixed_precision=True)
    assert keras.mixed_precision.global_policy().name == "mixed_float16"
    assert np.isfinite(found).all()
    assert found[-1] < found[0]
    assert logits.dtype == tf.float32


@SLOW_ON_CPU
def test_xla_takes_the_same_steps(device, tiny_data):
    compiled, _ = losses(device, tiny_data, steps=3, jit_compile=True)
    plain, _ = losses(device, tiny_data, steps=3)
    np.testing.assert_allclose(compiled, plain, rtol=1e-4)


@ANY
def test_memory_grows_as_it_is_needed(device, monkeypatch):
    kind, grows = device[1:4], {}
    if device == CPU:  # Whose memory TensorFlow does not manage.
        known = tf.config.list_physical_devices
        monkeypatch.setattr(
            tf.config,
            "list_physical_devices",
            lambda asked=None: known("CPU" if asked == "GPU" else asked),
        )
        where = tf.config.experimental
        monkeypatch.setattr(where, "set_memory_growth", grows.__setitem__)
        monkeypatch.setattr(where, "get_memory_growth", grows.__getitem__)
    build.set_up_tensorflow(runs.small_config(), seed=1)
    devices = tf.config.list_physical_devices(kind)
    assert devices
    assert all(tf.config.experimental.get_memory_growth(one) for one in devices)


@SLOW_ON_CPU
def test_the_bench_measures_what_a_device_could_do(device):
    rates = limits.measure_device(device, size=256)
    shown = tables._gpu(dataclasses.asdict(rates))
    for rate in (rates.gemm, rates.half_gemm, rates.copy, rates.fed):
        assert 1e6 < rate < 1e16
    assert rates.name in shown
    assert "sees none" in tables._gpu(None)


@pytest.fixture(scope="module")
def prepared_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    make_prepared(folder)
    return folder


def trained(folder, run_dir, *flags):
    """The weights of a run of the real command."""
    done = commands.run(
        "experiments.train",
        *("--model=mgnm", "--dataset=tiny", f"--data_dir={folder}", "--max_epochs=2"),
        *(f"--run_dir={run_dir}", "--max_history=8", "--batch_size=64", *flags),
    )
    assert done.returncode == 0, done.stderr
    return runs.weights_of(run_dir)


@SLOW_ON_CPU
def test_deterministic_kernels_repeat_a_run_bit_for_bit(
    device, prepared_folder, tmp_path
):
    one, other = (
        trained(prepared_folder, tmp_path / name, "--deterministic")
        for name in ("one", "other")
    )
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


@SLOW_ON_CPU
def test_a_batch_shared_by_all_gpus_trains_as_on_one(device, prepared_folder, tmp_path):
    alone = trained(prepared_folder, tmp_path / "alone")
    shared = trained(prepared_folder, tmp_path / "shared", "--strategy=mirrored")
    assert alone.keys() == shared.keys()
    for name, value in alone.items():
        np.testing.assert_allclose(shared[name], value, atol=1e-3, err_msg=name)


@SLOW_ON_CPU
def test_a_stopped_run_goes_on_as_if_it_had_not(
    device, tiny_data, tmp_path, monkeypatch
):
    config = runs.small_config(max_epochs=2)

    def stopped_in_the_second(*arguments):
        *_, epoch, _, _ = arguments
        if epoch:
            os.kill(os.getpid(), signal.SIGINT)
        return run_epoch(*arguments)

    with tf.device(device):
        with monkeypatch.context() as patch:
            patch.setattr(training, "run_epoch", stopped_in_the_second)
            with pytest.raises(training.Interrupted):
                runner.run(config, tiny_data, tmp_path / "stopped", runs.SEED)
        assert (tmp_path / "stopped" / run_folder.CHECKPOINT).exists()
        runner.run(config, tiny_data, tmp_path / "stopped", runs.SEED)
        runner.run(config, tiny_data, tmp_path / "whole", runs.SEED)
    ours, theirs = (runs.weights_of(tmp_path / name) for name in ("stopped", "whole"))
    # A GPU's sums come in any order, unless it is told to be deterministic.
    allowed = 0 if device == CPU else 1e-3
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=0, atol=allowed)
