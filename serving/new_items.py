"""Items that came after the training, known by items that are like them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from data.errors import UserError
from harness import standalone, vocabulary
from harness.standalone import StandaloneRun
from serving.requests import Ids, raw_ids


def with_new_items(
    run: StandaloneRun, like: Mapping[str, Iterable[Any]]
) -> StandaloneRun:
    """The run with a longer catalogue; nothing is trained.

    Every row that the model has of a new item, its embedding among them, is the mean of
    those of the items that it is said to be like. They have no training events.

    Args:
        run: the opened run, which stays as it is.
        like: by the raw id of a new item, items that the model knows.

    Raises:
        UserError: if the model counts items and does not embed them, if an item is not
            new, or if none that it is like is known.
    """
    if not run.model.trainable_variables:
        raise UserError(
            f"{run.config.model} has only counts of the items of its log: prepare and "
            "train with the new log."
        )
    names, ids = run.vocabulary, Ids(run.vocabulary)
    new = raw_ids(list(like), "like")
    rows = []
    for key, others in zip(new, like.values()):
        if ids.items([key])[0]:
            raise UserError(f"The item {key} is not new: the model knows it.")
        similar = ids.items(raw_ids(others, "like"))
        if not (similar > 0).any():
            raise UserError(f"The item {key} is like no item that the model knows.")
        rows.append(similar[similar > 0])
    longer = dataclasses.replace(
        names,
        items=np.concatenate([names.items, np.array(new, dtype=object)]),
        counts=np.concatenate([names.counts, np.zeros(len(new), np.int64)]),
    )
    seed = run.run.seed
    model = standalone.build(run.config, longer.num_users, longer.num_items, seed)
    if model.needs_events:
        model.adapt(vocabulary.read_events(run.folder))
    tables = standalone.tables(run.config)
    for number, (ours, theirs) in enumerate(zip(model.weights, run.model.weights)):
        values = theirs.numpy()
        if tables.get(number) == "items":
            added = [values[others].mean(axis=0) for others in rows]
            values = np.concatenate([values, np.stack(added)])
        ours.assign(values)
    return dataclasses.replace(run, model=model, vocabulary=longer)
