"""Models whose scores are made of inner products: their vectors."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from baselines.comirec_dr import ComiRecDR
from baselines.comirec_sa import ComiRecSA
from baselines.mean_pooling import MeanPooling
from baselines.mind import MIND
from baselines.sasrec import SASRec
from mgnm_tf.model import MGNM
from mgnm_tf.recommender import SequentialRecommender

_ONE = (SASRec, MeanPooling)
_SEVERAL = (ComiRecDR, ComiRecSA, MIND)


def has_vectors(model: SequentialRecommender) -> bool:
    """Whether no score is above the largest inner product with a history's vectors.

    That is so for MGNM by Eq. 12-15: a softmax's mean of inner products, then the
    largest over levels. A sum over levels can be larger than each.
    """
    if isinstance(model, MGNM):
        several = model.interest_extractor == "self_attention"
        return not several and model.level_pooling == "max"
    return isinstance(model, (*_ONE, *_SEVERAL))


def interest_vectors(model: SequentialRecommender, state: Any) -> tf.Tensor:
    """What meets the items: [B, L, K, D] float32.

    A model without levels has L = 1, one without interests K = 1. An interest that a
    history does not use is a copy of its first.
    """
    if isinstance(model, MGNM):
        return tf.cast(state, tf.float32)
    if isinstance(model, _ONE):
        return tf.cast(state, tf.float32)[:, None, None]
    if isinstance(model, MIND):
        interests, active = state
        state = tf.where(active, interests, interests[:, :1])
    return tf.cast(state, tf.float32)[:, None]


def item_vectors(model: SequentialRecommender) -> tf.Variable:
    """Rows by item id [num_items, D]; row 0 is padding."""
    return model.item_embedding.embeddings
