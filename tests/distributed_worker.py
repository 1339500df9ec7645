"""One worker of tests/test_distribution.py: trains, then writes its own weights.

Usage: python -m tests.distributed_worker PREPARED_FOLDER RUN_DIR OUTPUT STRATEGY
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from data import prepared
from harness import runner, training
from harness.config import Config


def main(folder: str, run_dir: str, output: str, strategy: str) -> None:
    data = prepared.load(Path(folder), "tiny", "leave_one_out")
    config = Config(
        model="mgnm",
        arguments={"embedding_dim": 4, "num_interests": 2, "num_layers": 1},
        # 24 users: batches of 15 leave a last one of an odd size.
        batch_size=15,
        max_epochs=3,
        max_history=8,
        strategy=strategy,
        # The harder case: every replica must have all of the shared negatives.
        objective="sampled_softmax",
        num_negatives=20,
    )
    seen = []
    epoch = training.run_epoch

    def recorded(model, *rest):
        result = epoch(model, *rest)
        seen.append(float(model.loss_tracker.result()))
        return result

    finish = training.train

    def kept(model, *rest):
        trained = finish(model, *rest)
        weights = {w.name: w.numpy() for w in model.trainable_variables}
        np.savez(output, **weights)
        return trained

    training.run_epoch, training.train = recorded, kept
    passport = runner.run(config, data, Path(run_dir), seed=3)
    found = {
        "losses": seen,
        "replicas": passport["replicas"],
        "metrics": passport["metrics"],
    }
    Path(output).with_suffix(".json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
