"""Runs the steps of one epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tqdm import tqdm

from data import pipeline
from data.errors import UserError
from data.prepared import PreparedData
from harness import distribution
from harness.config import Config
from harness.estimate import spell
from harness.progress import Steps
from mgnm_tf.recommender import SequentialRecommender

_LOG_EVERY = 50
# Seconds after which an epoch says how far it is, where no bar shows it.
_SAY_EVERY = 60.0


class Diverged(UserError):
    """The loss is not a finite number any more."""


def run_epoch(
    model: SequentialRecommender,
    data: PreparedData,
    config: Config,
    seed: int,
    epoch: int,
    first_step: int,
    stopping: Callable[[], bool],
) -> Steps:
    """Runs an epoch from a step on, to its end or until someone asks to stop.

    Args:
        model: the compiled model that is trained.
        data: the prepared data whose training instances are the batches.
        config: the configuration of the run: batch size, negatives, history length.
        seed: of the run; with `epoch` and the step it fixes all that is drawn.
        epoch: the number of this epoch, counted from 0.
        first_step: of the epoch, counted from 0; those before it are done.
        stopping: whether to stop after the step under way.

    Raises:
        Diverged: if the loss is not a finite number.
    """
    batches = iter(_batches(data, config, seed, epoch, first_step))
    train_step = model.make_train_function()
    model.reset_metrics()
    total = -(-len(data.instances["train"]) // config.batch_size)
    bar = tqdm(
        total=total,
        initial=first_step,
        desc=f"epoch {epoch + 1}/{config.max_epochs}",
        unit="batch",
        leave=False,
        disable=None,  # Silent where there is no terminal.
    )
    with bar:
        taken = _run_steps(
            lambda: train_step(batches), total - first_step, config, stopping, bar
        )
    if not np.isfinite(list(taken.losses.values())).all():
        raise Diverged(
            f"The loss is not a finite number in epoch {epoch + 1}. "
            "Lower the learning rate (`--learning_rate` of experiments.train)."
        )
    return taken


def _batches(
    data: PreparedData, config: Config, seed: int, epoch: int, first_step: int
) -> Any:
    return distribution.distributed(
        lambda replicas, own_replicas: pipeline.training_dataset(
            data,
            replicas,
            own_replicas,
            epoch=epoch,
            seed=seed,
            batch_size=config.batch_size,
            num_negatives=config.num_negatives,
            share_negatives=config.share_negatives,
            max_history=config.max_history,
            first_step=first_step,
        )
    )


def _run_steps(
    train_step: Callable[[], dict[str, Any]],
    count: int,
    config: Config,
    stopping: Callable[[], bool],
    bar: tqdm,
) -> Steps:
    """Runs `count` steps, or fewer; the bar shows the loss and the speed."""
    started, first_step_s, done = time.perf_counter(), None, 0
    sums: dict[str, Any] = {}
    logs: dict[str, Any] = {}
    alone = distribution.num_workers() == 1
    said = started
    for _ in range(count):
        logs = train_step()
        for key, value in logs.items():
            sums[key] = sums.get(key, 0.0) + value
        if first_step_s is None:
            tf.get_static_value(logs["loss"])  # Waits for the step.
            first_step_s = round(time.perf_counter() - started, 3)
        done += 1
        bar.update()
        due = done % _LOG_EVERY == 0
        if due:
            speed = done * config.batch_size / (time.perf_counter() - started)
            text = f"loss {float(logs['loss']):.4f}, {speed:,.0f} positives/s"
            bar.set_postfix_str(text)
            now = time.perf_counter()
            if bar.disable and now - said >= _SAY_EVERY:
                said = now
                left = spell((now - started) / done * (count - done))
                logging.info(
                    "Batch %d of %d of this epoch: %s, about %s left of it",
                    *(bar.total - count + done, bar.total, text, left),
                )
        # Workers must stop at the same step, and asking takes a message.
        if (due or alone) and distribution.any_worker(stopping()):
            break
    losses = {key: float(value) / done for key, value in sums.items()}
    if done:
        losses["loss"] = float(logs["loss"])  # It is the mean so far by itself.
    seconds = time.perf_counter() - started
    stopped = distribution.any_worker(stopping())
    return Steps(done, seconds, first_step_s, losses, stopped)
