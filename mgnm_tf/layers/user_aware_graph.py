"""User-aware graph: how strongly two history items relate for one user."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mgnm_tf.keras2 import keras


@keras.saving.register_keras_serializable(package="mgnm_tf")
class UserAwareGraph(keras.layers.Layer):
    """Learns a dense, user-conditioned adjacency over the history, Eq. 1.

    For history items i, j of user u:

        A[i, j] = sigmoid(sum_d x_i[d] * x_j[d] * x_u[d])

    for all i, j, the diagonal included. Rows and columns of padded positions are
    zero. The L1 norm of A, summed over the batch like the cross-entropy, joins the
    layer's losses and keeps the graph sparse, Section 3.2.2 and Eq. 16.

    Shapes:
        history [B, T, D], user [B, D], mask [B, T] bool, bias [B, T, T] or None: what
        is added to the sum -> adjacency [B, T, T] float32

    Departs from the authors' code, which leaves the user out of the product;
    pass `user=tf.ones_like(user)` to get that behaviour.

    Args:
        l1: weight of the sparsity penalty, the paper's theta_1.
    """

    def __init__(self, l1: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if l1 < 0:
            raise ValueError(f"`l1` must be non-negative. Received: l1={l1}")
        self.l1 = l1

    def call(
        self,
        history: tf.Tensor,
        user: tf.Tensor,
        mask: tf.Tensor,
        bias: tf.Tensor | None = None,
    ) -> tf.Tensor:
        if history.shape[-1] != user.shape[-1]:
            raise ValueError(
                "`history` and `user` must share their last dimension. "
                f"Received: history {history.shape}, user {user.shape}"
            )
        # (X diag(x_u)) X^T: no [B, T, T, D] tensor ever exists.
        affinity = tf.matmul(history * user[:, None], history, transpose_b=True)
        valid = tf.cast(mask, tf.float32)  # [B, T]
        affinity = tf.cast(affinity, tf.float32)
        if bias is not None:
            affinity += bias
        adjacency = tf.sigmoid(affinity)
        adjacency *= valid[:, :, None] * valid[:, None, :]
        if self.l1:
            self.add_loss(self.l1 * tf.reduce_sum(adjacency))
        return adjacency

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "l1": self.l1}
