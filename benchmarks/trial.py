"""One model's speeds on one data set, a round at a time."""

from __future__ import annotations

import collections
import dataclasses
import statistics
import time
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import limits
from data.pipeline import training_batches, training_dataset
from data.prepared import PreparedData
from harness import build, provenance
from harness.config import Config
from mgnm_tf.recommender import SequentialRecommender

_FEWEST_FULL = 6


def drawn_data(data: PreparedData, count: int, seed: int) -> PreparedData:
    """The data with at most so many of its training instances, drawn at random."""
    train = data.instances["train"]
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(train), min(count, len(train)), replace=False)
    return dataclasses.replace(data, instances={**data.instances, "train": train[rows]})


def training_speed(
    step: Any,
    data: PreparedData,
    steps: int,
    batch_size: int,
    epoch: int,
    **pipeline: Any,
) -> float:
    """Positives a second over batches of drawn instances, after one step.

    Each batch is timed once: the first ones of an epoch can be a third longer or
    shorter than its mean.

    Args:
        step: Keras's train function.
        data: the prepared data.
        steps: most batches.
        batch_size: positives of each.
        epoch: seeds the draw and the order.
        **pipeline: of `training_dataset`.
    """
    steps = min(steps, max(1, len(data.instances["train"]) // batch_size))
    drawn = drawn_data(data, steps * batch_size, seed=epoch)
    dataset = training_dataset(drawn, batch_size=batch_size, epoch=epoch, **pipeline)
    # The batch before the clock starts comes again at the end.
    batches = iter(dataset.repeat().prefetch(4))
    float(step(batches)["loss"])
    started = time.perf_counter()
    for _ in range(steps):
        loss = step(batches)["loss"]
    float(loss)  # Waits for the last step.
    return len(drawn.instances["train"]) / (time.perf_counter() - started)


class Trial:
    """One model on one data set, warmed up.

    Args:
        data: the prepared data.
        name: what the result calls the model.
        config: the model's configuration.
        kind: the class to build, if not the configured model's.
        steps: most training steps a round.
        instances: most test instances a round.
        seconds: about the most that a round takes; a slow model does less in it.
        random_batches: in place of training batches of like lengths.
    """

    def __init__(
        self,
        data: PreparedData,
        name: str,
        config: Config,
        kind: type[SequentialRecommender] | None = None,
        steps: int = 64,
        instances: int = 4_096,
        seconds: float = 8.0,
        random_batches: bool = False,
    ) -> None:
        self.name, self.config, self._data = name, config, data
        self._pipeline = {
            "seed": 1,
            "batch_size": config.batch_size,
            "num_negatives": config.num_negatives,
            "share_negatives": config.share_negatives,
            "max_history": config.max_history,
        }
        if random_batches:
            self._pipeline["pool_batches"] = 1
        before = provenance.reset_peak_memory_mb()
        started = time.perf_counter()
        build.set_up_tensorflow(self.config, seed=1)
        self._model = build.build_model(config, data, seed=1, kind=kind)
        self._ranker = build.make_ranker(self._model, data, self.config)
        self._steps = self._train_function = None
        self.train_speeds: list[float] = []
        self.rank_speeds: list[float] = []
        self.full_speeds: list[float] = []
        if self._model.trainable_variables:
            self._train_function = self._model.make_train_function()
            self.train(steps=1, epoch=0)
            self.first_step_s = time.perf_counter() - started
            speed = self.train(steps=3, epoch=0)
            affordable = seconds / 2 * speed / config.batch_size
            self._steps = int(np.clip(affordable, 2, steps))
        self.rank(32)
        speed = self.rank(64)
        affordable = seconds / 2 * speed
        self._instances = int(np.clip(affordable, 64, instances))
        self.rank(self._instances)
        # The whole catalogue, unless this must take far longer than a round.
        self._full_instances = 0
        if affordable * 1_001 / data.num_items >= _FEWEST_FULL:
            speed = self.rank(64, "full")
            self._full_instances = int(np.clip(seconds / 2 * speed, 64, instances))
        self.peak_mb = provenance.peak_memory_mb() - before

    def round(self, number: int) -> None:
        if self._train_function is not None:
            self.train_speeds.append(self.train(self._steps, epoch=number))
        self.rank_speeds.append(self.rank(self._instances))
        if self._full_instances:
            self.full_speeds.append(self.rank(self._full_instances, "full"))

    def figures(self, rates: limits.Rates) -> dict[str, float]:
        figures = {
            "parameters": sum(w.shape.num_elements() for w in self._model.weights),
            "ranked_per_s": round(statistics.median(self.rank_speeds)),
            "peak_mb": round(self.peak_mb),
        }
        if self.full_speeds:
            figures["full_per_s"] = round(statistics.median(self.full_speeds))
        if self._train_function is None:
            return figures
        speed = statistics.median(self.train_speeds)
        figures["first_step_s"] = round(self.first_step_s, 1)
        figures["positives_per_s"] = round(speed)
        if self._model.fits_xla:
            work = self._work()
            limit = self.config.batch_size / rates.seconds(work)
            figures["step_gflop"] = round(work.flops / 1e9, 3)
            figures["step_mb"] = round(work.bytes / 1e6, 1)
            figures["gflops_per_s"] = round(
                work.flops * speed / self.config.batch_size / 1e9, 1
            )
            figures["limit_positives_per_s"] = round(limit)
            figures["limit_share"] = round(speed / limit, 2)
        return figures

    def train(self, steps: int, epoch: int) -> float:
        """Trains, and returns the positives of a second."""
        return training_speed(
            self._train_function, self._data, steps, epoch=epoch, **self._pipeline
        )

    def rank(self, count: int, protocol: str = "uni1000") -> float:
        """Test instances a second, spread over users, whose histories differ."""
        total = len(self._data.instances["test"])
        rows = np.linspace(0, total - 1, min(count, total), dtype=int)
        started = time.perf_counter()
        self._ranker.rank("test", protocol, rows=rows)
        return len(rows) / (time.perf_counter() - started)

    def _work(self) -> limits.Work:
        """The mean work of a step, over the first round's batches."""
        model = self._model
        before = model.jit_compile
        model.jit_compile = True  # What needs other operations under XLA asks this.
        step = tf.function(model.train_step, jit_compile=True)
        drawn = drawn_data(self._data, self._steps * self.config.batch_size, seed=1)
        by_length: dict[int, limits.Work] = {}
        counts: collections.Counter[int] = collections.Counter()
        for batch in training_batches(drawn, epoch=1, **self._pipeline):
            length = batch["history"].shape[1]
            counts[length] += 1
            if length not in by_length:
                tensors = {key: tf.convert_to_tensor(v) for key, v in batch.items()}
                by_length[length] = limits.step_work(step, tensors)
        model.jit_compile = before
        steps = sum(counts.values())
        return limits.Work(
            sum(by_length[n].flops * times for n, times in counts.items()) / steps,
            sum(by_length[n].bytes * times for n, times in counts.items()) / steps,
        )
