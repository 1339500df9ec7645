"""Trains a model epoch by epoch, so that it can stop and go on at any step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from data.prepared import PreparedData
from harness import distribution, metrics, run_folder
from harness.board import epochs
from harness.config import Config
from harness.epoch import run_epoch
from harness.progress import Progress, stop_on_signals
from harness.ranker import Ranker
from mgnm_tf.recommender import SequentialRecommender

_VALID_SEED = 7


class Interrupted(Exception):
    """Ctrl-C (or SIGTERM): the state is saved, the run can go on."""


def train(
    model: SequentialRecommender,
    data: PreparedData,
    config: Config,
    ranker: Ranker,
    run_dir: Path,
    seed: int,
) -> dict[str, Any]:
    """Trains to the best validation metric and leaves its weights in the model.

    Goes on from the checkpoint in `run_dir` if there is one: the weights then are, on
    a CPU, bit for bit those of a run that was never stopped. Of several workers the
    chief writes `run_dir`, which all must be able to read.

    Returns:
        The passport's `training` entry, and under "valid_metrics" the best epoch's.

    Raises:
        Interrupted: on Ctrl-C, after saving.
    """
    progress = Progress()
    checkpoint = tf.train.Checkpoint(
        model=model, optimizer=model.optimizer, progress=progress
    )
    stored = tf.train.latest_checkpoint(str(run_dir / "checkpoint"))
    if stored:
        checkpoint.restore(stored).expect_partial()
        logging.info("Going on after epoch %d.", progress.values["epoch"])
    progress.note_commit()
    now = progress.values
    first_step_s = None
    with distribution.own_folder(run_dir) as folder, stop_on_signals() as stopping:
        manager = tf.train.CheckpointManager(
            checkpoint, str(folder / "checkpoint"), max_to_keep=1
        )
        board = epochs.Board(model, data, config)
        writer = tf.summary.create_file_writer(str(folder / run_folder.FOLDER))
        with writer.as_default():
            while now["stopped_because"] is None:
                seconds, stopped = run_epoch(model, data, config, seed, now, stopping)
                first_step_s = seconds or first_step_s
                if stopped:
                    manager.save()
                    raise Interrupted
                _validate(model, config, ranker, data, now, folder)
                board.write(now["epoch"], last=now["stopped_because"] is not None)
                manager.save()
                _forget_old_weights(folder, now["best_epoch"])
        distribution.wait_for_all()  # The chief has written the weights.
        model.load_weights(_weights(run_dir, now["best_epoch"]))
    return {
        "epochs": now["epoch"],
        "max_epochs": config.max_epochs,
        "best_epoch": now["best_epoch"],
        "steps": now["steps"],
        "seconds": round(now["seconds"], 2),
        "positives_per_s": round(
            now["timed_positives"] / max(now["timed_seconds"], 1e-9), 1
        ),
        "first_step_s": first_step_s,
        "stopped_because": now["stopped_because"],
        "commits": now["commits"],
        "valid_metrics": now["best_metrics"],
    }


def _validate(
    model: SequentialRecommender,
    config: Config,
    ranker: Ranker,
    data: PreparedData,
    now: dict[str, Any],
    run_dir: Path,
) -> None:
    """Ranks the validation instances; keeps the weights if they are the best so far."""
    rows = validation_rows(len(data.instances["valid"]), config.valid_instances)
    ranks = ranker.rank("valid", "uni1000", rows=rows).ranks
    found = metrics.instance_metrics(ranks)
    for key, value in found.items():
        tf.summary.scalar(f"valid/uni1000/{key}", value, step=now["epoch"])
    logging.info(
        "Epoch %d: valid gauc %.4f, ndcg@5 %.4f",
        now["epoch"],
        found["gauc"],
        found["ndcg@5"],
    )
    chosen = config.selection_metric
    if not now["best_metrics"] or found[chosen] > now["best_metrics"][chosen]:
        now["best_epoch"], now["best_metrics"] = now["epoch"], found
        model.save_weights(_weights(run_dir, now["epoch"]))
    if now["epoch"] - now["best_epoch"] >= config.patience:
        now["stopped_because"] = f"no better {chosen} in {config.patience} epochs"
    elif now["epoch"] >= config.max_epochs:
        now["stopped_because"] = f"the budget of {config.max_epochs} epochs"


def validation_rows(count: int, sample: int | None) -> np.ndarray:
    """Rows of validation ranked after an epoch: all, or a fixed sample for everyone."""
    if sample is None or sample >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(_VALID_SEED).choice(count, sample, False))


def _weights(run_dir: Path, epoch: int) -> Path:
    return run_dir / f"epoch-{epoch}.weights.h5"


def _forget_old_weights(run_dir: Path, best_epoch: int) -> None:
    for path in run_dir.glob("epoch-*.weights.h5"):
        if path != _weights(run_dir, best_epoch):
            path.unlink()
