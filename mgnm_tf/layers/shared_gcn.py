"""Graph convolution whose one weight serves every depth."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mgnm_tf.keras2 import keras
from mgnm_tf.ops import MAP_INITIALIZATIONS, square_maps

NORMALIZATIONS = ("symmetric", "renormalized", "none")


@keras.saving.register_keras_serializable(package="mgnm_tf")
class SharedGCN(keras.layers.Layer):
    """Propagates item representations over the graph, Eq. 2-4.

        H[0] = the item embeddings;  H[l + 1] = LeakyReLU(P H[l] W)

    W is shared by all depths. With D the degree matrix of A, P is by `normalization`:

    - "symmetric": I + D^-1/2 A D^-1/2, the right side of Eq. 3 read as the operator
      of Eq. 2 (Eq. 3 as printed defines a degree matrix by itself);
    - "renormalized": the same of A + I with its own degrees (Kipf & Welling, 2017);
    - "none": A itself.

    Shapes:
        history [B, T, D], adjacency [B, T, T] (None without layers), mask [B, T] bool
        -> levels [B, L, T, D], L = num_layers + 1, zero at padding

    Departs from the authors' code, whose layers all read H[0], so that its levels 1
    to L are identical.

    Args:
        num_layers: graph convolutions; there is one level more.
        normalization: one of the three above.
        negative_slope: slope of the LeakyReLU below zero.
        map_initialization: of W, on which the paper is silent: "glorot" or "identity".
    """

    def __init__(
        self,
        num_layers: int = 3,
        normalization: str = "symmetric",
        negative_slope: float = 0.2,
        map_initialization: str = "glorot",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_layers < 0:
            raise ValueError(
                f"`num_layers` must be non-negative. Received: num_layers={num_layers}"
            )
        if normalization not in NORMALIZATIONS:
            raise ValueError(
                f"`normalization` must be one of {NORMALIZATIONS}. "
                f"Received: normalization={normalization}"
            )
        if map_initialization not in MAP_INITIALIZATIONS:
            raise ValueError(
                f"`map_initialization` must be one of {MAP_INITIALIZATIONS}. "
                f"Received: map_initialization={map_initialization}"
            )
        self.num_layers = num_layers
        self.normalization = normalization
        self.negative_slope = negative_slope
        self.map_initialization = map_initialization

    def build(self, history_shape: tf.TensorShape) -> None:
        if self.num_layers:
            size = history_shape[-1]
            self.kernel = self.add_weight(
                name="kernel",
                shape=(size, size),
                initializer=square_maps(self.map_initialization),
            )
        super().build(history_shape)

    def call(
        self, history: tf.Tensor, adjacency: tf.Tensor | None, mask: tf.Tensor
    ) -> tf.Tensor:
        valid = tf.cast(mask, history.dtype)[:, :, None]  # [B, T, 1]
        levels = [history * valid]
        if self.num_layers:
            propagate = self._propagation(adjacency, history.dtype)
        for _ in range(self.num_layers):
            mixed = propagate(tf.matmul(levels[-1], self.kernel))  # [B, T, D]
            mixed = tf.nn.leaky_relu(mixed, self.negative_slope)
            levels.append(mixed * valid)
        return tf.stack(levels, axis=1)  # [B, L, T, D]

    def _propagation(self, adjacency: tf.Tensor, dtype: tf.DType) -> Any:
        """Returns x -> P x, without forming P."""
        degrees = tf.reduce_sum(adjacency, axis=-1, keepdims=True)  # [B, T, 1]
        if self.normalization == "renormalized":
            degrees += 1.0
        # A padded row has degree 0; its features are zero, any finite scale will do.
        scale = tf.cast(tf.math.rsqrt(tf.maximum(degrees, 1e-9)), dtype)
        adjacency = tf.cast(adjacency, dtype)
        if self.normalization == "none":
            return lambda x: tf.matmul(adjacency, x)
        if self.normalization == "renormalized":
            return lambda x: scale * (tf.matmul(adjacency, scale * x) + scale * x)
        return lambda x: x + scale * tf.matmul(adjacency, scale * x)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "normalization": self.normalization,
            "negative_slope": self.negative_slope,
            "map_initialization": self.map_initialization,
        }
