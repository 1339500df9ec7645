"""Opens a finished run from its own folder alone, without the data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from data import prepared
from data.errors import UserError
from data.prepared import PreparedData
from harness import passport, run_folder, vocabulary
from harness.config import Config
from harness.models import construct, model_class
from harness.passport import Run
from harness.vocabulary import Vocabulary
from mgnm_tf.keras2 import keras
from mgnm_tf.recommender import SequentialRecommender


@dataclasses.dataclass(frozen=True)
class StandaloneRun:
    """A finished run, ready to score.

    Attributes:
        run: its folder and passport.
        model: with the run's weights.
        config: the run's configuration.
        vocabulary: what the ids mean.
    """

    run: Run
    model: SequentialRecommender
    config: Config
    vocabulary: Vocabulary

    @property
    def folder(self) -> Path:
        return self.run.folder


def open_run(run_dir: Path) -> StandaloneRun:
    """The model of a finished run with its weights, and its raw ids.

    Raises:
        UserError: if there is no finished run, if it has no raw ids, or if its files
            are not those that it wrote.
    """
    run = passport.read(run_dir)
    config = run_folder.read_config(run_dir)
    run_folder.warn_of_edited_class(run_dir, config.model)
    names = vocabulary.read(run_dir)
    events = None
    if model_class(config.model, config.variant).needs_events:
        events = vocabulary.read_events(run_dir)
    try:
        model = build(config, names.num_users, names.num_items, run.seed)
    except (TypeError, UserError) as error:
        raise UserError(
            f"{run_dir} is a run of another version: {config.model} is not built with "
            f"{config.arguments} any more ({error}). Open it with the version that "
            f"made it, {run.passport.get('commit', 'unknown')}."
        ) from error
    if events is not None:
        model.adapt(events)
    load_weights(model, run_dir / run_folder.WEIGHTS)
    return StandaloneRun(run, model, config, names)


def complete(run_dir: Path, data_dir: Path) -> None:
    """Writes the raw ids of a finished run that kept none, from its prepared data.

    Raises:
        UserError: if the data at hand are not those of the run.
    """
    data = data_of(passport.read(run_dir), data_dir)
    config = run_folder.read_config(run_dir)
    kind = model_class(config.model, config.variant)
    vocabulary.write(run_dir, data, with_events=kind.needs_events)


def data_of(run: Run, data_dir: Path) -> PreparedData:
    """The prepared data that a run was trained on.

    Raises:
        UserError: if they are not there, or others.
    """
    data = prepared.load(data_dir, run.passport["dataset"], run.passport["split"])
    if data.meta["sha256"] != run.passport["data"]["sha256"]:
        raise UserError(
            f"The data prepared in {data.folder} are not those of the run: they have "
            "another SHA-256. Prepare the run's data again, or train again."
        )
    return data


def build(
    config: Config, num_users: int, num_items: int, seed: int
) -> SequentialRecommender:
    """A model of a configuration with its weights made, neither trained nor adapted.

    Args:
        config: the configuration.
        num_users: size of the user vocabulary, the unknown user included.
        num_items: size of the item vocabulary, padding included.
        seed: of what the model draws by itself.
    """
    kind = model_class(config.model, config.variant)
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(
        "mixed_float16" if config.mixed_precision else "float32"
    )
    try:
        model = construct(kind, config, num_users, num_items, seed)
        make_weights(model)
    finally:
        keras.mixed_precision.set_global_policy(before)
    return model


def tables(config: Config) -> dict[int, str]:
    """Which of a model's weights have a row a user or an item, by their number.

    Sizes alone cannot tell: there may be as many users as items, or as units.
    """

    def shapes(num_users: int, num_items: int) -> list[tuple[int, ...]]:
        model = build(config, num_users, num_items, seed=0)
        return [tuple(weight.shape) for weight in model.weights]

    few, more_users, more_items = shapes(5, 7), shapes(6, 7), shapes(5, 8)
    vocabulary_of = {}
    for number, shape in enumerate(few):
        if more_users[number] != shape:
            vocabulary_of[number] = "users"
        if more_items[number] != shape:
            vocabulary_of[number] = "items"
    return vocabulary_of


def make_weights(model: SequentialRecommender) -> None:
    """Calls a model once: until then most have no weights."""
    batch = {
        "user": np.zeros(1, np.int32),
        "history": np.ones((1, 2), np.int32),
        "candidates": np.ones((1, 2), np.int32),
        "history_times": np.ones((1, 2), np.int64),
        "target_time": np.full(1, 2, np.int64),
    }
    model({key: tf.convert_to_tensor(value) for key, value in batch.items()})


def load_weights(model: SequentialRecommender, path: Path) -> None:
    """Loads a run's weights, of a file that holds numbers and nothing else.

    Raises:
        UserError: if they are missing, damaged, or of other shapes.
    """
    if not path.exists():
        raise UserError(f"{path} is missing. Copy the run's folder again.")
    try:
        _check_plain(path)
        model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(
            f"{path} does not fit the run's configuration and vocabulary, or is "
            f"damaged: {str(error).splitlines()[0]} Copy the run's folder again, take "
            "the version that made it (its passport has the commit), or train again."
        ) from error


def _check_plain(path: Path) -> None:
    """Refuses an HDF5 file that leads elsewhere, or says to hold more than it does.

    HDF5 has links to other files, arrays that lie in other files, and arrays that are
    packed to nearly nothing. Keras writes none of these, and would follow all.

    Raises:
        ValueError: naming what is there.
        OSError: if it is no HDF5 file.
    """
    import h5py

    size, seen = 0, set()
    with h5py.File(path, "r") as file:
        pending: list[Any] = [file]
        while pending:
            group = pending.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"`{name}` is a link to elsewhere.")
                node = group[name]
                place = h5py.h5o.get_info(node.id).addr
                if place in seen:
                    raise ValueError(f"`{name}` is there twice.")
                seen.add(place)
                if isinstance(node, h5py.Group):
                    pending.append(node)
                    continue
                if node.external or node.is_virtual:
                    raise ValueError(f"`{name}` lies in another file.")
                if node.dtype.kind not in "fiu":
                    raise ValueError(f"`{name}` holds {node.dtype}, not numbers.")
                size += node.nbytes
    if size > path.stat().st_size:
        raise ValueError(f"It says to hold {size:,} bytes of numbers, and is smaller.")
