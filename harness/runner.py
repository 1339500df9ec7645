"""One run: seed, build, train, evaluate, write the passport."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow as tf
from absl import logging

from data.candidates import PROTOCOLS, SAMPLED_PROTOCOLS, candidate_negatives
from data.prepared import PreparedData
from harness import distribution, ledger, metrics, provenance, training
from harness.board import finished
from harness.build import build_model, make_ranker, set_up_tensorflow
from harness.config import Config
from harness.rankings import Ranking, ranks_table, summarise
from harness.run_folder import (
    CONFIG,
    PASSPORT,
    WEIGHTS,
    record_look,
    write_json,
    write_ranks,
)
from mgnm_tf.recommender import SequentialRecommender


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
        ledger.seal(run_dir / CONFIG, run_dir / WEIGHTS)
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
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "machine": provenance.describe(),
        "replicas": tf.distribute.get_strategy().num_replicas_in_sync,
        "data": {**data.meta["statistics"], "sha256": data.meta["sha256"]},
        "config": {**dataclasses.asdict(config), "split_rule": data.meta["split_rule"]},
        "candidates": {"seed": config.candidate_seed},
        "training": {**trained, "parameters": int(model.count_params())},
        "evaluation": {**evaluation["uni1000"], "protocols": evaluation},
        "peak_memory_mb": round(provenance.peak_memory_mb(), 1),
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
    finished.write_finished(run_dir, model, data, config, passport)
    write_json(run_dir / PASSPORT, passport)


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
