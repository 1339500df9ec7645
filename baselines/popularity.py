"""Popularity: every user gets what most users have had."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from mgnm_tf.batch import Batch, TrainEvents
from mgnm_tf.recommender import SequentialRecommender


class Popularity(SequentialRecommender):
    """Scores an item by the logarithm of one plus its training events, or recent ones.

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: the shared signature; not read.
        num_items: size of the item vocabulary, padding included.
        max_history: the shared signature; not read.
        embedding_dim: the shared signature; not read.
        half_life: an event counts half as much as one that came later by this share
            of all training events; all count alike without it, or without times.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        embedding_dim: int = 16,
        half_life: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del num_users, max_history, embedding_dim
        if half_life is not None and half_life <= 0:
            raise ValueError(
                f"`half_life` must be positive. Received: half_life={half_life}"
            )
        self.half_life = half_life
        self.log_counts = self.add_weight(
            "log_counts",
            (num_items,),
            initializer="zeros",
            trainable=False,
            experimental_autocast=False,  # Half floats would tie.
        )

    def adapt(self, train: TrainEvents) -> None:
        weights = None
        if self.half_life is not None and train.times is not None:
            # How many events are as new or newer: events of one time count alike.
            newer = np.searchsorted(np.sort(-train.times), -train.times, side="right")
            weights = 0.5 ** (newer / (self.half_life * max(len(newer), 1)))
        size = self.log_counts.shape[0]
        counts = np.bincount(train.items, weights, minlength=size)
        self.log_counts.assign(np.log1p(counts).astype(np.float32))

    def encode(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """Nothing of a history is read; the user ids [B] stand for the rows."""
        return batch["user"]

    def score(self, state: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.log_counts, candidates)
