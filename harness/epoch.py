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
from data.prepared import PreparedData
from harness import distribution
from harness.config import Config
from mgnm_tf.recommender import SequentialRecommender

_LOG_EVERY = 50


class Diverged(ValueError):
    """The loss is not a finite number any more."""


def run_epoch(
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
