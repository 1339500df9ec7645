"""GRU4Rec (Hidasi et al., ICLR 2016), https://arxiv.org/abs/1511.06939.

Departs from the authors' code (hidasib/GRU4Rec), because all compared models train on
the same samples with the same loss: pointwise cross-entropy over given candidates, not
a ranking loss over in-batch negatives; each instance is a sequence of its own with
full back-propagation, not a stretch of a session whose state is carried over; input and
output share one item table. The recurrent cell is Keras's (`reset_after=True`).
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

HEADS = ("dot", "mlp")


class GRU4Rec(SequentialRecommender):
    """Scores candidates against the last state of a GRU over the history.

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: the shared signature; not read.
        num_items: size of the item vocabulary, padding included.
        max_history: the shared signature; not read.
        embedding_dim: D, of the items.
        units: of the GRU; None is D. Of another size, "dot" maps the state to D.
        dropout: the share of the history's embeddings that training sets to zero.
        head: "dot", or "mlp" over [state; item] as in SURGE's framework, which may
            have produced Table 2.
        item_bias: add a learned number for each item to the product of "dot", as the
            authors' output layer does.
        embedding_stddev: standard deviation of the item table's normal initialisation.
        seed: seeds the dropout.
    """

    shares_items = True

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        embedding_dim: int = 16,
        units: int | None = None,
        dropout: float = 0.0,
        head: str = "dot",
        item_bias: bool = False,
        embedding_stddev: float = 0.1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del num_users, max_history
        if head not in HEADS:
            raise ValueError(f"`head` must be one of {HEADS}. Received: head={head}")
        if units is not None and units < 1:
            raise ValueError(
                f"`units` must be positive, or None. Received: units={units}"
            )
        if item_bias and head != "dot":
            raise ValueError(
                f'`item_bias` is of the head "dot" alone. Received: head={head}'
            )
        self.head = head
        units = embedding_dim if units is None else units
        normal = keras.initializers.RandomNormal(stddev=embedding_stddev)
        self.item_embedding = keras.layers.Embedding(
            num_items, embedding_dim, embeddings_initializer=normal
        )
        self.dropout = CountedDropout(dropout, seed=seed)
        self.gru = keras.layers.GRU(units, return_sequences=True)
        self.state_layer = self.item_bias = None
        if head == "mlp":
            self.mlp = MLPHead()
        elif units != embedding_dim:
            self.state_layer = keras.layers.Dense(embedding_dim)
        if item_bias:
            self.item_bias = keras.layers.Embedding(
                num_items, 1, embeddings_initializer="zeros"
            )

    def encode(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """The state after the newest item [B, units]; zero for an empty history.

        With "dot" it is mapped to [B, D] if the units are not D.
        """
        lengths = tf.math.count_nonzero(
            tf.not_equal(batch["history"], PADDING_ID), axis=1, dtype=tf.int32
        )
        # Real items first, and the state is read after the last of them: the same as
        # masking and as fast on a CPU, but fit for cuDNN, which takes no left padding.
        newest_first = tf.reverse(batch["history"], axis=[1])
        items = tf.reverse_sequence(newest_first, lengths, seq_axis=1)
        history = self.item_embedding(items)  # [B, T, D]
        states = self.gru(self.dropout(history, training=training))  # [B, T, units]
        last = tf.gather(states, tf.maximum(lengths - 1, 0), batch_dims=1)
        last = tf.where(lengths[:, None] > 0, last, tf.zeros_like(last))
        return last if self.state_layer is None else self.state_layer(last)

    def score(self, state: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        items = self.item_embedding(candidates)  # [B, C, D] or [N, D]
        if self.head == "mlp":
            return self.mlp((state, items))
        logits = tf.cast(inner_products(state, items), tf.float32)
        if self.item_bias is None:
            return logits
        return logits + tf.cast(self.item_bias(candidates)[..., 0], tf.float32)

    def embedding_rows(self, batch: Batch) -> list[tuple[tf.Variable, tf.Tensor]]:
        rows = super().embedding_rows(batch)
        if self.item_bias is not None:
            rows.append((self.item_bias.embeddings, self.scored_items(batch)))
        return rows
