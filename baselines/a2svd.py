"""A2SVD, the long-term part of SLi_Rec (Yu et al., IJCAI 2019).

https://www.ijcai.org/proceedings/2019/585. Departs from the authors' code and from
microsoft/recommenders: the attention skips padding, where theirs gives it weight; the
attention is Eq. 18-19 with its tanh and bias, which the second omits; no batch
normalisation and no Dice in the head, whose statistics would tie a score to its batch;
no categories. Trained, as all compared models, by cross-entropy over given candidates.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras

from baselines.layers import MLPHead
from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.ops import masked_softmax
from mgnm_tf.recommender import SequentialRecommender


class A2SVD(SequentialRecommender):
    """Scores [weighted bag of the history; candidate] by a perceptron.

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: the shared signature; not read.
        num_items: size of the item vocabulary, padding included.
        max_history: the shared signature; not read.
        embedding_dim: D, also the size of the attention.
        embedding_stddev: of the table's and the attention's normal initialisation.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        embedding_dim: int = 16,
        embedding_stddev: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del num_users, max_history
        normal = keras.initializers.RandomNormal(stddev=embedding_stddev)
        self.item_embedding = keras.layers.Embedding(
            num_items, embedding_dim, embeddings_initializer=normal
        )
        self.attention_hidden = keras.layers.Dense(
            embedding_dim, activation="tanh", name="attention_hidden"
        )
        self.attention_query = keras.layers.Dense(
            1, use_bias=False, name="attention_query"
        )
        self.head = MLPHead()

    def attend(self, history: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Weights of the items, Eq. 18-19.

        Shapes:
            history [B, T, D], mask [B, T] bool -> [B, T], zero at padding
        """
        logits = self.attention_query(self.attention_hidden(history))[..., 0]
        return masked_softmax(logits, mask)

    def encode(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """The user as a weighted sum of items [B, D], Eq. 20; no order, no user id."""
        history = self.item_embedding(batch["history"])  # [B, T, D]
        mask = tf.not_equal(batch["history"], PADDING_ID)
        return tf.einsum("bt,btd->bd", self.attend(history, mask), history)

    def score(self, state: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        return self.head(state, items=self.item_embedding(candidates))
