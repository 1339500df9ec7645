"""What one stack wrote, read by another: weights of every model, and half a training.

Example: .venv/bin/python -m tests.across_stacks write made/by-2.15
         .venv-latest/bin/python -m tests.across_stacks read made/by-2.15

Names of models after the folder choose them; without names all are taken.
`read` prints, as JSON, by how much at most the scores of each model differ, and what
the run's passport says that was begun with the one stack and finished with the other.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from data import prepared
from data.pipeline import training_batches
from harness import build, defaults, models, runner, standalone, training
from harness.epoch import run_epoch
from tests import datasets, runs

SEED, STEPS = 1, 2
TRAINED = sorted(set(models.MODELS) - {*defaults.UNTRAINED})


def config_of(name):
    return defaults.get_config(
        name, "tiny", max_history=runs.small_config().max_history
    )


def built(name, data):
    """A model with its weights made; its steps are not traced, which takes longer."""
    config = config_of(name)
    build.set_up_tensorflow(config, SEED)
    model = build.build_model(config, data, SEED)
    model.run_eagerly = True
    return model, config


def scores_of(model, data, config):
    ranker = build.make_ranker(model, data, config)
    instances = data.instances["test"]
    everything = np.arange(1, data.num_items, dtype=np.int32)
    shape = (len(instances), len(everything))
    return ranker.score_lists(instances, np.broadcast_to(everything, shape))


def write(folder, names):
    data = datasets.make_prepared(folder)
    scores = {}
    for name in names:
        model, config = built(name, data)
        batches = training_batches(
            data,
            epoch=0,
            seed=SEED,
            batch_size=32,
            num_negatives=config.num_negatives,
            max_history=config.max_history,
        )
        for _, batch in zip(range(STEPS), batches):
            model.train_step({key: tf.constant(value) for key, value in batch.items()})
        model.save_weights(folder / f"{name}.weights.h5")
        scores[name] = scores_of(model, data, config)
    np.savez(folder / "scores.npz", **scores)
    _half_a_run(folder, data)


def _half_a_run(folder, data):
    """A run that Ctrl-C stopped in its second epoch."""

    def stopped_in_the_second(*arguments):
        *_, epoch, _, _ = arguments
        if epoch:
            os.kill(os.getpid(), signal.SIGINT)
        return run_epoch(*arguments)

    training.run_epoch = stopped_in_the_second
    try:
        runner.run(runs.small_config(), data, folder / "run", SEED)
    except training.Interrupted:
        return
    raise RuntimeError("The run was to be stopped.")


def read(folder, names):
    data = prepared.load(folder, "tiny")
    stored = np.load(folder / "scores.npz")
    differences = {}
    for name in names:
        model, config = built(name, data)
        standalone.load_weights(model, folder / f"{name}.weights.h5")
        own = scores_of(model, data, config)
        differences[name] = float(np.abs(own - stored[name]).max())
    passport = runner.run(runs.small_config(), data, folder / "run", SEED)
    told = {
        "differences": differences,
        "tensorflow": passport["training"]["tensorflow"],
        "epochs": passport["training"]["epochs"],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    given = Path(sys.argv[2])
    given.mkdir(parents=True, exist_ok=True)
    {"write": write, "read": read}[sys.argv[1]](given, sys.argv[3:] or TRAINED)
