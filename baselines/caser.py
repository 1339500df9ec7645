"""Caser (Tang & Wang, WSDM 2018), https://arxiv.org/abs/1809.07426.

Departs from the paper and the authors' code (graytowne/caser_pytorch), because all
compared models train on the same samples with the same loss: each instance has one
target, not the next three items; the loss is a mean over all candidates, not one over
positives plus one over negatives; tables start from N(0, `embedding_stddev`^2), not
N(0, 1/D^2). A user that is not known has the zero vector; a padded item has one as in
the code. Histories shorter than the window are padded, none is left out.

Two other forms are in use, and which of them Table 2 measured is not known:
"shared" is RUCAIBox/RecBole's, "mlp" is microsoft/recommenders', which SURGE's
framework builds on. The latter has no user, takes the whole history for its window
(`window=max_history, max_height=3, num_horizontal=128, num_vertical=128`), and drops
units inside its perceptron, where we drop features in all forms alike.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from baselines.layers import MLPHead
from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.counted_draws import CountedDropout
from mgnm_tf.keras2 import keras
from mgnm_tf.ops import inner_products
from mgnm_tf.recommender import SequentialRecommender

FORMS = ("paper", "shared", "mlp")
UNKNOWN_USER = 0


class Caser(SequentialRecommender):
    """Convolves over the newest items as over an image of L x D.

    Horizontal filters span 1 to `max_height` items and all of D; each keeps its
    maximum over time. Vertical filters are weighted sums of the L items. Both feed a
    layer with ReLU, next to which the user's embedding stands for lasting taste. Older
    items than L are not seen; a mask does not exist, so a filter's bias answers where
    its items are all padding.

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: size of the user vocabulary, the unknown user included.
        num_items: size of the item vocabulary, padding included.
        max_history: the shared signature; not read.
        embedding_dim: D, of items and users.
        window: L.
        max_height: of the horizontal filters; None is L.
        num_horizontal: filters of each height.
        num_vertical: filters.
        dropout: the share of the filters' outputs that training sets to zero.
        form: "paper" scores by an output table and a bias of its own; "shared" maps
            [sequence; user] to D by a second layer with ReLU and scores by the item
            table; "mlp" has no user and no layer after the filters, vertical filters
            over L x D with ReLU, and a perceptron over [filters' outputs; item].
        embedding_stddev: standard deviation of the tables' normal initialisation.
        seed: seeds the dropout.
    """

    shares_items = True

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        embedding_dim: int = 16,
        window: int = 5,
        max_height: int | None = None,
        num_horizontal: int = 16,
        num_vertical: int = 4,
        dropout: float = 0.5,
        form: str = "paper",
        embedding_stddev: float = 0.1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del max_history
        if min(window, num_horizontal, num_vertical) < 1:
            raise ValueError(
                "`window`, `num_horizontal` and `num_vertical` must be positive. "
                f"Received: window={window}, num_horizontal={num_horizontal}, "
                f"num_vertical={num_vertical}"
            )
        max_height = window if max_height is None else max_height
        if not 1 <= max_height <= window:
            raise ValueError(
                "`max_height` must be between 1 and `window`. Received: "
                f"max_height={max_height}, window={window}"
            )
        if form not in FORMS:
            raise ValueError(f"`form` must be one of {FORMS}. Received: form={form}")
        self.window = window
        self.form = form
        self.dropout = CountedDropout(dropout, seed=seed)

        def table(rows: int, size: int) -> keras.layers.Embedding:
            normal = keras.initializers.RandomNormal(stddev=embedding_stddev)
            return keras.layers.Embedding(rows, size, embeddings_initializer=normal)

        self.item_embedding = table(num_items, embedding_dim)
        self.horizontal = [
            keras.layers.Conv1D(num_horizontal, height, activation="relu")
            for height in range(1, max_height + 1)
        ]
        self.vertical = keras.layers.Dense(
            num_vertical, activation="relu" if form == "mlp" else None
        )
        if form == "mlp":
            self.mlp = MLPHead()
        else:
            self.sequence_layer = keras.layers.Dense(embedding_dim, activation="relu")
            self.user_embedding = table(num_users, embedding_dim)
        if form == "shared":
            self.output_layer = keras.layers.Dense(embedding_dim, activation="relu")
        if form == "paper":
            self.output_embedding = table(num_items, 2 * embedding_dim)
            self.output_bias = keras.layers.Embedding(
                num_items, 1, embeddings_initializer="zeros"
            )

    def encode(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """What meets a candidate: [B, 2 D], "shared" [B, D], "mlp" all features."""
        newest = self.newest_items(batch["history"])  # [B, L]
        history = self.item_embedding(newest)  # [B, L, D]
        history *= tf.cast(newest != PADDING_ID, history.dtype)[:, :, None]
        features = tf.concat(
            [self.vertical_features(history), self.horizontal_features(history)], axis=1
        )
        features = self.dropout(features, training=training)
        if self.form == "mlp":
            return features
        user = self.user_embedding(batch["user"])  # [B, D]
        user *= tf.cast(batch["user"] != UNKNOWN_USER, user.dtype)[:, None]
        state = tf.concat([self.sequence_layer(features), user], axis=1)
        return self.output_layer(state) if self.form == "shared" else state

    def newest_items(self, history: tf.Tensor) -> tf.Tensor:
        """The last L ids [B, L], with padding if the batch is shorter than that."""
        padded = tf.pad(history, [[0, 0], [self.window, 0]])
        return tf.reshape(padded[:, -self.window :], [-1, self.window])

    def horizontal_features(self, history: tf.Tensor) -> tf.Tensor:
        """Each filter's maximum over time, from [B, L, D]: [B, heights x filters]."""
        maxima = [tf.reduce_max(conv(history), axis=1) for conv in self.horizontal]
        return tf.concat(maxima, axis=1)

    def vertical_features(self, history: tf.Tensor) -> tf.Tensor:
        """Each filter's weighted sum of the L items: [B, filters x D]; "mlp" [B, V]."""
        if self.form == "mlp":
            return self.vertical(
                tf.reshape(history, [-1, self.window * history.shape[2]])
            )
        sums = self.vertical(tf.transpose(history, [0, 2, 1]))  # [B, D, V]
        size = sums.shape[1] * sums.shape[2]
        return tf.reshape(tf.transpose(sums, [0, 2, 1]), [-1, size])

    def score(self, state: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        if self.form == "mlp":
            return self.mlp((state, self.item_embedding(candidates)))
        if self.form == "shared":
            items = self.item_embedding(candidates)  # [B, C, D] or [N, D]
            return tf.cast(inner_products(state, items), tf.float32)
        products = inner_products(state, self.output_embedding(candidates))
        bias = self.output_bias(candidates)[..., 0]  # [B, C] or [N]
        return tf.cast(products, tf.float32) + tf.cast(bias, tf.float32)

    def embedding_rows(self, batch: Batch) -> list[tuple[tf.Variable, tf.Tensor]]:
        candidates = self.scored_items(batch)
        items = tf.reshape(self.newest_items(batch["history"]), [-1])
        if self.form != "paper":
            items = tf.concat([items, candidates], axis=0)
        rows = [(self.item_embedding.embeddings, items)]
        if self.form != "mlp":
            rows.append((self.user_embedding.embeddings, batch["user"]))
        if self.form == "paper":
            rows.append((self.output_embedding.embeddings, candidates))
            rows.append((self.output_bias.embeddings, candidates))
        return rows
