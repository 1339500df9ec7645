"""What one stack wrote, read by another: weights, scores, and a run that was stopped.

Example: .venv-latest/bin/python -m tests.across_stacks THEIRS OURS mgnm gru4rec

Reads what another stack left in the folder THEIRS by `write` and `go_on`, and then
leaves the same in the folder OURS, and the run further on. It prints, as JSON, by how
much at most the scores of each model differ.
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
from harness import build, defaults, runner, standalone, training
from tests import runs

SEED, STEPS = 1, 2


class Scored:
    """A model with its weights made, and its scores of every item.

    Its steps are not traced, which takes longer than the few of them.
    """

    def __init__(self, name, data):
        max_history = runs.small_config().max_history
        self.data = data
        self.config = defaults.get_config(name, "tiny", max_history=max_history)
        build.set_up_tensorflow(self.config, SEED)
        self.model = build.build_model(self.config, data, SEED)
        self.model.run_eagerly = True
        self.ranker = build.make_ranker(self.model, data, self.config)

    def train(self):
        batches = training_batches(
            self.data,
            epoch=0,
            seed=SEED,
            batch_size=32,
            num_negatives=self.config.num_negatives,
            max_history=self.config.max_history,
        )
        for _, batch in zip(range(STEPS), batches):
            self.model.train_step(
                {key: tf.constant(value) for key, value in batch.items()}
            )

    def scores(self):
        instances = self.data.instances["test"]
        everything = np.arange(1, self.data.num_items, dtype=np.int32)
        shape = (len(instances), len(everything))
        return self.ranker.score_lists(instances, np.broadcast_to(everything, shape))


def write(models, folder):
    """Trains models a little; leaves their weights, and the scores by them."""
    scores = {}
    for name, scored in models.items():
        scored.train()
        scored.model.save_weights(folder / f"{name}.weights.h5")
        scores[name] = scored.scores()
    np.savez(folder / "scores.npz", **scores)


def differences(models, folder):
    """By how much at most own scores by another's weights differ from the other's."""
    stored = np.load(folder / "scores.npz")
    found = {}
    for name, scored in models.items():
        standalone.load_weights(scored.model, folder / f"{name}.weights.h5")
        found[name] = float(np.abs(scored.scores() - stored[name]).max())
    return found


def go_on(data, run_dir, until):
    """Begins a run or goes on with it, until Ctrl-C in the epoch of that index."""
    run_epoch = training.run_epoch

    def stopped(*arguments):
        *_, epoch, _, _ = arguments
        if epoch == until:
            os.kill(os.getpid(), signal.SIGINT)
        return run_epoch(*arguments)

    training.run_epoch = stopped
    try:
        runner.run(runs.small_config(), data, run_dir, SEED)
    except training.Interrupted:
        return
    finally:
        training.run_epoch = run_epoch
    raise RuntimeError("The run was to be stopped.")


def main(theirs, ours, names):
    data = prepared.load(theirs, "tiny")
    models = {name: Scored(name, data) for name in names}
    found = differences(models, theirs)
    write(models, ours)
    go_on(data, theirs / "run", until=3)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
