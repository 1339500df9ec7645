"""Lazy Adam: the same as that of tensorflow-addons, and lazy on every TensorFlow."""

from __future__ import annotations

import sys
import types
import warnings

import numpy as np
import pytest
import tensorflow as tf

from mgnm_tf.keras2 import keras
from mgnm_tf.lazy_adam import LazyAdam, lazy_adam
from tests.slow import slow_but

ROWS, SIZE, STEPS = 50, 8, 12


def of_tensorflow_addons():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from tensorflow_addons.optimizers import LazyAdam as theirs
        except ImportError:
            pytest.skip(f"tensorflow-addons is not for TensorFlow {tf.__version__}.")
    return theirs


class Trained:
    """A table and a matrix, trained on rows that repeat within a step."""

    def __init__(self, optimizer):
        rng = np.random.default_rng(0)
        self.table = tf.Variable(rng.normal(size=(ROWS, SIZE)).astype("float32"))
        self.matrix = tf.Variable(rng.normal(size=(SIZE, SIZE)).astype("float32"))
        self.optimizer = optimizer
        self.rows = [tf.constant(rng.integers(0, ROWS // 2, 30)) for _ in range(STEPS)]

    def step(self, rows):
        variables = [self.table, self.matrix]
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(
                tf.tanh(tf.gather(self.table, rows) @ self.matrix) ** 2
            )
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply_gradients(zip(gradients, variables))

    def all(self):
        return [
            v.numpy() for v in (self.table, self.matrix, *self.optimizer.variables())
        ]


MODES = {
    "eager": lambda step: step,
    "graph": tf.function,
    "xla": lambda step: tf.function(step, jit_compile=True),
}
RATES = {
    "number": lambda: 0.01,
    "schedule": lambda: keras.optimizers.schedules.CosineDecay(0.01, STEPS),
}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("mode", slow_but(MODES, ("eager", "graph")))
def test_bits_are_those_of_tensorflow_addons(mode, rate):
    found = []
    for kind in (LazyAdam, of_tensorflow_addons()):
        trained = Trained(kind(RATES[rate]()))
        step = MODES[mode](trained.step)
        for rows in trained.rows:
            step(rows)
        found.append(trained.all())
    for ours, theirs in zip(*found):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("make", [LazyAdam, lazy_adam])
@pytest.mark.parametrize("mode", slow_but(MODES, ("eager", "graph")))
def test_untouched_rows_stay_as_they_are(make, mode):
    trained = Trained(make(0.01))
    trained.step(trained.rows[0])  # Makes the moments.
    before = trained.table.numpy()
    moments = [trained.optimizer.get_slot(trained.table, key) for key in "mv"]
    kept = [moment.numpy() for moment in moments]
    step = MODES[mode](trained.step)
    for rows in trained.rows:
        step(rows)
        touched = np.zeros(ROWS, bool)
        touched[rows.numpy()] = True
        after = trained.table.numpy()
        assert (after != before).any(axis=1).tolist() == touched.tolist()
        for now, then in zip(moments, kept):
            np.testing.assert_array_equal(now.numpy()[~touched], then[~touched])
        kept, before = [moment.numpy() for moment in moments], after


def test_the_second_step_by_hand():
    table = tf.Variable([[1.0], [1.0]])
    optimizer = LazyAdam(0.1)
    first, second = 0.0, 0.0
    expected = 1.0
    for number, gradient in enumerate((3.0, -1.0), start=1):
        rows = tf.IndexedSlices(tf.constant([[gradient]]), tf.constant([1]), [2, 1])
        optimizer.apply_gradients([(rows, table)])
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        rate = 0.1 * np.sqrt(1 - 0.999**number) / (1 - 0.9**number)
        expected -= rate * first / (np.sqrt(second) + 1e-7)
    np.testing.assert_allclose(table, [[1.0], [expected]], rtol=1e-5)


def test_dense_gradients_move_weights_as_adam_does():
    found = []
    for kind in (LazyAdam, keras.optimizers.legacy.Adam):
        matrix = tf.Variable(tf.ones([3, 2]))
        optimizer = kind(0.1)
        for number in range(3):
            gradient = tf.constant([[1.0, -2.0]] * 3) * (number + 1)
            optimizer.apply_gradients([(gradient, matrix)])
        found.append(matrix.numpy())
    np.testing.assert_array_equal(*found)


def test_a_checkpoint_of_one_is_taken_by_the_other(tmp_path):
    theirs, ours = Trained(of_tensorflow_addons()(0.01)), Trained(LazyAdam(0.01))
    for trained in (theirs, ours):
        trained.step(trained.rows[-1])
    for rows in theirs.rows[:3]:
        theirs.step(rows)
    path = tf.train.Checkpoint(
        table=theirs.table, matrix=theirs.matrix, optimizer=theirs.optimizer
    ).save(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(
        table=ours.table, matrix=ours.matrix, optimizer=ours.optimizer
    ).restore(path).assert_existing_objects_matched()
    for trained in (theirs, ours):
        trained.step(trained.rows[4])
    for one, other in zip(theirs.all(), ours.all()):
        np.testing.assert_array_equal(one, other)


def pretend(monkeypatch, optimizers):
    """Puts a tensorflow-addons in place; None: there is none."""
    package = types.ModuleType("tensorflow_addons")
    package.__spec__ = types.SimpleNamespace(name="tensorflow_addons")
    monkeypatch.setitem(sys.modules, "tensorflow_addons", package)
    monkeypatch.setitem(sys.modules, "tensorflow_addons.optimizers", optimizers)


def test_tensorflow_addons_is_taken_where_it_works(monkeypatch):
    theirs = type("LazyAdam", (keras.optimizers.legacy.Adam,), {})
    optimizers = types.ModuleType("tensorflow_addons.optimizers")
    optimizers.LazyAdam = theirs
    pretend(monkeypatch, optimizers)
    assert type(lazy_adam(0.1)) is theirs


def test_one_that_would_be_dense_is_not_taken(monkeypatch):
    optimizers = types.ModuleType("tensorflow_addons.optimizers")
    optimizers.LazyAdam = type("LazyAdam", (keras.optimizers.Adam,), {})
    pretend(monkeypatch, optimizers)
    assert type(lazy_adam(0.1)) is LazyAdam


def test_one_that_does_not_import_is_not_taken(monkeypatch):
    pretend(monkeypatch, None)
    assert type(lazy_adam(0.1)) is LazyAdam
