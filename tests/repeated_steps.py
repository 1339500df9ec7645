"""For tests/test_runner.py: how many different weights the same steps end with.

Usage: python -m tests.repeated_steps PREPARED_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import tensorflow as tf

from data import pipeline, prepared
from harness import build
from tests.runs import SEED, small_config

# Sums whose order threads decide come out alike most times.
TIMES = 60


def main(folder: str) -> None:
    tiny_data = prepared.load(Path(folder), "tiny", "leave_one_out")
    model = build.build_model(small_config(), tiny_data, SEED)
    arguments = {"batch_size": 16, "num_negatives": 5, "max_history": 8}
    batches = [
        {key: tf.convert_to_tensor(value) for key, value in batch.items()}
        for batch in pipeline.training_batches(tiny_data, 0, SEED, **arguments)
    ]
    signature = pipeline.batch_signature(tiny_data)
    step = tf.function(model.train_step, input_signature=[signature])
    variables = [*model.variables, *model.optimizer.variables()]
    start = [variable.numpy() for variable in variables]
    found = set()
    for _ in range(TIMES):
        for variable, value in zip(variables, start):
            variable.assign(value)
        for batch in batches:
            step(batch)
        found.add(b"".join(w.numpy().tobytes() for w in model.trainable_variables))
    print(len(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
