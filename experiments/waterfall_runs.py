"""From the released computation to the paper's: one run a step, kept as JSON."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow import keras

from data import prepared
from data.candidates import candidate_negatives
from data.pipeline import batch_signature, gather_histories, targets, training_dataset
from data.prepared import PreparedData
from experiments import configs, machine, metrics, runner, worlds
from experiments.ranking import like_lengths
from mgnm_tf.batch import PADDING_ID
from mgnm_tf.recommender import SequentialRecommender
from mgnm_tf.released import SWITCHES, ReleasedMGNM

# Beside the model's own switches: how it is trained, selected and evaluated.
PROTOCOL_STEPS: dict[str, tuple[str, str]] = {
    "grouping": (
        "all test instances of a user in one list",
        "one list a test instance",
    ),
    "recipe": (
        "42 positives a batch, Adam at 1e-3",
        "256 positives a batch, 2e-2 to zero along a cosine, L2 of 2e-2",
    ),
    "selection": (
        "the best check by GAUC against 5 negatives, on the test instances",
        "by NDCG@5 against 1,000, on validation instances",
    ),
}
# Those with a training of their own. Grouping reads the first run otherwise, and comes
# first, so that all later lines hold the same lists; selection reads the last run.
TRAINED_STEPS = ("released", *SWITCHES, "recipe")
STEPS = ("released", "grouping", *TRAINED_STEPS[1:], "selection")

NOISE = "noise"
_NOISE_USERS, _NOISE_ITEMS, _NOISE_SEED = 600, 3_000, 0
_SAMPLE_SEED = 11
# Instances a batch of the selection on test: as many rows as in training.
_SELECTION_POSITIVES, _SELECTION_NEGATIVES = 42, 5
# Instances a call of the model; rows are cut to the batches of `ReleasedMGNM` there.
_EVALUATION_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Budget:
    """What bounds the work of each run.

    Attributes:
        epochs: passes over the training instances.
        train_instances: a fixed sample of them at most; None trains on all.
        max_history: T.
        checks: evenly spaced; the best of them is evaluated.
        instances: of test, and of validation, at least this many are ranked: all those
            of users drawn with a fixed seed.
    """

    epochs: int = 1
    train_instances: int | None = None
    max_history: int = 20
    checks: int = 4
    instances: int = 300


@dataclasses.dataclass(frozen=True)
class _Lists:
    """What is ranked: the target stands first, then negatives, then zeros.

    Attributes:
        instances: int32 [n, 2] of `(user, end)`, each user's together.
        candidates: int32 [n, C].
    """

    instances: np.ndarray
    candidates: np.ndarray


def noise(data_dir: Path) -> PreparedData:
    """Items drawn uniformly, whoever the user: there is nothing to learn."""
    folder = data_dir / NOISE / worlds.SPLIT
    if (folder / "meta.json").exists():
        return prepared.load(data_dir, NOISE)
    rng = np.random.default_rng(_NOISE_SEED)
    lengths = rng.integers(5, 41, _NOISE_USERS)
    return worlds.write(
        folder,
        users=np.repeat(np.arange(1, _NOISE_USERS + 1), lengths),
        items=worlds.noise_items(rng, lengths, _NOISE_ITEMS),
        times=None,
        sizes=(_NOISE_USERS, _NOISE_ITEMS),
        source=f"uniform noise, seed {_NOISE_SEED}",
    )


def run_step(
    step: str, data: PreparedData, budget: Budget, seed: int, path: Path
) -> dict[str, Any]:
    """Trains and evaluates a step of `TRAINED_STEPS`, or finds it done in `path`.

    Raises:
        ValueError: if `path` holds a run of other settings.
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
        found = json.loads(path.read_text())
        other = sorted(key for key in identity if found.get(key) != identity[key])
        if other:
            raise ValueError(
                f"{path} holds a run with another {', '.join(other)}. "
                "Choose another --output_dir, or delete that file."
            )
        return found
    logging.info("%s, seed %d", step, seed)
    data = _bounded(data, budget)
    keras.backend.clear_session()
    runner.set_up_tensorflow(config, seed)
    model = runner.build_model(config, data, seed, kind=ReleasedMGNM)
    test = _lists(data, "test", budget, config)
    selections = ["test", "valid"] if step == TRAINED_STEPS[-1] else ["test"]
    evaluator = _Evaluator(model, data, config)
    trained, best = _train(model, evaluator, budget, seed, test, selections)
    started = time.perf_counter()
    found = {}
    for selection, weights in best.items():
        model.set_weights(weights)
        found[selection] = _views(model, evaluator, test, step)
    content = {
        "status": "complete",
        "model": "mgnm",
        "variant": config.variant,
        "leaky": model.leaky,
        **identity,
        "commit": machine.commit(),
        "versions": machine.versions(),
        "machine": machine.describe(),
        "training": {**trained, "parameters": int(model.count_params())},
        "evaluation": {
            "seconds": round(time.perf_counter() - started, 1),
            "instances": len(test.instances),
            "users": len(np.unique(test.instances[:, 0])),
            "chance": _chance(test),
        },
        "metrics": {"test": found},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    runner.write_json(path, content)
    return content


def chosen_steps(names: list[str] | None) -> list[str]:
    """The steps of these names that need a training, in order; None is all.

    Raises:
        ValueError: for a name that is none of them.
    """
    unknown = sorted({*(names or [])} - {*TRAINED_STEPS})
    if unknown:
        raise ValueError(f"`--steps`: no {unknown}; there are {[*TRAINED_STEPS]}.")
    return [step for step in TRAINED_STEPS if names is None or step in names]


def run_path(folder: Path, step: str, seed: int) -> Path:
    return folder / f"seed-{seed}" / f"{step}.json"


def stored_runs(folder: Path) -> list[dict[str, Any]]:
    """All runs of `run_step` in a data set's folder.

    Raises:
        ValueError: if they differ in their budget or in their data.
    """
    paths = sorted(folder.glob("seed-*/*.json"))
    runs = [json.loads(path.read_text()) for path in paths]
    for key in ("budget", "data"):
        if any(run[key] != runs[0][key] for run in runs):
            raise ValueError(
                f"The runs in {folder} differ in their {key} and cannot share a table. "
                "Delete the ones that are out of date."
            )
    return runs


def popularity(data: PreparedData, budget: Budget) -> dict[str, dict[str, float]]:
    """The metrics of counting events, on the same lists, by grouping."""
    config = configs.get_config("popularity", data.name, max_history=budget.max_history)
    model = runner.build_model(config, data, seed=0)
    lists = _lists(data, "test", budget, config)
    return _Evaluator(model, data, config).metrics(lists)


def step_config(step: str, dataset: str, budget: Budget) -> configs.Config:
    """The configuration of a step: all switches up to it at their paper value."""
    variant = None if step == "recipe" else configs.RELEASED
    config = configs.get_config(
        "mgnm",
        dataset,
        tuned=False,
        variant=variant,
        max_epochs=budget.epochs,
        max_history=budget.max_history,
    )
    at_paper = [*SWITCHES][: TRAINED_STEPS.index(step)]
    return configs.with_settings(config, {"at_paper": at_paper})


class _Evaluator:
    """Metrics of one model; traced once for each way of reading rows."""

    def __init__(
        self, model: SequentialRecommender, data: PreparedData, config: configs.Config
    ) -> None:
        self.model, self.data, self.config = model, data, config
        self._functions: dict[Any, Any] = {}

    def metrics(self, lists: _Lists) -> dict[str, dict[str, float]]:
        """By grouping."""
        scores = self._scores(lists)
        valid = lists.candidates[:, 1:] != PADDING_ID
        users, found = lists.instances[:, 0], (scores[:, 0], scores[:, 1:], valid)
        return {
            "user": metrics.user_metrics(metrics.pool_users(users, *found)),
            "instance": metrics.instance_metrics(metrics.rank_scores(*found)),
        }

    def _scores(self, lists: _Lists) -> np.ndarray:
        length = self.config.max_history
        score = self._function()
        scores = np.empty(lists.candidates.shape, np.float32)
        lengths = np.minimum(lists.instances[:, 1], length)
        for rows in like_lengths(lengths, _EVALUATION_BATCH):
            batch = gather_histories(self.data, lists.instances[rows], length)
            batch["candidates"] = lists.candidates[rows]
            tensors = {key: tf.convert_to_tensor(value) for key, value in batch.items()}
            scores[rows] = score(tensors).numpy()
        return scores

    def _function(self) -> Any:
        """Scores of a batch; what a trace holds fixed is the key."""
        key = (
            getattr(self.model, "at_paper", None),
            getattr(self.model, "evaluation_positives", None),
        )
        if key not in self._functions:
            self._functions[key] = tf.function(
                lambda batch: self.model(batch, training=False),
                [batch_signature(self.data)],
            )
        return self._functions[key]


def _bounded(data: PreparedData, budget: Budget) -> PreparedData:
    train = data.instances["train"]
    if budget.train_instances is None or budget.train_instances >= len(train):
        return data
    drawn = np.random.default_rng(_SAMPLE_SEED).permutation(len(train))
    rows = np.sort(drawn[: budget.train_instances])
    return dataclasses.replace(data, instances={**data.instances, "train": train[rows]})


def _train(
    model: ReleasedMGNM,
    evaluator: _Evaluator,
    budget: Budget,
    seed: int,
    test: _Lists,
    selections: list[str],
) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
    """Trains; what it took, and the weights that each way of selection prefers."""
    data, config = evaluator.data, evaluator.config
    total = -(-len(data.instances["train"]) // config.batch_size) * config.max_epochs
    due = {int(step) for step in np.linspace(0, total, budget.checks + 1)[1:]}
    valid = _lists(data, "valid", budget, config) if "valid" in selections else None
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
        check["test"] = _selection_gauc(model, evaluator, test)
        if valid is not None:
            check["valid"] = evaluator.metrics(valid)["instance"]["ndcg@5"]
        for selection in selections:
            if check[selection] > max((c[selection] for c in checks), default=-1.0):
                best[selection] = model.get_weights()
        checks.append(check)
        started = time.perf_counter()
    return {"steps": total, "seconds": round(seconds, 1), "checks": checks}, best


def _batches(
    data: PreparedData, config: configs.Config, seed: int
) -> Iterator[Iterator[Any]]:
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


def _selection_gauc(model: ReleasedMGNM, evaluator: _Evaluator, test: _Lists) -> float:
    """GAUC on the test instances against few negatives, by user, as released."""
    few = _Lists(test.instances, test.candidates[:, : 1 + _SELECTION_NEGATIVES])
    usual = model.evaluation_positives
    model.evaluation_positives = _SELECTION_POSITIVES
    try:
        return evaluator.metrics(few)["user"]["gauc"]
    finally:
        model.evaluation_positives = usual


def _views(
    model: ReleasedMGNM,
    evaluator: _Evaluator,
    test: _Lists,
    step: str,
) -> dict[str, dict[str, dict[str, float]]]:
    """Metrics by grouping: as the step has it; for the first, other views too."""
    found = {"as trained": evaluator.metrics(test)}
    if step != "released":
        return found
    # The first negative takes the target's place, and the target takes its.
    swapped = test.candidates.copy()
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    lists = _Lists(test.instances, swapped)
    found["random targets"] = evaluator.metrics(lists)
    as_trained = model.at_paper
    model.at_paper = as_trained | {"row_order"}
    found["rows shuffled"] = evaluator.metrics(test)
    model.at_paper = as_trained
    return found


def _lists(
    data: PreparedData, part: str, budget: Budget, config: configs.Config
) -> _Lists:
    """All instances of users drawn with a fixed seed, with their candidates."""
    instances = data.instances[part]
    users, counts = np.unique(instances[:, 0], return_counts=True)
    order = np.random.default_rng(_SAMPLE_SEED).permutation(len(users))
    enough = np.searchsorted(np.cumsum(counts[order]), budget.instances) + 1
    rows = np.flatnonzero(np.isin(instances[:, 0], users[order[:enough]]))
    negatives = candidate_negatives(data, part, "uni1000", config.candidate_seed)[rows]
    positives = targets(data, instances[rows])[:, None]
    return _Lists(instances[rows], np.concatenate([positives, negatives], axis=1))


def _chance(lists: _Lists) -> dict[str, float]:
    """What a constant, coin-tossing model would get, by instance."""
    sizes = (lists.candidates != PADDING_ID).sum(axis=1)
    gains = {
        "hit@5": np.ones(5),
        "ndcg@5": 1 / np.log2(np.arange(2, 7)),
        "mrr@5": 1 / np.arange(1, 6),
    }
    found = {key: float(np.mean(gain.sum() / sizes)) for key, gain in gains.items()}
    return {"gauc": 0.5, **found}
