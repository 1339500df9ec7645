"""One model's speeds on one data set, a round at a time."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import limits
from data.pipeline import training_batches, training_dataset
from data.prepared import PreparedData
from experiments import machine, runner
from experiments.configs import Config
from mgnm_tf.recommender import SequentialRecommender

_FEWEST_FULL = 6


class Trial:
    """One model on one data set, warmed up.

    Args:
        data: the prepared data.
        name: of the model in the result.
        config: of the model.
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
        steps: int = 16,
        instances: int = 4_096,
        seconds: float = 8.0,
        random_batches: bool = False,
    ) -> None:
        self._order = {"pool_batches": 1} if random_batches else {}
        self.name, self.config, self._data = name, config, data
        before = machine.reset_peak_memory_mb()
        started = time.perf_counter()
        runner.set_up_tensorflow(self.config, seed=1)
        self._model = runner.build_model(config, data, seed=1, kind=kind)
        self._ranker = runner.make_ranker(self._model, data, self.config)
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
        self.peak_mb = machine.peak_memory_mb() - before

    def round(self, number: int) -> None:
        if self._train_function is not None:
            self.train_speeds.append(self.train(self._steps, epoch=number))
        self.rank_speeds.append(self.rank(self._instances))
        if self._full_instances:
            self.full_speeds.append(self.rank(self._full_instances, "full"))

    def figures(self, rates: limits.Rates) -> dict[str, float]:
        found = {
            "parameters": sum(w.shape.num_elements() for w in self._model.weights),
            "ranked_per_s": round(statistics.median(self.rank_speeds)),
            "peak_mb": round(self.peak_mb),
        }
        if self.full_speeds:
            found["full_per_s"] = round(statistics.median(self.full_speeds))
        if self._train_function is None:
            return found
        speed = statistics.median(self.train_speeds)
        found["first_step_s"] = round(self.first_step_s, 1)
        found["positives_per_s"] = round(speed)
        if self._model.fits_xla:
            work = self._work()
            limit = self.config.batch_size / rates.seconds(work)
            found["step_gflop"] = round(work.flops / 1e9, 3)
            found["step_mb"] = round(work.bytes / 1e6, 1)
            found["gflops_per_s"] = round(
                work.flops * speed / self.config.batch_size / 1e9, 1
            )
            found["limit_positives_per_s"] = round(limit)
            found["limit_share"] = round(speed / limit, 2)
        return found

    def _pipeline(self, epoch: int) -> dict[str, Any]:
        return {
            "epoch": epoch,
            "seed": 1,
            "batch_size": self.config.batch_size,
            "num_negatives": self.config.num_negatives,
            "max_history": self.config.max_history,
            **self._order,
        }

    def train(self, steps: int, epoch: int) -> float:
        """Positives a second of an epoch's first steps, after one."""
        full = len(self._data.instances["train"]) // self.config.batch_size
        steps = max(1, min(steps, full - 1))
        batches = iter(training_dataset(self._data, **self._pipeline(epoch)))
        float(self._train_function(batches)["loss"])  # Waits for the epoch's order.
        started = time.perf_counter()
        for _ in range(steps):
            loss = self._train_function(batches)["loss"]
        float(loss)  # Waits for the last step.
        return steps * self.config.batch_size / (time.perf_counter() - started)

    def rank(self, count: int, protocol: str = "uni1000") -> float:
        """Test instances a second, spread over users, whose histories differ."""
        total = len(self._data.instances["test"])
        rows = np.linspace(0, total - 1, min(count, total), dtype=int)
        started = time.perf_counter()
        self._ranker.rank("test", protocol, rows=rows)
        return len(rows) / (time.perf_counter() - started)

    def _work(self) -> limits.Work:
        """The mean work of a step, over batches as they come."""
        model = self._model
        before = model.jit_compile
        model.jit_compile = True  # What needs other operations under XLA asks this.
        step = tf.function(model.train_step, jit_compile=True)
        found = []
        batches = training_batches(self._data, **self._pipeline(epoch=1))
        for batch in itertools.islice(batches, min(8, self._steps)):
            tensors = {key: tf.convert_to_tensor(value) for key, value in batch.items()}
            found.append(limits.step_work(step, tensors))
        model.jit_compile = before
        return limits.Work(
            statistics.mean(work.flops for work in found),
            statistics.mean(work.bytes for work in found),
        )
