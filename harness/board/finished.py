"""What TensorBoard shows of a finished run: settings, tables, item vectors."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins import projector
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.hparams import api_pb2

from data import atomic
from data.prepared import PreparedData
from harness.config import Config
from harness.metrics import METRICS
from harness.models import model_class
from harness.own_model import written_class
from harness.passport import Passport, Run
from harness.run_folder import TENSORBOARD, run_folder
from mgnm_tf.recommender import SequentialRecommender

# Columns of HParams, those that it shows unasked first; all settings are stored.
_FIRST_COLUMNS = ("model", "dataset", "seed", "learning_rate", "l2")


_COLUMNS = (
    *_FIRST_COLUMNS,
    *("recipe", "variant", "split", "batch_size", "max_history", "max_epochs"),
    *("embedding_dim", "num_layers", "num_interests"),
)


_TEXTS = ("model", "dataset", "recipe", "variant", "split")


def write_finished(
    run: Run, model: SequentialRecommender, data: PreparedData, config: Config
) -> None:
    """Writes what a finished run shows: test metrics, HParams, the item table."""
    folder = run.folder / TENSORBOARD
    with tf.summary.create_file_writer(str(folder)).as_default():
        _write_hparams(run.folder, config, run.passport)
        for protocol, groupings in run.passport["metrics"]["test"].items():
            for key, value in groupings["instance"].items():
                tf.summary.scalar(f"test/{protocol}/{key}", value, step=0)
    if model.item_embedding is not None:
        table = model.item_embedding.embeddings.numpy()[1:]  # Without padding.
        write_projector(folder, table, data)


def _write_hparams(run_dir: Path, config: Config, passport: Passport) -> None:
    kind = written_class(model_class(config.model, config.variant))
    parameters = inspect.signature(kind).parameters
    defaults = {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.default is not parameter.empty
    }
    values = {**defaults, **config.arguments, **dataclasses.asdict(config)}
    del values["arguments"]
    own = ("dataset", "split", "seed")
    values |= {key: value for key, value in passport.items() if key in own}
    stored = {
        key: value if isinstance(value, (bool, int, float, str)) else str(value)
        for key, value in values.items()
        if value is not None
    }
    # The folder makes it unique, but a column shows only the beginning.
    name = run_folder(config.model, config.variant)
    hparams.hparams(stored, trial_id=f"{name} {passport['seed']}: {run_dir}")
    metrics = [
        hparams.Metric(f"test/{protocol}/{key}", display_name=f"{key} {protocol}")
        for protocol in passport["metrics"]["test"]
        for key in METRICS
    ]
    columns = [hparams.HParam(name, _AnyValue(name)) for name in _COLUMNS]
    hparams.hparams_config(hparams=columns, metrics=metrics)


class _AnyValue(hparams.Domain):
    """No bounds to a column: a run does not know the values of the others."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def dtype(self) -> type:
        return str if self._name in _TEXTS else float

    def sample_uniform(self, rng: Any = None) -> Any:
        raise NotImplementedError("There are no bounds to draw between.")

    def update_hparam_info(self, hparam_info: Any) -> None:
        is_text = self.dtype is str
        hparam_info.type = (
            api_pb2.DATA_TYPE_STRING if is_text else api_pb2.DATA_TYPE_FLOAT64
        )
        # TensorBoard shows first what differs between runs.
        hparam_info.differs = self._name in _FIRST_COLUMNS


def write_projector(folder: Path, table: np.ndarray, data: PreparedData) -> None:
    events = np.bincount(data.train_events().items, minlength=data.num_items)[1:]
    lines = ["item\ttraining events"]
    # A key with a tab or a new line in it would be two.
    lines += [
        "{}\t{}".format(re.sub(r"[\t\r\n]", " ", str(key)), count)
        for key, count in zip(data.keys("items"), events)
    ]
    atomic.write_text(folder / "items.tsv", "\n".join(lines) + "\n")
    vectors = "\n".join("\t".join(f"{x:.5g}" for x in row) for row in table.tolist())
    atomic.write_text(folder / "item_embedding.tsv", vectors + "\n")
    config = projector.ProjectorConfig()
    config.embeddings.add(
        tensor_name="item_embedding",
        tensor_path="item_embedding.tsv",
        metadata_path="items.tsv",
    )
    # Last: the plugin reads what this names.
    projector.visualize_embeddings(str(folder), config)
