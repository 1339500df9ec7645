"""From the released computation to the paper's: one run a step, kept as JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from baselines.released.model import ReleasedMGNM
from data import atomic, planted, prepared
from data.errors import UserError
from data.pipeline import training_dataset
from data.prepared import PreparedData
from experiments.studies.waterfall.evaluation import (
    SAMPLE_SEED,
    Evaluator,
    Lists,
    candidate_lists,
    chance,
    selection_gauc,
    views,
)
from experiments.studies.waterfall.steps import TRAINED_STEPS, Budget, step_config
from harness import build, defaults, provenance
from harness.config import Config
from mgnm_tf.keras2 import keras

NOISE = "noise"
_HASH = "sha256"  # Of all else that a stored run holds.
_NOISE_USERS, _NOISE_ITEMS, _NOISE_SEED = 600, 3_000, 0


def noise(data_dir: Path) -> PreparedData:
    """Items drawn uniformly, whoever the user: there is nothing to learn."""
    folder = data_dir / NOISE / planted.SPLIT
    if (folder / "meta.json").exists():
        return prepared.load(data_dir, NOISE)
    rng = np.random.default_rng(_NOISE_SEED)
    lengths = rng.integers(5, 41, _NOISE_USERS)
    return planted.write(
        folder,
        users=np.repeat(np.arange(1, _NOISE_USERS + 1), lengths),
        items=planted.noise_items(rng, lengths, _NOISE_ITEMS),
        times=None,
        sizes=(_NOISE_USERS, _NOISE_ITEMS),
        source=f"uniform noise, seed {_NOISE_SEED}",
    )


def run_step(
    step: str, data: PreparedData, budget: Budget, seed: int, path: Path
) -> dict[str, Any]:
    """Trains and evaluates a step of `TRAINED_STEPS`, or finds it done in `path`.

    Raises:
        UserError: if `path` holds a run of other settings, or a damaged one.
    """
    config = step_config(step, data.name, budget)
    identity = {
        "step": step,
        "dataset": data.name,
        "split": data.split,
        "seed": seed,
        "budget": dataclasses.asdict(budget),
        "config": dataclasses.asdict(config),
        "data": {**data.meta["statistics"], "sha256": data.meta["sha256"]},
    }
    identity = json.loads(json.dumps(identity))  # As it will be read again.
    if path.exists():
        return _stored(path, identity)
    logging.info("%s, seed %d", step, seed)
    data = _bounded(data, budget)
    keras.backend.clear_session()
    build.set_up_tensorflow(config, seed)
    model = build.build_model(config, data, seed, kind=ReleasedMGNM)
    test = candidate_lists(data, "test", budget, config)
    selections = ["test", "valid"] if step == TRAINED_STEPS[-1] else ["test"]
    evaluator = Evaluator(model, data, config)
    trained, best = _train(model, evaluator, budget, seed, test, selections)
    started = time.perf_counter()
    test_metrics = {}
    for selection, weights in best.items():
        model.set_weights(weights)
        test_metrics[selection] = views(model, evaluator, test, step)
    content = {
        "status": "complete",
        "model": "mgnm",
        "variant": config.variant,
        "leaky": model.leaky,
        **identity,
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "machine": provenance.describe(),
        "training": {**trained, "parameters": model.num_parameters()},
        "evaluation": {
            "seconds": round(time.perf_counter() - started, 1),
            "instances": len(test.instances),
            "users": len(np.unique(test.instances[:, 0])),
            "chance": chance(test),
        },
        "metrics": {"test": test_metrics},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(path, {**content, _HASH: _hash(content)})
    return content


def _stored(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    stored = _read(path)
    other = sorted(key for key in identity if stored.get(key) != identity[key])
    if other:
        raise UserError(
            f"{path} holds a run with another {', '.join(other)}. "
            "Choose another --output_dir, or delete that file."
        )
    return stored


def _read(path: Path) -> dict[str, Any]:
    """A stored run; of those of older versions, which have no hash, the form alone.

    Raises:
        UserError: if it is not as it was written.
    """
    try:
        content = dict(json.loads(path.read_text(encoding="utf-8")))
        written = content.pop(_HASH, None)
        whole = {"step", "seed", "budget", "data", "metrics"} <= {*content}
    except (ValueError, TypeError, RecursionError):
        whole, written, content = False, None, {}
    if not whole or written not in (None, _hash(content)):
        raise UserError(
            f"{path} is damaged: its content is not what was written. Delete it; the "
            "same command makes that run again."
        )
    return content


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def run_path(folder: Path, step: str, seed: int) -> Path:
    return folder / f"seed-{seed}" / f"{step}.json"


def stored_runs(folder: Path) -> list[dict[str, Any]]:
    """All runs of `run_step` in a data set's folder.

    Raises:
        UserError: if they differ in their budget or in their data, or one is damaged.
    """
    paths = sorted(folder.glob("seed-*/*.json"))
    runs = [_read(path) for path in paths]
    for key in ("budget", "data"):
        if any(run[key] != runs[0][key] for run in runs):
            raise UserError(
                f"The runs in {folder} differ in their {key} and cannot share a table. "
                "Delete the ones that are out of date."
            )
    return runs


def popularity(data: PreparedData, budget: Budget) -> dict[str, dict[str, float]]:
    """The metrics of counting events, on the same lists, by grouping."""
    config = defaults.get_config(
        "popularity", data.name, max_history=budget.max_history
    )
    model = build.build_model(config, data, seed=0)
    lists = candidate_lists(data, "test", budget, config)
    return Evaluator(model, data, config).metrics(lists)


def _bounded(data: PreparedData, budget: Budget) -> PreparedData:
    train = data.instances["train"]
    if budget.train_instances is None or budget.train_instances >= len(train):
        return data
    drawn = np.random.default_rng(SAMPLE_SEED).permutation(len(train))
    rows = np.sort(drawn[: budget.train_instances])
    return dataclasses.replace(data, instances={**data.instances, "train": train[rows]})


def _train(
    model: ReleasedMGNM,
    evaluator: Evaluator,
    budget: Budget,
    seed: int,
    test: Lists,
    selections: list[str],
) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
    """Trains; what it took, and the weights that each way of selection prefers."""
    data, config = evaluator.data, evaluator.config
    total = -(-len(data.instances["train"]) // config.batch_size) * config.max_epochs
    due = {int(step) for step in np.linspace(0, total, budget.checks + 1)[1:]}
    valid = (
        candidate_lists(data, "valid", budget, config)
        if "valid" in selections
        else None
    )
    checks: list[dict[str, float]] = []
    best: dict[str, list[np.ndarray]] = {}
    step_function = model.make_train_function()
    seconds = 0.0
    started = time.perf_counter()
    for step, batches in enumerate(_batches(data, config, seed), start=1):
        logs = step_function(batches)
        if step not in due:
            continue
        check = {"step": step, "loss": float(logs["loss"])}
        seconds += time.perf_counter() - started
        check["test"] = selection_gauc(model, evaluator, test)
        if valid is not None:
            check["valid"] = evaluator.metrics(valid)["instance"]["ndcg@5"]
        for selection in selections:
            if check[selection] > max((c[selection] for c in checks), default=-1.0):
                best[selection] = model.get_weights()
        checks.append(check)
        started = time.perf_counter()
    return {"steps": total, "seconds": round(seconds, 1), "checks": checks}, best


def _batches(data: PreparedData, config: Config, seed: int) -> Iterator[Iterator[Any]]:
    """The data set's iterator, once a step, as Keras's train function takes it."""
    steps = -(-len(data.instances["train"]) // config.batch_size)
    for epoch in range(config.max_epochs):
        batches = iter(
            training_dataset(
                data,
                epoch=epoch,
                seed=seed,
                batch_size=config.batch_size,
                num_negatives=config.num_negatives,
                max_history=config.max_history,
            )
        )
        for _ in range(steps):
            yield batches
