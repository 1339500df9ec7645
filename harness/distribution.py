"""Several devices or machines at one run, through `tf.distribute`.

Everything here is a no-op for one device, so that callers need not ask.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from harness import cluster


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy of `Config.strategy`; before TensorFlow has run anything.

    Raises:
        UserError: if several machines are asked for without a cluster to join.
    """
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    cluster.from_environment()
    return tf.distribute.MultiWorkerMirroredStrategy()


def num_workers() -> int:
    """Processes of the current strategy."""
    resolver = tf.distribute.get_strategy().cluster_resolver
    if resolver is None:
        return 1
    return max(1, len(resolver.cluster_spec().as_dict().get("worker", [])))


def worker() -> int:
    """This process's number; worker 0 is the chief, who writes the run."""
    resolver = tf.distribute.get_strategy().cluster_resolver
    return resolver.task_id or 0 if resolver else 0


@contextmanager
def own_folder(run_dir: Path) -> Iterator[Path]:
    """The folder that this worker writes to: the chief's is the run's, which stays."""
    if worker() == 0:
        yield run_dir
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def distributed(make_dataset: Callable[[int, range], tf.data.Dataset]) -> Any:
    """A dataset whose batches the replicas share.

    Every worker makes the same batches from the same seeds and keeps its own shares.

    Args:
        make_dataset: takes the number of replicas, and which of them are here.
    """

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas = context.num_replicas_in_sync
        count = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * count
        return make_dataset(replicas, range(first, first + count))

    return tf.distribute.get_strategy().distribute_datasets_from_function(of_worker)


def gathered(rows: np.ndarray) -> np.ndarray:
    """The rows of all workers, in the order of the workers; on every worker."""
    if num_workers() == 1:
        return rows
    strategy = tf.distribute.get_strategy()
    # A worker's first replica brings the rows, the others none.
    first = worker() * strategy.num_replicas_in_sync // num_workers()

    def share(context: tf.distribute.ValueContext) -> tf.Tensor:
        own = context.replica_id_in_sync_group == first
        return tf.constant(rows if own else rows[:0])

    values = strategy.experimental_distribute_values_from_function(share)
    return strategy.gather(values, axis=0).numpy()


def gathered_fields(arrays: Any) -> Any:
    """A dataclass of arrays with the rows of all workers in each."""
    fields = dataclasses.fields(arrays)
    return type(arrays)(*(gathered(getattr(arrays, field.name)) for field in fields))


def wait_for_all() -> None:
    """Returns when every worker has called it."""
    gathered(np.zeros(1, np.int32))


def any_worker(flag: bool) -> bool:
    """Whether the flag is up on some worker; all must ask at the same time."""
    return bool(gathered(np.array([flag], np.int32)).any())


def own_share(users: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows, ordered by user, that this worker ranks: a user's on one worker."""
    workers = num_workers()
    if workers == 1:
        return rows
    mine = np.array_split(np.unique(users), workers)[worker()]
    return rows[np.isin(users, mine)]
