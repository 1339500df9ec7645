"""Caser (Tang & Wang, WSDM 2018), https://arxiv.org/abs/1809.07426.

Departs from the authors' code (graytowne/caser_pytorch): one target an instance, not
three; every instance weighs the same, where theirs averages positives and negatives
apart; the vectors of padding are zero. As there, a window that is not full still passes
the biases of its filters on.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras

from baselines.layers import CountedDropout
from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.ops import inner_products
from mgnm_tf.recommender import SequentialRecommender

OUTPUT_TABLES = ("separate", "shared")


class Caser(SequentialRecommender):
    """Convolves over the newest items as an image, beside a user embedding.

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: size of the user vocabulary, 0 = unknown included.
        num_items: size of the item vocabulary, padding included.
        max_history: the shared signature; `window` is what the model sees.
        embedding_dim: D.
        window: the newest items that are read, and the tallest horizontal filter.
        num_horizontal: horizontal filters a height.
        num_vertical: vertical filters.
        dropout: of the joined convolutions.
        output_table: "separate", the paper's own items and biases for scoring;
            "shared", a ReLU layer back to D and the items of the history, as
            RUCAIBox/RecBole has it.
        embedding_stddev: of the tables' normal initialisation.
        seed: of dropout.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        embedding_dim: int = 16,
        window: int = 5,
        num_horizontal: int = 16,
        num_vertical: int = 4,
        dropout: float = 0.5,
        output_table: str = "separate",
        embedding_stddev: float = 0.1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del max_history
        if min(window, num_horizontal, num_vertical) < 1:
            raise ValueError(
                "`window`, `num_horizontal` and `num_vertical` must be positive. "
                f"Received: {window}, {num_horizontal}, {num_vertical}"
            )
        if output_table not in OUTPUT_TABLES:
            raise ValueError(
                f"`output_table` must be one of {OUTPUT_TABLES}. "
                f"Received: output_table={output_table}"
            )
        self.window = window
        self.output_table = output_table
        self.item_embedding = _table(num_items, embedding_dim, embedding_stddev)
        self.user_embedding = _table(num_users, embedding_dim, embedding_stddev)
        self.horizontal = [
            keras.layers.Conv1D(num_horizontal, height, activation="relu")
            for height in range(1, window + 1)
        ]
        # A vertical filter weighs the positions alike for each of the D columns.
        self.vertical = keras.layers.Dense(num_vertical, name="vertical")
        self.dropout = CountedDropout(dropout, seed=seed)
        self.joined = keras.layers.Dense(embedding_dim, activation="relu")
        if output_table == "separate":
            size = 2 * embedding_dim
            self.output_embedding = _table(num_items, size, embedding_stddev)
            self.output_bias = keras.layers.Embedding(
                num_items, 1, embeddings_initializer="zeros"
            )
        else:
            self.back = keras.layers.Dense(embedding_dim, activation="relu")

    def encode(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """What the output table is multiplied with: [B, 2D], or [B, D] if shared."""
        image = self._image(batch["history"])  # [B, window, D]
        horizontal = [
            tf.reduce_max(layer(image), axis=1) for layer in self.horizontal
        ]  # each [B, num_horizontal]
        columns = self.vertical(tf.transpose(image, [0, 2, 1]))  # [B, D, filters]
        vertical = tf.reshape(columns, [-1, columns.shape[1] * columns.shape[2]])
        joined = tf.concat([vertical, *horizontal], axis=1)
        sequence = self.joined(self.dropout(joined, training=training))  # [B, D]
        known = tf.not_equal(batch["user"], 0)[:, None]
        user = tf.where(known, self.user_embedding(batch["user"]), 0.0)  # [B, D]
        state = tf.concat([sequence, user], axis=1)
        return state if self.output_table == "separate" else self.back(state)

    def score(self, state: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        if self.output_table == "shared":
            items = self.item_embedding(candidates)
            return tf.cast(inner_products(state, items), tf.float32)
        logits = inner_products(state, self.output_embedding(candidates))
        logits += self.output_bias(candidates)[..., 0]
        return tf.cast(logits, tf.float32)

    def embedding_rows(self, batch: Batch) -> list[tuple[tf.Variable, tf.Tensor]]:
        users = (self.user_embedding.embeddings, batch["user"])
        histories = (self.item_embedding.embeddings, batch["history"])
        if self.output_table == "shared":
            return super().embedding_rows(batch)
        outputs = (self.output_embedding.embeddings, batch["candidates"])
        biases = (self.output_bias.embeddings, batch["candidates"])
        return [users, histories, outputs, biases]

    def _image(self, history: tf.Tensor) -> tf.Tensor:
        """The newest items' embeddings, zero where there is none: [B, window, D]."""
        newest = history[:, -self.window :]
        missing = self.window - tf.shape(newest)[1]
        newest = tf.pad(newest, [[0, 0], [missing, 0]], constant_values=PADDING_ID)
        newest = tf.ensure_shape(newest, [None, self.window])
        mask = tf.not_equal(newest, PADDING_ID)[..., None]
        items = self.item_embedding(newest)
        return tf.where(mask, items, tf.zeros_like(items))


def _table(rows: int, size: int, stddev: float) -> keras.layers.Embedding:
    normal = keras.initializers.RandomNormal(stddev=stddev)
    return keras.layers.Embedding(rows, size, embeddings_initializer=normal)
