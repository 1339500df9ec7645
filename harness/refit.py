"""Trains a finished run's model again on all events: to serve, not to be measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from data import atomic
from data.errors import UserError
from data.manifest import file_hash
from data.prepared import PreparedData
from harness import (
    passport,
    provenance,
    run_folder,
    run_manifest,
    runner,
    standalone,
    training,
    warm_start,
)
from harness.build import build_model, set_up_tensorflow
from harness.passport import Run

# Says what a folder's model was made of, before it is trained.
_ORIGIN = "refit.json"


def refit(run_dir: Path, data_dir: Path, folder: Path) -> None:
    """Leaves in a folder the run's model, trained on what validated and tested it too.

    It has the run's settings and seed, and as many epochs as validation chose for the
    run. What counts, such as popularity, counts all events. Nothing is left to rank it
    by: its passport has no metrics, and tables leave it out.

    Goes on where it was stopped; a finished one is found.

    Args:
        run_dir: folder of the finished run.
        data_dir: where `data.prepare` wrote its data.
        folder: where the model goes.

    Raises:
        UserError: if there is no such run, its data are others, it is itself made so,
            or the folder holds something else.
        training.Interrupted: on Ctrl-C.
    """
    run = passport.read(run_dir)
    run_manifest.check(run_dir)
    if passport.is_refit(run):
        raise UserError(f"{run_dir} holds a model that knows all events already.")
    origin = {
        "of": file_hash(run_dir / run_folder.WEIGHTS),
        "epochs": run.passport["training"]["best_epoch"],
    }
    with runner.writing(folder):
        _check_origin(folder, origin)
        if run_manifest.is_finished(folder):
            logging.info("%s is finished already.", folder)
            return
        _refit(run, with_all_events(standalone.data_of(run, data_dir)), folder, origin)


def with_all_events(data: PreparedData) -> PreparedData:
    """The same data with every instance among those that train."""
    every = np.concatenate([data.instances[part] for part in data.instances])
    return dataclasses.replace(data, instances={**data.instances, "train": every})


def _check_origin(folder: Path, origin: dict[str, Any]) -> None:
    if not folder.exists() or not any(folder.iterdir()):
        return
    path = folder / _ORIGIN
    if not path.exists() or run_folder.read_json(path) != origin:
        raise UserError(
            f"{folder} holds something else than this run's model. Choose another "
            "folder, or delete that one."
        )


def _check_start(run: Run, taken: dict[str, Any]) -> None:
    if taken["weights_sha256"] != run.passport["init_from"]["weights_sha256"]:
        raise UserError(
            f"{taken['run']} holds other weights than those that {run.folder} started "
            "from. Bring the old ones back, or train that run again."
        )


def _refit(run: Run, data: PreparedData, folder: Path, origin: dict[str, Any]) -> None:
    config = run_folder.read_config(run.folder)
    identity = run_folder.identity(config, run.seed, data.meta["sha256"])
    # In this process alone, however many replicas or workers trained the run.
    alone = dataclasses.replace(config, strategy="none")
    with set_up_tensorflow(alone, run.seed).scope():
        model = build_model(config, data, run.seed)
        if config.init_from:
            taken = warm_start.start_from(model, config, data, Path(config.init_from))
            _check_start(run, taken)
        atomic.write_json(folder / _ORIGIN, origin)
        trained = passport.untrained()
        if model.trainable_variables:
            trained = training.train_epochs(
                model, data, config, folder, run.seed, origin["epochs"]
            )
    atomic.write_json(folder / run_folder.CONFIG, identity)
    runner.write_model(folder, model, data)
    made: Any = {
        **run.passport,
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "machine": provenance.describe(),
        "training": {**run.passport["training"], **trained},
        "metrics": {"valid": {}, "test": {}},
        "refit": {**origin, "instances": len(data.instances["train"])},
    }
    passport.write(Run(folder, made))
    run_manifest.write(folder)
    runner.clear(folder)
