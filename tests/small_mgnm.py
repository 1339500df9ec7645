"""An MGNM of a few rows, and a batch for it whose every number can be looped over."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mgnm_tf.model import MGNM

N, M, D, K, T = 6, 11, 4, 2, 5
HISTORY = np.array([[0, 0, 3, 7, 3], [1, 2, 4, 5, 9]], np.int32)
CANDIDATES = np.array([[5, 1, 8], [6, 10, 3]], np.int32)


def make_batch():
    return {
        "user": tf.constant([2, 4]),
        "history": tf.constant(HISTORY),
        "candidates": tf.constant(CANDIDATES),
    }


def make_model(**changes):
    arguments = {"num_layers": 2, "num_interests": K, "embedding_stddev": 1.0}
    arguments = {"embedding_dim": D, "sequence_encoder": "none", **arguments, **changes}
    return MGNM(num_users=N, num_items=M, **{"max_history": T, **arguments})
