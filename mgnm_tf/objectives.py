"""Objectives: from the logits of a positive and its negatives to what is minimised."""

from __future__ import annotations

import dataclasses
from typing import Union

import tensorflow as tf

OBJECTIVES = ("cross_entropy", "sampled_softmax", "gbce")


@dataclasses.dataclass(frozen=True)
class CrossEntropy:
    """Sigmoid cross-entropy of every candidate by itself, Eq. 17.

    Shapes:
        logits [..., C], column 0 being the positive -> [..., C]
    """

    def __call__(self, logits: tf.Tensor) -> tf.Tensor:
        positive = tf.one_hot(0, tf.shape(logits)[-1], dtype=logits.dtype)
        labels = tf.broadcast_to(positive, tf.shape(logits))
        return tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)

    def num_terms(self, candidates: tf.Tensor) -> tf.Tensor:
        """How many terms the candidates [B, C] have in the loss."""
        return tf.size(candidates)


@dataclasses.dataclass(frozen=True)
class SampledSoftmax:
    """-log of the positive's softmax share among the candidates.

    Negatives are drawn uniformly, so no correction for their probability is needed.

    Shapes:
        logits [..., C], column 0 being the positive -> [..., 1]
    """

    def __call__(self, logits: tf.Tensor) -> tf.Tensor:
        first = tf.zeros(tf.shape(logits)[:-1], tf.int32)
        # The fused kernel keeps one tensor of the logits' size, not four.
        return tf.nn.sparse_softmax_cross_entropy_with_logits(first, logits)[..., None]

    def num_terms(self, candidates: tf.Tensor) -> tf.Tensor:
        """One a row of the candidates [B, C]."""
        return tf.shape(candidates)[0]


@dataclasses.dataclass(frozen=True)
class GeneralizedCrossEntropy:
    """gBCE (Petrov & Macdonald, RecSys 2023): cross-entropy without overconfidence.

        loss = -beta log sigmoid(s+) - sum over negatives log(1 - sigmoid(s-))
        beta = a (t (1 - 1 / a) + 1 / a)

    With few of the catalogue as negatives, plain cross-entropy (beta = 1, t = 0) learns
    probabilities far too high; t = 1 makes them those of the whole catalogue.

    Shapes:
        logits [..., C], column 0 being the positive -> [..., 1], the sum

    Args:
        calibration: t in [0, 1].
        sampling_rate: a in (0, 1], the negatives' share of all items but the positive.
    """

    calibration: float
    sampling_rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.calibration <= 1:
            raise ValueError(
                "`calibration` must be in [0, 1]. "
                f"Received: calibration={self.calibration}"
            )
        if not 0 < self.sampling_rate <= 1:
            raise ValueError(
                "`sampling_rate` must be in (0, 1]. "
                f"Received: sampling_rate={self.sampling_rate}"
            )

    @property
    def beta(self) -> float:
        """The power of the positive's probability."""
        rate = self.sampling_rate
        return rate * (self.calibration * (1 - 1 / rate) + 1 / rate)

    def __call__(self, logits: tf.Tensor) -> tf.Tensor:
        # -log sigmoid(s) = softplus(-s), and -log(1 - sigmoid(s)) = softplus(s).
        positive = self.beta * tf.nn.softplus(-logits[..., :1])
        negatives = tf.nn.softplus(logits[..., 1:])
        return positive + tf.reduce_sum(negatives, axis=-1, keepdims=True)

    def num_terms(self, candidates: tf.Tensor) -> tf.Tensor:
        """One a row of the candidates [B, C]."""
        return tf.shape(candidates)[0]


# Python 3.9 has no `|` for types outside annotations.
Objective = Union[CrossEntropy, SampledSoftmax, GeneralizedCrossEntropy]


def make(
    name: str, num_items: int, num_negatives: int, calibration: float
) -> Objective:
    """An objective by name.

    Args:
        name: a key of `OBJECTIVES`.
        num_items: size of the item vocabulary, padding included.
        num_negatives: beside each positive.
        calibration: t of gBCE; the others have none.

    Raises:
        ValueError: if there is no such objective, or none with these numbers.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"`objective` must be one of {OBJECTIVES}. Received: {name}")
    if name == "cross_entropy":
        return CrossEntropy()
    if name == "sampled_softmax":
        return SampledSoftmax()
    others = max(num_items - 2, 1)  # Neither padding nor the positive.
    return GeneralizedCrossEntropy(calibration, min(1.0, num_negatives / others))
