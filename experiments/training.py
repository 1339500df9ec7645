"""Trains a model epoch by epoch, so that it can stop and go on at any step."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tqdm import tqdm

from data import pipeline
from data.prepared import PreparedData
from experiments import distribution, machine, metrics, tensorboard
from experiments.configs import Config
from experiments.ranking import Ranker
from mgnm_tf.recommender import SequentialRecommender

_LOG_EVERY = 50
_VALID_SEED = 7


class Interrupted(Exception):
    """Ctrl-C (or SIGTERM): the state is saved, the run can go on."""


class Diverged(ValueError):
    """The loss is not a finite number any more."""


class _Progress(tf.train.experimental.PythonState):
    """Where training stands; part of the checkpoint, so that they never disagree."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {
            "epoch": 0,  # epochs finished
            "step": 0,  # steps of the epoch under way
            "steps": 0,
            "seconds": 0.0,  # of training steps, validation apart
            "timed_positives": 0,  # of all steps but each process's first, which traces
            "timed_seconds": 0.0,
            "best_epoch": 0,
            "best_metrics": {},
            "stopped_because": None,
            "commits": [],  # of the code, another one where a stopped run went on
        }

    def note_commit(self) -> None:
        """Bits are those of an unstopped run only if all of it ran one code."""
        commit = machine.commit()
        if self.values["commits"][-1:] != [commit]:
            self.values["commits"].append(commit)

    def serialize(self) -> str:
        return json.dumps(self.values)

    def deserialize(self, string_value: str) -> None:
        # A checkpoint of before commits were noted does not tell its own.
        self.values = {"commits": ["unknown"], **json.loads(string_value)}


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
    progress = _Progress()
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
    with distribution.own_folder(run_dir) as folder, _stop_on_signals() as stopping:
        manager = tf.train.CheckpointManager(
            checkpoint, str(folder / "checkpoint"), max_to_keep=1
        )
        board = tensorboard.Board(model, data, config)
        writer = tf.summary.create_file_writer(str(folder / tensorboard.FOLDER))
        with writer.as_default():
            while now["stopped_because"] is None:
                seconds, stopped = _epoch(model, data, config, seed, now, stopping)
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


def _epoch(
    model: SequentialRecommender,
    data: PreparedData,
    config: Config,
    seed: int,
    now: dict[str, Any],
    stopping: Callable[[], bool],
) -> tuple[float | None, bool]:
    """Runs the rest of the epoch under way.

    Returns:
        The seconds of the first step, None if there was none; whether it was stopped.
    """
    total = -(-len(data.instances["train"]) // config.batch_size)
    dataset = distribution.distributed(
        lambda replicas, own_replicas: pipeline.training_dataset(
            data,
            replicas,
            own_replicas,
            epoch=now["epoch"],
            seed=seed,
            batch_size=config.batch_size,
            num_negatives=config.num_negatives,
            share_negatives=config.share_negatives,
            max_history=config.max_history,
            first_step=now["step"],
        )
    )
    batches = iter(dataset)
    train_function = model.make_train_function()
    model.reset_metrics()
    bar = tqdm(
        total=total,
        initial=now["step"],
        desc=f"epoch {now['epoch'] + 1}/{config.max_epochs}",
        unit="batch",
        leave=False,
        disable=None,  # Silent where there is no terminal.
    )
    started, first_step_s = time.perf_counter(), None
    first_step, done = now["step"], 0
    sums: dict[str, Any] = {}
    alone = distribution.num_workers() == 1
    with bar:
        for _ in range(first_step, total):
            logs = train_function(batches)
            for key, value in logs.items():
                sums[key] = sums.get(key, 0.0) + value
            if first_step_s is None:
                tf.get_static_value(logs["loss"])  # Waits for the step.
                first_step_s = round(time.perf_counter() - started, 3)
            now["step"] += 1
            done += 1
            bar.update()
            due = done % _LOG_EVERY == 0
            if due:
                loss = float(logs["loss"])
                speed = done * config.batch_size / (time.perf_counter() - started)
                bar.set_postfix_str(f"loss {loss:.4f}, {speed:,.0f} positives/s")
            # Workers must stop at the same step, and asking takes a message.
            if (due or alone) and distribution.any_worker(stopping()):
                break
    values = {key: float(total) / done for key, total in sums.items()}
    if done:
        values["loss"] = float(logs["loss"])  # It is the mean so far by itself.
    elapsed = time.perf_counter() - started
    now["seconds"] += elapsed
    now["steps"] += done
    now["timed_seconds"] += elapsed - (first_step_s or 0.0)
    now["timed_positives"] += config.batch_size * max(done - 1, 0)
    if not np.isfinite(list(values.values())).all():
        raise Diverged(
            f"The loss is not a finite number in epoch {now['epoch'] + 1}. "
            "Lower `--learning_rate`."
        )
    stopped = distribution.any_worker(stopping())
    if not stopped:
        now["epoch"], now["step"] = now["epoch"] + 1, 0
        for key, value in values.items():
            tf.summary.scalar(f"train/{key}", value, step=now["epoch"])
        speed = done * config.batch_size / elapsed
        tf.summary.scalar("train/positives_per_s", speed, step=now["epoch"])
        logging.info(
            "Epoch %d: loss %.4f, %s positives/s",
            now["epoch"],
            values.get("loss", float("nan")),
            f"{speed:,.0f}",
        )
    return first_step_s, stopped


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


@contextmanager
def _stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C or SIGTERM into a flag: a step is never cut in two."""
    caught: list[int] = []
    names = (signal.SIGINT, signal.SIGTERM)
    before = {}

    def note(number: int, frame: Any) -> None:
        caught.append(number)
        if len(caught) > 1:  # The user insists.
            raise KeyboardInterrupt

    try:
        before = {name: signal.signal(name, note) for name in names}
    except ValueError:
        logging.info("Not in the main thread: Ctrl-C will not save.")
    try:
        yield lambda: bool(caught)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
