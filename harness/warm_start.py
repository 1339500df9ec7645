"""A model that starts from the weights of a finished run, matched by raw ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from data.errors import UserError
from data.manifest import file_hash
from data.prepared import PreparedData
from harness import standalone
from harness.config import Config
from harness.run_folder import WEIGHTS
from mgnm_tf.recommender import SequentialRecommender

VOCABULARIES = ("users", "items")


def start_from(
    model: SequentialRecommender, config: Config, data: PreparedData, source: Path
) -> dict[str, Any]:
    """Copies a run's weights into a model of other vocabularies.

    A row of a table goes to the user or the item of the same raw id; what is new keeps
    its own initial row. What `adapt` counted stays; all else is copied as it is.

    Args:
        model: a new model, built for the vocabularies of `data`.
        config: the configuration of the new model.
        data: the prepared data that the new model will be trained on.
        source: the folder of the finished run whose weights are taken.

    Returns:
        What the passport says: where from, and how many ids were kept and are new.

    Raises:
        UserError: if the run cannot be opened, is of another model, or has weights of
            other shapes.
    """
    run = standalone.open_run(source)
    if (run.config.model, run.config.variant) != (config.model, config.variant):
        raise UserError(
            f"--init_from={source} is a run of {run.config.model}, variant "
            f"{run.config.variant}; this is {config.model}, variant {config.variant}."
        )
    if not model.trainable_variables:
        raise UserError(
            f"{config.model} is counted, not trained: leave out --init_from."
        )
    rows, counts = _shared_rows(run, data)
    if not counts["items"]["kept"]:
        raise UserError(
            f"--init_from={source}: none of its items is in {data.name}. Are the ids "
            "written in the same way?"
        )
    tables = standalone.tables(config)
    taken, theirs = _taken(model), _taken(run.model)
    if len(taken) != len(theirs):
        raise UserError(
            f"--init_from={source} has {len(theirs)} arrays of weights, and this model "
            f"{len(taken)}. {_same_settings(run.config, config)}"
        )
    for (number, ours), (_, given) in zip(taken, theirs):
        kind = tables.get(number)
        if (ours.shape[1:] if kind else ours.shape) != (
            given.shape[1:] if kind else given.shape
        ):
            raise UserError(
                f"--init_from={source}: the weights {ours.name} are {ours.shape} here "
                f"and {given.shape} there. {_same_settings(run.config, config)}"
            )
        if kind is None:
            ours.assign(given)
            continue
        values = ours.numpy()
        to, from_ = rows[kind]
        values[to] = given.numpy()[from_]
        ours.assign(values)
    return {
        "run": str(source),
        "weights_sha256": file_hash(source / WEIGHTS),
        "data_sha256": run.vocabulary.data_sha256,
        "commit": run.run.passport["commit"],
        **counts,
    }


def _taken(model: SequentialRecommender) -> list[tuple[int, tf.Variable]]:
    """The weights that are taken over, with their numbers among all."""
    counted = {weight.ref() for weight in model.counted_weights()}
    return [
        (number, weight)
        for number, weight in enumerate(model.weights)
        if weight.ref() not in counted
    ]


def _same_settings(theirs: Config, ours: Config) -> str:
    """What to do where weights do not fit, and the settings that differ."""
    before = {**theirs.arguments, "max_history": theirs.max_history}
    now = {**ours.arguments, "max_history": ours.max_history}
    differing = ", ".join(
        f"{name} is {now.get(name, 'not set')} here and "
        f"{before.get(name, 'not set')} there"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    )
    shown = f": {differing}" if differing else ""
    return f"Train with the settings of that run, --max_history and --set{shown}."


def _shared_rows(
    run: standalone.StandaloneRun, data: PreparedData
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], dict[str, dict[str, int]]]:
    """Which rows of the embedding tables stand for the same raw id.

    Returns:
        By vocabulary: the rows in the new model and those in the old one, both int
        [n], row 0 among them; and how many ids were kept and are new.
    """
    raw_ids = {"users": run.vocabulary.users, "items": run.vocabulary.items}
    rows, counts = {}, {}
    for vocabulary in VOCABULARIES:
        keys = data.keys(vocabulary).astype(str)
        positions = pd.Index(raw_ids[vocabulary]).get_indexer(keys)  # -1: a new id.
        ours = np.flatnonzero(positions >= 0)
        # Row 0 is padding, or the unknown user.
        rows[vocabulary] = np.append(0, ours + 1), np.append(0, positions[ours] + 1)
        counts[vocabulary] = {"kept": len(ours), "new": len(keys) - len(ours)}
    return rows, counts
