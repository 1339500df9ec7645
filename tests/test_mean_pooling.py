from __future__ import annotations

import numpy as np
import tensorflow as tf

from baselines.mean_pooling import MeanPooling


def test_a_score_is_the_product_with_the_mean_of_the_real_items():
    model = MeanPooling(num_users=2, num_items=6, embedding_dim=2)
    batch = {
        "user": tf.constant([1, 1, 1]),
        "history": tf.constant([[0, 1, 2], [3, 3, 1], [0, 0, 0]]),
        "candidates": tf.constant([[4, 5], [4, 5], [4, 5]]),
    }
    model(batch)
    table = [[9, 9], [1, 0], [0, 2], [4, 3], [1, 1], [-2, 5]]
    model.item_embedding.embeddings.assign(np.array(table, np.float32))
    expected = [[0.5, 1.0], [3.0, 2.0], [0.0, 0.0]]
    np.testing.assert_allclose(model.encode(batch), expected)
    np.testing.assert_allclose(model(batch), [[1.5, 4.0], [5.0, 4.0], [0.0, 0.0]])
