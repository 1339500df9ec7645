"""A2SVD, the long-term part of SLi_Rec, used alone (Yu et al., IJCAI 2019).

Paper: https://www.ijcai.org/proceedings/2019/585, Eq. 18-20; it extends the asymmetric
SVD of Koren (KDD 2008). MGNM's paper calls it "asynchronous SVD".

Departs from the authors' code (zepingyu0512/sli_rec): the softmax leaves padding out,
which there takes a share of the attention; items have no category; the perceptron has
100 and 64 units with ReLU, without batch normalisation and without Dice, whose
statistics make a score depend on the rest of its batch; dense weights start from
Glorot's distribution, not a normal one. Departs from microsoft/recommenders, which has
neither tanh nor bias in the attention and so a logit that is linear in the item.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from baselines.layers import BagAttention, MLPHead
from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.counted_draws import CountedDropout
from mgnm_tf.keras2 import keras
from mgnm_tf.recommender import SequentialRecommender


class A2SVD(SequentialRecommender):
    """Scores [user; candidate] by a perceptron; a user is an attentive bag of items.

    The attention, `BagAttention`, does not see the candidate. There is no user
    embedding and no order; a repeated item counts each time.

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: the shared signature; not read.
        num_items: size of the item vocabulary, padding included.
        max_history: the shared signature; not read.
        embedding_dim: D, of the items.
        attention_size: width of the attention; None is D.
        dropout: the share of the history's embeddings that training sets to zero.
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
        attention_size: int | None = None,
        dropout: float = 0.0,
        embedding_stddev: float = 0.1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del num_users, max_history
        if attention_size is not None and attention_size < 1:
            raise ValueError(
                "`attention_size` must be positive, or None. Received: "
                f"attention_size={attention_size}"
            )
        normal = keras.initializers.RandomNormal(stddev=embedding_stddev)
        self.item_embedding = keras.layers.Embedding(
            num_items, embedding_dim, embeddings_initializer=normal
        )
        self.dropout = CountedDropout(dropout, seed=seed) if dropout else None
        size = embedding_dim if attention_size is None else attention_size
        self.attention = BagAttention(size)
        self.mlp = MLPHead()

    def encode(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """The user [B, D], Eq. 20; zero for an empty history."""
        mask = tf.not_equal(batch["history"], PADDING_ID)  # [B, T]
        history = self.item_embedding(batch["history"])  # [B, T, D]
        if self.dropout is not None:
            history = self.dropout(history, training=training)
        return self.attention(history, mask=mask)

    def score(self, state: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        return self.mlp((state, self.item_embedding(candidates)))
