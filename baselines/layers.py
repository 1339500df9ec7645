"""Layers that several baselines share."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mgnm_tf.keras2 import keras
from mgnm_tf.ops import inner_products, masked_softmax, products_with_items

READOUTS = ("hard", "soft", "positive")


class MLPHead(keras.layers.Layer):
    """Scores [state; item] by a perceptron, as zepingyu0512/sli_rec does.

    The first layer is applied to state and item apart, which is the same, so that a
    state is multiplied once for all its candidates.

    Shapes:
        states [B, S], or [B, C, S] if they differ by candidate, and items [B, C, D],
        or [N, D] if all rows share them -> logits [B, C] float32

    Args:
        units: of the hidden layers; none leave a linear layer.
        activation: of Keras; "prelu" has a slope for each unit that starts at 0.1.
    """

    def __init__(
        self,
        units: tuple[int, ...] = (100, 64),
        activation: str = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.activation = activation

    def build(self, shapes: list[tf.TensorShape]) -> None:
        width = sum(shape[-1] for shape in shapes)
        first = self.units[0] if self.units else 1
        limit = _glorot_limit(width, first)
        self.state_layer, self.item_layer = (
            keras.layers.Dense(
                first,
                use_bias=name == "state",
                kernel_initializer=keras.initializers.RandomUniform(-limit, limit),
                name=name,
            )
            for name in ("state", "item")
        )
        self.hidden = [keras.layers.Dense(units) for units in self.units[1:]]
        self.activations = [
            keras.layers.PReLU(
                alpha_initializer=keras.initializers.Constant(0.1), shared_axes=[1]
            )
            if self.activation == "prelu"
            else keras.layers.Activation(self.activation)
            for _ in self.units
        ]
        self.last = keras.layers.Dense(1) if self.units else None
        super().build(shapes)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        states, items = inputs
        projected = self.state_layer(states)
        if states.shape.rank == 2:
            projected = projected[:, None]
        return self._rest(projected + self.item_layer(items))

    def score_projected(self, states: tf.Tensor, projected: tf.Tensor) -> tf.Tensor:
        """Scores like `call`, from the items' part of the first layer, which is given.

        Shapes:
            states [B, S], projected [B, C, units] -> logits [B, C] float32
        """
        return self._rest(self.state_layer(states)[:, None] + projected)

    def _rest(self, outputs: tf.Tensor) -> tf.Tensor:
        """Applies what follows the first layer: [B, C, units] -> [B, C] float32."""
        for activation, layer in zip(self.activations, [*self.hidden, self.last]):
            outputs = layer(activation(outputs))
        return tf.cast(outputs[..., 0], tf.float32)

    def get_config(self) -> dict[str, Any]:
        own = {"units": self.units, "activation": self.activation}
        return {**super().get_config(), **own}


class PairAttention(keras.layers.Layer):
    """Perceptron of [key; query; key - query; key * query], a scalar.

    It has no last bias, which would cancel in the softmax over keys that reads it.

    Shapes:
        keys [..., T, D] and queries [..., T, D], of which each may have 1 where the
        other has more -> [..., T]

    Args:
        units: sizes of the two hidden layers.
        activation: of both hidden layers.
    """

    def __init__(
        self, units: tuple[int, int] = (80, 40), activation: str = "relu", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.activation = activation
        policy = {"dtype": self.dtype_policy}
        self.second = keras.layers.Dense(units[1], activation=activation, **policy)
        self.last = keras.layers.Dense(1, use_bias=False, **policy)

    def build(self, shapes: list[tf.TensorShape]) -> None:
        size = shapes[0][-1]
        limit = _glorot_limit(4 * size, self.units[0])
        self.kernel = self.add_weight(
            "kernel",
            (4, size, self.units[0]),
            initializer=keras.initializers.RandomUniform(-limit, limit),
        )
        self.bias = self.add_weight("bias", (self.units[0],), initializer="zeros")
        super().build(shapes)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        keys, queries = inputs
        products = keys * queries
        shape = tf.shape(products)
        # The differences are in the kernel. One product of matrices, with what follows
        # it in the same kernel, is faster than the sum of three, whose terms for a key
        # or a query alone have to be spread over all pairs.
        pairs = [
            products,
            tf.broadcast_to(keys, shape),
            tf.broadcast_to(queries, shape),
        ]
        joined = tf.reshape(tf.concat(pairs, axis=-1), [-1, 3 * keys.shape[-1]])
        key, query, difference, product = tf.unstack(tf.cast(self.kernel, keys.dtype))
        kernel = tf.concat([product, key + difference, query - difference], axis=0)
        hidden = tf.nn.bias_add(
            tf.matmul(joined, kernel), tf.cast(self.bias, keys.dtype)
        )
        hidden = keras.activations.get(self.activation)(hidden)
        return tf.reshape(self.last(self.second(hidden)), shape[:-1])

    def first_layers(self, keys: tf.Tensor) -> tf.Tensor:
        """The first layer as each key makes it of a query: [B, T, D] -> [B, T, D+1, H].

        For one key the layer is affine in the query: its matrix, and its offset in the
        last row, are made once for all queries. `score_queries` takes them.
        """
        key, query, difference, product = tf.unstack(tf.cast(self.kernel, keys.dtype))
        matrices = keys[..., None] * product + (query - difference)
        offsets = tf.tensordot(keys, key + difference, 1)
        offsets += tf.cast(self.bias, keys.dtype)
        layers = tf.concat([matrices, offsets[..., None, :]], axis=2)
        # See `_half_tanh`. Halves are exact.
        return layers / 2 if self.activation == "sigmoid" else layers

    def score_queries(self, first_layers: tf.Tensor, queries: tf.Tensor) -> tf.Tensor:
        """The same as `call`, of the keys' `first_layers` and queries that share them.

        Shapes:
            first_layers [B, T, D+1, H], queries [B, C, D] -> [B, T, C], but for a
            constant if the activation is a sigmoid
        """
        queries = tf.concat([queries, tf.ones_like(queries[..., :1])], axis=-1)
        hidden = tf.matmul(queries[:, None], first_layers)  # [B, T, C, H]
        shape = tf.shape(hidden)
        hidden = tf.reshape(hidden, [-1, self.units[0]])
        kernel, bias = (tf.cast(w, queries.dtype) for w in self.second.weights)
        last = tf.cast(self.last.kernel, queries.dtype)
        if self.activation == "sigmoid":
            kernel, bias, last = _half_tanh(kernel, bias, last)
            hidden = tf.tanh(tf.nn.bias_add(tf.matmul(tf.tanh(hidden), kernel), bias))
        else:
            activate = keras.activations.get(self.activation)
            hidden = activate(tf.nn.bias_add(tf.matmul(activate(hidden), kernel), bias))
        return tf.reshape(tf.matmul(hidden, last), shape[:-1])

    def get_config(self) -> dict[str, Any]:
        own = {"units": self.units, "activation": self.activation}
        return {**super().get_config(), **own}


class BagAttention(keras.layers.Layer):
    """A2SVD's user, an attentive bag of items (Yu et al., IJCAI 2019, Eq. 18-20).

        a = softmax_t(tanh(x_t W + b) . tau),  user = sum_t a_t x_t

    Shapes:
        history [B, T, D], mask bool [B, T] -> [B, D]; zero for an empty history

    Args:
        size: width of the attention.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size
        self.hidden_layer = keras.layers.Dense(size, activation="tanh")
        self.vector = keras.layers.Dense(1, use_bias=False)  # tau

    def call(self, history: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        weights = self.attend(history, mask)
        # In float32, as the softmax: many small shares round too much in float16.
        user = tf.einsum("bt,btd->bd", weights, tf.cast(history, tf.float32))
        return tf.cast(user, history.dtype)

    def attend(self, history: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Shares of the items [B, T] float32, Eq. 18-19; zero at padding."""
        hidden = self.hidden_layer(history)  # [B, T, A]
        logits = self.vector(hidden)[..., 0]
        return masked_softmax(tf.cast(logits, tf.float32), mask)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


def read_interests(
    interests: tf.Tensor,
    items: tf.Tensor,
    readout: str,
    active: tf.Tensor | None = None,
) -> tf.Tensor:
    """Scores candidates against several interests.

    "hard" takes the nearest interest, as "positive" does here, whose training is
    `read_positives_interest`; "soft" weighs them by a softmax of their scores,
    the label-aware attention of MIND with power 1, in training and testing alike.

    Shapes:
        interests [B, K, D], items [B, C, D], active [B, K, 1] bool, or None for all
        -> [B, C] float32; items [N, D], shared by all rows -> [B, N]
    """
    scores = products_with_items(tf.cast(interests, items.dtype), items)
    scores = tf.cast(scores, tf.float32)  # [B, K, C]
    if active is None:
        active = tf.ones_like(scores[..., :1], tf.bool)
    # An inactive interest must not compete: its zero would beat negative scores.
    if readout != "soft":
        return tf.reduce_max(tf.where(active, scores, scores.dtype.min), axis=1)
    return tf.reduce_sum(masked_softmax(scores, active, axis=1) * scores, axis=1)


def read_positives_interest(
    interests: tf.Tensor,
    candidates: tf.Tensor,
    shared: tf.Tensor | None = None,
    active: tf.Tensor | None = None,
) -> tf.Tensor:
    """Scores all candidates against the interest that is nearest to the positive.

    So THUDM/ComiRec trains ComiRec and MIND: negatives have no choice.

    Shapes:
        interests [B, K, D], candidates [B, C, D], column 0 being the positive, shared
        [N, D] or None, active [B, K, 1] bool, or None for all -> [B, C (+ N)] float32
    """
    interests = tf.cast(interests, candidates.dtype)
    scores = tf.einsum("bkd,bd->bk", interests, candidates[:, 0])
    if active is not None:
        scores = tf.where(active[:, :, 0], scores, scores.dtype.min)
    own = tf.gather(interests, tf.argmax(scores, axis=1), batch_dims=1)  # [B, D]
    logits = inner_products(own, candidates)
    if shared is not None:
        logits = tf.concat([logits, inner_products(own, shared)], axis=1)
    return tf.cast(logits, tf.float32)


def _half_tanh(
    kernel: tf.Tensor, bias: tf.Tensor, last: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Weights behind two sigmoids, for hyperbolic tangents of halves in their place.

    sigmoid(x) = 1/2 + tanh(x / 2) / 2, and TensorFlow's tanh takes half as long as its
    sigmoid. The constant behind the last layer is left out.
    """
    offset = bias + tf.reduce_sum(kernel, axis=0) / 2
    return kernel / 4, offset / 2, last / 2


def _glorot_limit(inputs: int, units: int) -> float:
    """Glorot's bound of the uniform initialisation, for a layer applied in parts."""
    return (6.0 / (inputs + units)) ** 0.5
