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
    largest over levels. A sum over levels can be larger than each. A bias of the item,
    as MGNM+ has one, is the same for all interests of a level.
    """
    if isinstance(model, MGNM):
        several = model.interest_extractor == "self_attention"
        return not several and model.level_pooling == "max"
    return isinstance(model, (*_ONE, *_SEVERAL))


def interest_vectors(model: SequentialRecommender, state: Any) -> tf.Tensor:
    """What meets the items: [B, L, K, D] float32.

    A model without levels has L = 1, one without interests K = 1. An interest that a
    history does not use is a copy of its first. Where items have a bias, the vectors
    are longer by a one that meets it.
    """
    if isinstance(model, MGNM):
        interests = state.vectors
    elif isinstance(model, _ONE):
        interests = state[:, None, None]
    elif isinstance(model, MIND):
        every, active = state
        interests = tf.where(active, every, every[:, :1])[:, None]
    else:
        interests = state[:, None]
    interests = tf.cast(interests, tf.float32)
    if _bias(model) is None:
        return interests
    return tf.concat([interests, tf.ones_like(interests[..., :1])], axis=-1)


def item_vectors(
    model: SequentialRecommender, ids: tf.Tensor | None = None
) -> tf.Tensor:
    """Rows [N, D] float32 by item id, or of the ids [N]; a bias stands last."""

    def rows(table: tf.Variable) -> tf.Tensor:
        wanted = tf.convert_to_tensor(table) if ids is None else tf.gather(table, ids)
        return tf.cast(wanted, tf.float32)

    table, bias = rows(model.item_embedding.embeddings), _bias(model)
    return table if bias is None else tf.concat([table, rows(bias)], axis=1)


def _bias(model: Any) -> tf.Variable | None:
    """The number that a model adds to each item's score [num_items, 1], if any."""
    layer = getattr(model, "item_bias", None)
    return None if layer is None else layer.embeddings
