"""Positives trained and test instances ranked a second, by every model.

Example: python -m benchmarks.models --dataset=instruments_5core --output=models.json

Models start untrained, for no speed depends on the weights. Medians over repetitions of
an epoch's first steps and of a ranking, after one that traces.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import app, flags

from experiments import configs

if TYPE_CHECKING:
    from data.prepared import PreparedData
    from experiments.ranking import Ranker
    from mgnm_tf.recommender import SequentialRecommender

_DATASET = flags.DEFINE_string(
    "dataset", None, "Name under which `data.prepare` wrote the data.", required=True
)
_SPLIT = flags.DEFINE_string("split", None, "Which of its splits.")
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "data/prepared", "Where `data.prepare` wrote."
)
_MODELS = flags.DEFINE_list("models", None, "Which models, by comma. Default: all.")
_INSTANCES = flags.DEFINE_integer("instances", 2_000, "Most test instances.", 1)
_STEPS = flags.DEFINE_integer("steps", 20, "Most training steps of an epoch.", 1)
_REPETITIONS = flags.DEFINE_integer("repetitions", 5, "Of each measurement.", 1)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write; none by default.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    from data import prepared
    from experiments import machine

    known = list(configs.MODEL_SETTINGS)
    wanted = _MODELS.value or known
    if {*wanted} - {*known}:
        sys.exit(f"error: no {sorted({*wanted} - {*known})}; there are {known}.")
    try:
        data = prepared.load(Path(_DATA_DIR.value), _DATASET.value, _SPLIT.value)
    except ValueError as error:
        sys.exit(f"error: {error}")
    figures = {}
    for model in wanted:
        try:
            figures[model] = measure(data, model)
        except ValueError as error:  # It needs times, say.
            sys.stderr.write(f"{error}\n")
            continue
        sys.stdout.write(f"{model}: {json.dumps(figures[model])}\n")
        sys.stdout.flush()
    if _OUTPUT.value:
        result = {"machine": machine.describe(), "data": data.name, "models": figures}
        Path(_OUTPUT.value).write_text(json.dumps(result, indent=2) + "\n")


def measure(data: PreparedData, name: str) -> dict[str, float]:
    """The model's number of weights, and its speeds.

    Raises:
        ValueError: if the model cannot run on the data.
    """
    from experiments import runner

    config = configs.get_config(name, data.name)
    runner.set_up_tensorflow(config, seed=1)
    model = runner.build_model(config, data, seed=1)
    ranker = runner.make_ranker(model, data, config)
    figures = {"parameters": sum(w.shape.num_elements() for w in model.weights)}
    repetitions = range(_REPETITIONS.value + 1)  # The first one traces.
    if model.trainable_variables:
        speeds = [_train(model, data, config, epoch) for epoch in repetitions]
        figures["positives_per_s"] = round(statistics.median(speeds[1:]))
    speeds = [_rank(ranker, data) for _ in repetitions]
    return {**figures, "ranked_per_s": round(statistics.median(speeds[1:]))}


def _train(
    model: SequentialRecommender, data: PreparedData, config: configs.Config, epoch: int
) -> float:
    from data.pipeline import training_dataset

    dataset = training_dataset(
        data,
        epoch=epoch,
        seed=1,
        batch_size=config.batch_size,
        num_negatives=config.num_negatives,
        max_history=config.max_history,
    )
    batches = iter(dataset)
    step = model.make_train_function()
    full_batches = len(data.instances["train"]) // config.batch_size
    count = max(1, min(_STEPS.value, full_batches))
    started = time.perf_counter()
    for _ in range(count):
        loss = step(batches)["loss"]
    float(loss)  # Waits for the last step.
    return count * config.batch_size / (time.perf_counter() - started)


def _rank(ranker: Ranker, data: PreparedData) -> float:
    # Spread over all users, whose histories differ in length.
    count = len(data.instances["test"])
    rows = np.linspace(0, count - 1, min(_INSTANCES.value, count), dtype=int)
    started = time.perf_counter()
    ranker.rank("test", "uni1000", rows=rows)
    return len(rows) / (time.perf_counter() - started)


if __name__ == "__main__":
    app.run(main)
