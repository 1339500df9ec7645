"""One run: seed, build, train, evaluate, write the passport."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from absl import logging
from tensorflow import keras

from data import prepared
from data.candidates import PROTOCOLS, SAMPLED_PROTOCOLS, candidate_negatives
from data.pipeline import gather_histories, targets
from data.prepared import PreparedData
from experiments import (
    distribution,
    machine,
    metrics,
    sealed,
    tensorboard,
    training,
)
from experiments.configs import NO_TIMES, WITHOUT_TIMES, Config
from experiments.models import model_class
from experiments.ranking import Ranker, Ranking
from mgnm_tf import objectives
from mgnm_tf.recommender import SequentialRecommender

PASSPORT, CONFIG, RANKS, WEIGHTS = (
    "passport.json",
    "config.json",
    "ranks.parquet",
    "model.weights.h5",
)


def run(config: Config, data: PreparedData, run_dir: Path, seed: int) -> dict[str, Any]:
    """Makes one run whole, or finishes it, or finds it finished.

    Returns:
        The passport, which is also written to `run_dir`, last of all.

    Raises:
        ValueError: if `run_dir` holds a run of another configuration.
        training.Interrupted: on Ctrl-C; the same call goes on from there.
    """
    identity = {**dataclasses.asdict(config), "seed": seed, "data": data.meta["sha256"]}
    if _is_finished(run_dir, identity):
        logging.info("%s is finished already.", run_dir)
        return json.loads((run_dir / PASSPORT).read_text())
    strategy = set_up_tensorflow(config, seed)
    with strategy.scope():
        model = build_model(config, data, seed)  # Refuses what does not fit.
        return _run(model, config, data, run_dir, identity)


def _run(
    model: SequentialRecommender,
    config: Config,
    data: PreparedData,
    run_dir: Path,
    identity: dict[str, Any],
) -> dict[str, Any]:
    """Trains and evaluates; the chief of several workers writes."""
    seed = identity["seed"]
    chief = distribution.worker() == 0
    if chief:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_json(run_dir / CONFIG, identity)
    ranker = make_ranker(model, data, config)
    if model.trainable_variables:
        trained = training.train(model, data, config, ranker, run_dir, seed)
        valid = trained.pop("valid_metrics")
    else:
        trained = _adapted()
        valid = metrics.instance_metrics(ranker.rank("valid", "uni1000").ranks)
    if chief:
        model.save_weights(run_dir / WEIGHTS)
        sealed.seal(run_dir / CONFIG, run_dir / WEIGHTS)
        record_look(run_dir, " ".join(PROTOCOLS))
    for protocol in SAMPLED_PROTOCOLS:  # Drawn once for all models: not timed.
        candidate_negatives(data, "test", protocol, config.candidate_seed)
    rankings = ranker.rank_protocols("test")
    evaluation = {name: _took(ranking) for name, ranking in rankings.items()}
    passport = {
        "model": config.model,
        "recipe": config.recipe,
        "variant": config.variant,
        "leaky": model.leaky,
        "dataset": data.name,
        "split": data.split,
        "seed": seed,
        "status": "complete",
        "commit": machine.commit(),
        "versions": machine.versions(),
        "machine": machine.describe(),
        "replicas": tf.distribute.get_strategy().num_replicas_in_sync,
        "data": {**data.meta["statistics"], "sha256": data.meta["sha256"]},
        "config": {**dataclasses.asdict(config), "split_rule": data.meta["split_rule"]},
        "candidates": {"seed": config.candidate_seed},
        "training": {**trained, "parameters": int(model.count_params())},
        "evaluation": {**evaluation["uni1000"], "protocols": evaluation},
        "peak_memory_mb": round(machine.peak_memory_mb(), 1),
        "metrics": {
            "valid": valid,
            "test": {name: summarise(found) for name, found in rankings.items()},
        },
    }
    if chief:
        tables = [ranks_table(data, found, name) for name, found in rankings.items()]
        write_ranks(run_dir, pd.concat(tables, ignore_index=True))
        _finish(run_dir, model, data, config, passport)
    return passport


def record_look(run_dir: Path, what: str) -> None:
    """Notes in the ledger what test instances are to be ranked for.

    Raises:
        ValueError: if the run is not sealed.
    """
    sealed.record_look(run_dir / CONFIG, run_dir / WEIGHTS, what, machine.commit())


def _took(ranking: Ranking) -> dict[str, float]:
    count = len(ranking.instances)
    return {
        "seconds": round(ranking.seconds, 3),
        "instances_per_s": round(count / ranking.seconds, 1),
        "instances": count,
    }


def _finish(
    run_dir: Path,
    model: SequentialRecommender,
    data: PreparedData,
    config: Config,
    passport: dict[str, Any],
) -> None:
    """Clears what only an unfinished run needs, and writes the passport last."""
    for path in run_dir.glob("epoch-*.weights.h5"):
        path.unlink()
    shutil.rmtree(run_dir / "checkpoint", ignore_errors=True)
    tensorboard.write_finished(run_dir, model, data, config, passport)
    write_json(run_dir / PASSPORT, passport)


def set_up_tensorflow(config: Config, seed: int) -> tf.distribute.Strategy:
    """Seeds everything, and applies the configuration's switches."""
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    strategy = distribution.make_strategy(config.strategy)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    policy = "mixed_float16" if config.mixed_precision else "float32"
    keras.mixed_precision.set_global_policy(policy)
    keras.utils.set_random_seed(seed)
    return strategy


def build_model(
    config: Config,
    data: PreparedData,
    seed: int,
    kind: Callable[..., SequentialRecommender] | None = None,
) -> SequentialRecommender:
    """A model with its weights made, compiled, and adapted to the training events.

    Args:
        config: the configuration.
        data: whose vocabularies and training events.
        seed: of what the model draws by itself.
        kind: what to build, if not the configured model's class.

    Raises:
        ValueError: if the model does not take the configuration or the data.
    """
    kind = kind or model_class(config.model, config.variant)
    arguments = {**config.arguments}
    if "seed" in inspect.signature(kind).parameters:
        arguments["seed"] = seed
    try:
        model = kind(
            num_users=data.num_users,
            num_items=data.num_items,
            max_history=config.max_history,
            l2=config.l2,
            **arguments,
        )
    except TypeError as error:
        if not config.arguments:
            raise
        raise ValueError(
            f"{config.model} cannot be built with `--set` {config.arguments}: {error}"
        ) from error
    if model.needs_times and not data.has_times:
        raise ValueError(_needs_times(config.model, data.name))
    if config.jit_compile and not model.fits_xla:
        raise ValueError(f"XLA cannot compile {config.model}: leave out --jit_compile.")
    model.objective = objectives.make(
        config.objective, data.num_items, config.num_negatives, config.calibration
    )
    model.compile(
        optimizer=lazy_adam(_learning_rate(config, len(data.instances["train"]))),
        jit_compile=config.jit_compile,
    )
    instances = data.instances["train"][:2]
    batch = gather_histories(data, instances, config.max_history)
    batch["candidates"] = np.repeat(targets(data, instances)[:, None], 2, axis=1)
    model({key: tf.convert_to_tensor(value) for key, value in batch.items()})
    _make_slots(model)
    model.adapt(data.train_events())
    return model


def _make_slots(model: SequentialRecommender) -> None:
    """Lets the optimizer make its variables: in the first step it would trace twice."""
    # Under mixed precision it is wrapped in one that scales the loss.
    optimizer: Any = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    nothing = [(tf.zeros_like(w), w) for w in model.trainable_variables]
    if nothing:
        # No gradient, no moment, no change.
        tf.distribute.get_strategy().run(lambda: optimizer.apply_gradients(nothing))
        optimizer.iterations.assign(0)


def _needs_times(model: str, dataset: str) -> str:
    """What to say to someone whose data has no times."""
    message = f"{model} reads when events happened, and {dataset} has no times."
    if model in WITHOUT_TIMES:
        message += f" A form without times runs with --variant={NO_TIMES}."
    return message


def _learning_rate(config: Config, num_instances: int) -> Any:
    if config.schedule == "constant":
        return config.learning_rate
    steps = -(-num_instances // config.batch_size) * config.max_epochs
    return keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)


def lazy_adam(learning_rate: Any) -> Any:
    """Adam that leaves the rows alone that a batch does not touch."""
    with warnings.catch_warnings():  # Of the package's end of life; the pin is known.
        warnings.simplefilter("ignore")
        from tensorflow_addons.optimizers import LazyAdam

    return LazyAdam(learning_rate)


def make_ranker(
    model: SequentialRecommender, data: PreparedData, config: Config
) -> Ranker:
    return Ranker(model, data, config.max_history, config.candidate_seed)


def summarise(ranking: Ranking, may_tie: bool = False) -> dict[str, dict[str, float]]:
    """Metrics by grouping; fails where ties decide them, unless they may."""
    if not may_tie:
        metrics.check_ties(ranking.ranks)
    found = {"instance": metrics.instance_metrics(ranking.ranks)}
    if ranking.users is not None:
        found["user"] = metrics.user_metrics(ranking.users)
    return found


def ranks_table(data: PreparedData, ranking: Ranking, protocol: str) -> pd.DataFrame:
    """One row an instance, as `ranks.parquet` holds them; time 0 where unknown."""
    users, ends = ranking.instances.T
    rows = data.store.offsets[users] + ends
    times = data.store.times
    return pd.DataFrame(
        {
            "user": users,
            "item": data.store.items[rows],
            "time": np.zeros(len(rows), np.int64) if times is None else times[rows],
            "protocol": protocol,
            "rank_pessimistic": ranking.ranks.pessimistic.astype(np.int32),
            "rank_optimistic": ranking.ranks.optimistic.astype(np.int32),
            "candidates": ranking.ranks.negatives.astype(np.int32) + 1,
        }
    )


def write_ranks(run_dir: Path, table: pd.DataFrame) -> None:
    """Replaces the rows of the table's protocols in `ranks.parquet`, atomically."""
    path = run_dir / RANKS
    if path.exists():
        kept = pd.read_parquet(path)
        kept = kept[~kept["protocol"].isin(table["protocol"].unique())]
        table = pd.concat([kept, table], ignore_index=True)
    partial = path.with_name(f".{path.name}.partial")
    table.to_parquet(partial, index=False)
    os.replace(partial, path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(partial, path)


def read_run(run_dir: Path) -> tuple[Config, dict[str, Any]]:
    """The configuration and the passport of a finished run.

    Raises:
        ValueError: if there is none.
    """
    if not (run_dir / PASSPORT).exists():
        raise ValueError(
            f"{run_dir} holds no finished run. Run `python -m experiments.train "
            f"... --run_dir={run_dir}` first."
        )
    fields = {field.name for field in dataclasses.fields(Config)}
    stored = json.loads((run_dir / CONFIG).read_text())
    # A run from before a field existed had its default.
    config = Config(**{key: stored[key] for key in fields & stored.keys()})
    return config, json.loads((run_dir / PASSPORT).read_text())


def load_model(
    run_dir: Path, data_dir: Path
) -> tuple[SequentialRecommender, PreparedData]:
    """The model of a finished run, with its weights, and its data.

    Raises:
        ValueError: if there is no finished run, or its data are not the ones prepared.
    """
    config, passport = read_run(run_dir)
    data = prepared.load(data_dir, passport["dataset"], passport["split"])
    if data.meta["sha256"] != passport["data"]["sha256"]:
        raise ValueError(
            f"The data prepared in {data.folder} are not those of the run {run_dir}."
        )
    set_up_tensorflow(config, passport["seed"])
    model = build_model(config, data, passport["seed"])
    model.load_weights(run_dir / WEIGHTS)
    return model, data


def _is_finished(run_dir: Path, identity: dict[str, Any]) -> bool:
    """Whether the folder's run is done; refuses a folder of another run."""
    path = run_dir / CONFIG
    found = json.loads(path.read_text()) if path.exists() else identity
    found = {**_defaults(), **found}  # Of fields that came later.
    if found != identity:
        names = sorted(
            key for key in {*found, *identity} if found.get(key) != identity.get(key)
        )
        raise ValueError(
            f"{run_dir} holds a run with another {', '.join(names)}. "
            "Choose another --run_dir, or delete that folder."
        )
    return (run_dir / PASSPORT).exists()


def _defaults() -> dict[str, Any]:
    missing = dataclasses.MISSING
    fields = dataclasses.fields(Config)
    return {f.name: f.default for f in fields if f.default is not missing}


def _adapted() -> dict[str, Any]:
    return {
        "epochs": 0,
        "max_epochs": 0,
        "best_epoch": 0,
        "steps": 0,
        "seconds": 0.0,
        "positives_per_s": None,
        "first_step_s": None,
        "stopped_because": "nothing to train: counted once over the training events",
    }
