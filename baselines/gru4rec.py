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
from tensorflow import keras

from baselines.layers import CountedDropout, MLPHead
from mgnm_tf.batch import PADDING_ID, Batch
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
        embedding_dim: of the items, and units of the GRU.
        dropout: of the history's embeddings.
        head: "dot", or "mlp" over [state; item] as in SURGE's framework, which may
            have produced Table 2.
        embedding_stddev: of the table's normal initialisation.
        seed: of dropout.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        embedding_dim: int = 16,
        dropout: float = 0.0,
        head: str = "dot",
        embedding_stddev: float = 0.1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del num_users, max_history
        if head not in HEADS:
            raise ValueError(f"`head` must be one of {HEADS}. Received: head={head}")
        self.head = head
        normal = keras.initializers.RandomNormal(stddev=embedding_stddev)
        self.item_embedding = keras.layers.Embedding(
            num_items, embedding_dim, embeddings_initializer=normal
        )
        self.dropout = CountedDropout(dropout, seed=seed)
        self.gru = keras.layers.GRU(embedding_dim, return_sequences=True)
        if head == "mlp":
            self.mlp = MLPHead()

    def encode(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """The state after the newest item [B, D]; zero for an empty history."""
        lengths = tf.math.count_nonzero(
            tf.not_equal(batch["history"], PADDING_ID), axis=1, dtype=tf.int32
        )
        # Real items first, and the state is read after the last of them: the same as
        # masking and as fast on a CPU, but fit for cuDNN, which takes no left padding.
        newest_first = tf.reverse(batch["history"], axis=[1])
        items = tf.reverse_sequence(newest_first, lengths, seq_axis=1)
        history = self.item_embedding(items)  # [B, T, D]
        states = self.gru(self.dropout(history, training=training))  # [B, T, D]
        last = tf.gather(states, tf.maximum(lengths - 1, 0), batch_dims=1)
        return tf.where(lengths[:, None] > 0, last, tf.zeros_like(last))

    def score(self, state: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        items = self.item_embedding(candidates)  # [B, C, D]
        if self.head == "dot":
            return tf.cast(inner_products(state, items), tf.float32)
        return self.mlp((state, items))
