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
    largest over levels. A sum over levels can be larger than each. What is added for
    the item alone, as a bias or a prior shift, is the same for all interests; but a
    shift is another for each request where requests have times.
    """
    if model.prior_shift is not None and model.needs_times:
        return False
    if isinstance(model, MGNM):
        several = model.interest_extractor == "self_attention"
        return not several and model.level_pooling == "max"
    return isinstance(model, (*_ONE, *_SEVERAL))


def interest_vectors(model: SequentialRecommender, state: Any) -> tf.Tensor:
    """What meets the items: [B, L, K, D] float32.

    A model without levels has L = 1, one without interests K = 1. An interest that a
    history does not use is a copy of its first. Where something is added for the item
    alone, the vectors are longer by a one that meets it.
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
    if not _adds(model):
        return interests
    return tf.concat([interests, tf.ones_like(interests[..., :1])], axis=-1)


def item_vectors(
    model: SequentialRecommender, ids: tf.Tensor | None = None
) -> tf.Tensor:
    """Rows [N, D] float32 by item id, or of the ids [N]; what is added stands last."""
    if ids is None:
        ids = tf.range(tf.shape(model.item_embedding.embeddings)[0])

    def rows(table: tf.Variable) -> tf.Tensor:
        return tf.cast(tf.gather(table, ids), tf.float32)

    table = rows(model.item_embedding.embeddings)
    if not _adds(model):
        return table
    added = tf.zeros_like(table[:, :1])
    if (bias := getattr(model, "item_bias", None)) is not None:
        added += rows(bias.embeddings)
    if model.prior_shift is not None:
        added += model.prior_shift.latest(ids)[:, None]
    return tf.concat([table, added], axis=1)


def _adds(model: Any) -> bool:
    """Whether scores have a part that is the item's alone."""
    has_bias = getattr(model, "item_bias", None) is not None
    return has_bias or model.prior_shift is not None
