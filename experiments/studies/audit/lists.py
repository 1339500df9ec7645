"""Candidate lists that hold every item, and in which order a model is shown them."""

from __future__ import annotations

import numpy as np

from data.candidates import candidate_negatives
from data.pipeline import targets
from data.planted import World
from data.prepared import PreparedData
from harness.config import CANDIDATE_SEED
from mgnm_tf.batch import PADDING_ID


def lists_of_all(data: PreparedData, part: str) -> np.ndarray:
    """Each instance's target, then its `uni1000` negatives, then zeros: [n, C]."""
    positives = targets(data, data.instances[part])[:, None]
    negatives = candidate_negatives(data, part, "uni1000", CANDIDATE_SEED)
    lists = np.concatenate([positives, negatives], axis=1)
    return lists[:, lists.any(axis=0)]


def lists_of_a_kind(world: World, part: str) -> np.ndarray:
    """`lists_of_all`, but a user's kind of items only: [n, C], zeros last."""
    lists = lists_of_all(world.data, part)
    noise = world.is_noise(world.data.instances[part])[:, None]
    own = (lists != PADDING_ID) & ((lists <= world.num_noise_items) == noise)
    order = np.argsort(~own, axis=1, kind="stable")[:, : own.sum(axis=1).max()]
    kept = np.take_along_axis(own, order, axis=1)
    return np.where(kept, np.take_along_axis(lists, order, axis=1), PADDING_ID)


def shuffled(candidates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The candidates of each list in random order, zeros last.

    What stands first then is the target no more often than anything else, so that its
    rank is uniform whatever the model has learned.
    """
    keys = np.where(candidates == PADDING_ID, 2.0, rng.random(candidates.shape))
    return np.take_along_axis(candidates, np.argsort(keys, axis=1), axis=1)
