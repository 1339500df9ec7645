"""Whether MGNM's cost grows with the histories of a batch and with nothing else.

Example: python -m benchmarks.scaling --output=scaling.json

Prints the time of a train step against the summed length of its histories, against the
number of instances, and against the number of items.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from harness import command_line, defaults

if TYPE_CHECKING:
    from data.prepared import PreparedData
    from mgnm_tf.recommender import SequentialRecommender

_MODEL = flags.DEFINE_enum(
    "model", "mgnm", sorted(defaults.MODEL_SETTINGS), "Which model."
)
_LENGTHS = flags.DEFINE_list("lengths", ["10", "20", "50", "100"], "Of histories.")
_USERS = flags.DEFINE_list(
    "users", ["30000", "300000", "3000000"], "With events, 3.5 instances each."
)
_ITEMS = flags.DEFINE_list("items", ["10000", "100000", "1000000"], "Of the table.")
_STEPS = flags.DEFINE_integer("steps", 64, "Training steps a round.", 2)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Of each measurement.", 1)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write; none by default.")

_BATCH_SIZE, _MAX_HISTORY = 256, 100


def main() -> None:
    from harness import provenance

    with tempfile.TemporaryDirectory() as folder:
        result = {
            "commit": provenance.commit(),
            "machine": provenance.describe(),
            "lengths": _by_length(Path(folder)),
            "instances": _by_size(Path(folder), "active_users", _USERS.value),
            "items": _by_size(Path(folder), "num_items", _ITEMS.value),
        }
    text = json.dumps(result, indent=2) + "\n"
    sys.stdout.write(text)
    if _OUTPUT.value:
        Path(_OUTPUT.value).write_text(text)


def _by_length(folder: Path) -> list[dict[str, float]]:
    """Milliseconds of a step on batches whose histories all have one length."""
    import tensorflow as tf

    from benchmarks import workloads

    data = workloads.build("toys", folder, active_users=2_000)
    model = _model(data)
    rng = np.random.default_rng(0)
    step = model.make_train_function()
    repeated = {}
    for length in map(int, _LENGTHS.value):
        batch = {
            "user": rng.integers(1, 2_000, _BATCH_SIZE),
            "history": rng.integers(1, data.num_items, (_BATCH_SIZE, length)),
            "candidates": rng.integers(1, data.num_items, (_BATCH_SIZE, 6)),
        }
        tensors = {key: tf.constant(value, tf.int32) for key, value in batch.items()}
        repeated[length] = tf.data.Dataset.from_tensors(tensors).repeat()
    times: dict[int, list[float]] = {length: [] for length in repeated}
    for number in range(_ROUNDS.value + 1):  # The first one warms up.
        for length, dataset in repeated.items():
            seconds = _seconds(step, iter(dataset))
            if number:
                times[length].append(seconds)
    return [
        {
            "length": length,
            "step_ms": round(1e3 * statistics.median(seconds_of_steps), 2),
            "us_per_event": round(
                1e6 * statistics.median(seconds_of_steps) / (_BATCH_SIZE * length), 3
            ),
        }
        for length, seconds_of_steps in times.items()
    ]


def _by_size(folder: Path, field: str, sizes: list[str]) -> list[dict[str, float]]:
    """Microseconds a positive over all lengths of history, by a size of the data."""
    from benchmarks import workloads
    from benchmarks.trial import training_speed

    pipeline = {
        "batch_size": _BATCH_SIZE,
        "num_negatives": 5,
        "max_history": _MAX_HISTORY,
        "seed": 1,
    }
    trials: dict[int, Any] = {}
    for size in map(int, sizes):
        # As many users in the table as the largest has, so that one thing changes.
        users = max(map(int, _USERS.value))
        changes = {"num_users": users, field: size}
        data = workloads.build("toys", folder / f"{field}-{size}", **changes)
        model = _model(data)
        trials[size] = (data, model, model.make_train_function(), [])
    for number in range(_ROUNDS.value + 1):
        for data, _, step, times in trials.values():
            speed = training_speed(step, data, _STEPS.value, epoch=number, **pipeline)
            if number:
                times.append(1e6 / speed)
    return [
        {
            field: size,
            "instances": len(data.instances["train"]),
            "us_per_positive": round(statistics.median(times), 1),
            "us_per_positive_of_rounds": [round(us, 1) for us in times],
            "order_us_per_positive": round(_order_us(data), 2),
        }
        for size, (data, _, _, times) in trials.items()
    ]


def _order_us(data: PreparedData) -> float:
    """Microseconds an instance that the order of an epoch takes to draw."""
    from data.pipeline import epoch_order

    lengths = np.minimum(data.instances["train"][:, 1], _MAX_HISTORY)
    started = time.perf_counter()
    epoch_order(lengths, _BATCH_SIZE, np.random.default_rng(0))
    return 1e6 * (time.perf_counter() - started) / len(lengths)


def _model(data: PreparedData) -> SequentialRecommender:
    from harness import build

    config = defaults.get_config(_MODEL.value, "toys")
    build.set_up_tensorflow(config, seed=1)
    return build.build_model(config, data, seed=1)


def _seconds(step: Any, batches: Any) -> float:
    """The seconds of one step; the first step, which traces, is not counted."""
    float(step(batches)["loss"])
    started = time.perf_counter()
    for _ in range(_STEPS.value - 1):
        loss = step(batches)["loss"]
    float(loss)
    return (time.perf_counter() - started) / (_STEPS.value - 1)


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. Nothing was written.")
