"""Runs for tests: small configurations, and finished runs that nothing trained."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from harness import metrics, run_folder
from harness.config import Config

SEED, EPOCHS = 3, 5
NUM_INSTANCES = 200


def small_config(**changes):
    arguments = {"embedding_dim": 4, "num_interests": 2, "num_layers": 1}
    given = {"batch_size": 16, "max_epochs": EPOCHS, "max_history": 8, **changes}
    return Config(model="mgnm", arguments=arguments, **given)


def weights_of(run_dir):
    import h5py

    found = {}
    with h5py.File(run_dir / run_folder.WEIGHTS) as file:
        file.visititems(
            lambda name, node: (
                found.update({name: np.array(node)})
                if isinstance(node, h5py.Dataset)
                else None
            )
        )
    return found


def assert_same_weights(run_dir, other):
    ours, theirs = weights_of(run_dir), weights_of(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def write_run(runs, model, seed, shift, budget=30, **changes):
    """A run whose positives stand `shift` places lower than they might."""
    drawn = np.random.default_rng(seed).integers(0, 40, NUM_INSTANCES)
    place = np.minimum(drawn + shift, 99)
    ranks = metrics.Ranks(place, place, np.full(NUM_INSTANCES, 99))
    table = pd.DataFrame(
        {
            "user": np.arange(NUM_INSTANCES) // 2,
            "item": 1,
            "time": 0,
            "protocol": "uni1000",
            "rank_pessimistic": place,
            "rank_optimistic": place,
            "candidates": 100,
        }
    )
    folder = runs / "shop" / "global_time" / model / f"seed-{seed}"
    folder.mkdir(parents=True)
    table.to_parquet(folder / "ranks.parquet")
    data = {"users": 100, "items": 90, "interactions": 900, "test": NUM_INSTANCES}
    passport = {
        "model": model,
        "variant": "paper",
        "dataset": "shop",
        "split": "global_time",
        "seed": seed,
        "status": "complete",
        "commit": "abc",
        "machine": {"cpu": "a CPU", "cores": 2, "memory_gb": 1, "gpu": None},
        "data": {**data, "sha256": "f00", "matches_table1": False},
        "candidates": {"seed": 1},
        "config": {"split_rule": "by time"},
        "training": {
            "epochs": 3,
            "best_epoch": 3,
            "max_epochs": budget,
            "steps": 60,
            "seconds": 6.0,
            "positives_per_s": 500.0,
            "parameters": 1234,
            "stopped_because": "no better ndcg@5 in 2 epochs",
        },
        "evaluation": {"instances_per_s": 4000.0},
        "peak_memory_mb": 600.0,
        "metrics": {"test": {"uni1000": {"instance": metrics.instance_metrics(ranks)}}},
    }
    passport.update(changes)
    (folder / "passport.json").write_text(json.dumps(passport))
    return passport
