"""Whether batches of histories of like length cost a model anything on validation.

Example: python -m benchmarks.bucketing --dataset=instruments_5core --output=bucketing

Trains the same seeds in such batches and in random ones. Prints the best epoch's
validation metrics of both, and their difference paired by seed.
"""

from __future__ import annotations

import functools
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from absl import flags

from benchmarks import tables
from data.errors import UserError
from harness import command_line, defaults

if TYPE_CHECKING:
    from data.prepared import PreparedData

_DATASET = flags.DEFINE_string(
    "dataset", None, "A data set that `data.prepare` wrote.", required=True
)
_SPLIT = flags.DEFINE_string("split", None, "Which of its splits.")
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "data/prepared", "Where `data.prepare` wrote."
)
_MODELS = flags.DEFINE_list("models", ["mgnm", "gru4rec"], "Which models, by comma.")
_SEEDS = flags.DEFINE_list("seeds", ["1", "2", "3"], "By comma.")
_MAX_HISTORY = flags.DEFINE_integer("max_history", None, "As in experiments.train.", 1)
_MAX_EPOCHS = flags.DEFINE_integer("max_epochs", None, "As in experiments.train.", 1)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Writes OUTPUT.json and OUTPUT.md; none by default."
)

_METRICS = ("gauc", "ndcg@5", "hit@5")


def main() -> None:
    from data import prepared
    from harness import provenance

    unknown = sorted({*_MODELS.value} - {*defaults.MODEL_SETTINGS})
    if unknown:
        known = list(defaults.MODEL_SETTINGS)
        raise UserError(f"--models: no {unknown}; there are {known}.")
    seeds = [int(seed) for seed in _SEEDS.value]
    data = prepared.load(Path(_DATA_DIR.value), _DATASET.value, _SPLIT.value)
    result = {
        "commit": provenance.commit(),
        "machine": provenance.describe(),
        "dataset": data.name,
        "split": data.split,
        "max_history": _MAX_HISTORY.value,
        "max_epochs": _MAX_EPOCHS.value,
        "seeds": seeds,
        "models": {model: _compare(data, model, seeds) for model in _MODELS.value},
    }
    text = tables.bucketing(result)
    sys.stdout.write(text)
    if _OUTPUT.value:
        Path(f"{_OUTPUT.value}.json").write_text(json.dumps(result, indent=2) + "\n")
        Path(f"{_OUTPUT.value}.md").write_text(text)


def _compare(data: PreparedData, model: str, seeds: list[int]) -> dict[str, Any]:
    """Validation metrics by seed of both orders, and the mean seconds of an epoch."""
    by_order: dict[str, Any] = {"like": [], "random": []}
    seconds: dict[str, list[float]] = {"like": [], "random": []}
    for seed in seeds:
        for order in by_order:
            passport = _train(data, model, seed, order)
            metrics = passport["metrics"]["valid"]
            by_order[order].append({name: metrics[name] for name in _METRICS})
            training = passport["training"]
            seconds[order].append(training["seconds"] / training["epochs"])
            sys.stderr.write(f"{model}, seed {seed}, {order}: {by_order[order][-1]}\n")
    means = {order: round(statistics.mean(of), 2) for order, of in seconds.items()}
    return {**by_order, "epoch_s": means}


def _train(data: PreparedData, model: str, seed: int, order: str) -> dict[str, Any]:
    from data import pipeline
    from harness import runner

    config = defaults.get_config(
        model,
        data.name,
        max_history=_MAX_HISTORY.value,
        max_epochs=_MAX_EPOCHS.value,
    )
    dataset = pipeline.training_dataset
    if order == "random":
        dataset = functools.partial(dataset, pool_batches=1)
    replaced = mock.patch.object(pipeline, "training_dataset", dataset)
    with tempfile.TemporaryDirectory() as folder, replaced:
        return runner.run(config, data, Path(folder) / "run", seed)


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. Nothing was written.")
