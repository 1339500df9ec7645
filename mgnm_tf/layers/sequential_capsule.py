"""Sequential capsule network: routing that knows the order of the items."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras

from mgnm_tf.ops import masked_softmax, squash

ROUTING_AXES = ("items", "capsules")
SEQUENCE_ENCODERS = ("bilstm", "gru", "transformer", "none")


@keras.saving.register_keras_serializable(package="mgnm_tf")
class SequentialCapsule(keras.layers.Layer):
    """Extracts K interests from each level, Eq. 5-11.

    Capsule i projects the items, Z_i = H W_i (Eq. 5), and repeats `num_iterations`
    times: c = softmax(g) over the items (Eq. 6), v = sum_j c_j z_j (Eq. 8),
    o = squash(v) (Eq. 7), g_j += o . z_j (Eq. 9). After the first iteration
    Z_i += Encoder(Z_i), which stays for the rest (Eq. 10). The interest is
    q_i = ReLU(o W'_i) (Eq. 11). W_i and W'_i are shared over levels and positions, the
    encoder over capsules and levels.

    The first g is a truncated normal draw: a new one for each batch in training, in
    inference one draw kept with the weights, indexed from the newest item, so that a
    score depends on nothing but the request.

    Shapes:
        levels [B, L, T, D], mask [B, T] bool, routing_logits [T, L, K] or None
        -> interests [B, L, K, D]; with `return_couplings` and the c of the last
        iteration [B, L, K, T], zero at padding

    Departs from the authors' code, which projects by position, routes over the
    capsules, redraws g at test time, drops the encoded Z before the last iteration,
    has no Eq. 11, and reshapes across the rows of the batch.

    Args:
        num_interests: K.
        max_history: the longest T.
        num_iterations: the paper's tau, at least 2 with a sequence encoder.
        routing_axis: what Eq. 6 normalises over; "capsules" is the usual routing.
        stop_routing_gradient: all but the last weighted sum see Z as a constant.
        sequence_encoder: "bilstm", "gru" (bidirectional), "transformer" or "none".
        seed: of the routing draws.

    Attributes:
        under_xla: whether XLA compiles the call, which the model knows.
    """

    def __init__(
        self,
        num_interests: int = 4,
        max_history: int = 100,
        num_iterations: int = 3,
        routing_axis: str = "items",
        stop_routing_gradient: bool = True,
        sequence_encoder: str = "bilstm",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_interests < 1:
            raise ValueError(
                f"`num_interests` must be positive. Received: {num_interests}"
            )
        if routing_axis not in ROUTING_AXES:
            raise ValueError(
                f"`routing_axis` must be one of {ROUTING_AXES}. "
                f"Received: {routing_axis}"
            )
        if sequence_encoder not in SEQUENCE_ENCODERS:
            raise ValueError(
                f"`sequence_encoder` must be one of {SEQUENCE_ENCODERS}. "
                f"Received: {sequence_encoder}"
            )
        if num_iterations < (1 if sequence_encoder == "none" else 2):
            raise ValueError(
                "`num_iterations` must be positive, and at least 2 with a sequence "
                "encoder, which acts after the first. "
                f"Received: num_iterations={num_iterations}"
            )
        self.num_interests = num_interests
        self.max_history = max_history
        self.num_iterations = num_iterations
        self.routing_axis = routing_axis
        self.stop_routing_gradient = stop_routing_gradient
        self.sequence_encoder = sequence_encoder
        self.seed = seed
        self.under_xla = False

    def build(self, levels_shape: tf.TensorShape) -> None:
        num_levels, size = levels_shape[1], levels_shape[-1]
        self.projection = self._add_kernels("projection", size)
        self.output_kernel = self._add_kernels("output_kernel", size)
        self.inference_draw = self.add_weight(
            "inference_draw",
            (self.max_history, num_levels, self.num_interests),
            initializer=lambda shape, dtype: self._draw(shape, -1),
            trainable=False,
            dtype=tf.float32,
            experimental_autocast=False,
        )
        self.draws = self.add_weight(
            "draws",
            (),
            dtype=tf.int64,
            initializer="zeros",
            trainable=False,
            # Replicas draw alike, so the count is the same on each.
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        self.encoder = _make_encoder(self.sequence_encoder, size, self.max_history)
        super().build(levels_shape)

    def call(
        self,
        levels: tf.Tensor,
        mask: tf.Tensor,
        training: bool | None = None,
        routing_logits: tf.Tensor | None = None,
        return_couplings: bool = False,
    ) -> Any:
        _, num_levels, _, size = levels.shape
        length, count = tf.shape(levels)[2], num_levels * self.num_interests
        if routing_logits is None:
            routing_logits = self._initial_logits(length, num_levels, training)
        # Time-major, with levels and capsules side by side (N = L * K): the encoder
        # reads it as it is, and no projection is ever transposed.
        by_time = tf.transpose(levels, [2, 0, 1, 3])  # [T, B, L, D]
        votes = tf.einsum("tbld,kde->tblke", by_time, self.projection)
        votes = tf.reshape(votes, [length, -1, count, size])  # [T, B, N, D]
        votes = tf.cast(votes, tf.float32)  # Routing sums and squares.
        mask = tf.transpose(mask)[:, :, None]  # [T, B, 1]
        logits = tf.reshape(routing_logits, [length, 1, count])
        for iteration in range(self.num_iterations):
            last = iteration == self.num_iterations - 1
            seen = votes if last else self._routing_copy(votes)
            couplings = self.couple(logits, mask)  # [T, B, N]
            capsules = tf.reduce_sum(seen * couplings[..., None], axis=0)
            capsules = squash(capsules)  # [B, N, D]
            if not last:
                logits += tf.reduce_sum(seen * capsules, axis=-1)
            if iteration == 0 and self.encoder is not None:
                votes += self._encode(votes, mask)
        capsules = tf.reshape(capsules, [-1, num_levels, self.num_interests, size])
        capsules = tf.cast(capsules, levels.dtype)
        interests = tf.nn.relu(
            tf.einsum("blkd,kde->blke", capsules, self.output_kernel)
        )
        if not return_couplings:
            return interests
        shape = [length, -1, num_levels, self.num_interests]
        return interests, tf.transpose(tf.reshape(couplings, shape), [1, 2, 3, 0])

    def _add_kernels(self, name: str, size: int) -> tf.Variable:
        """A D x D matrix a capsule, each within Glorot's limit."""
        # Keras counts K into both fans.
        glorot = keras.initializers.VarianceScaling(
            scale=self.num_interests, mode="fan_avg", distribution="uniform"
        )
        shape = (self.num_interests, size, size)
        return self.add_weight(name, shape, initializer=glorot)

    def couple(self, logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Coupling coefficients, Eq. 6.

        Shapes:
            logits [T, B, L * K], mask [T, B, 1] bool -> [T, B, L * K], zero at padding
        """
        if self.routing_axis == "items":
            return masked_softmax(logits, mask, axis=0)
        logits = tf.where(mask, logits, 0.0)  # As wide as the batch from here on.
        by_capsule = tf.reshape(
            logits, [*tf.unstack(tf.shape(logits)[:2]), -1, self.num_interests]
        )
        weights = tf.reshape(tf.nn.softmax(by_capsule), tf.shape(logits))
        return tf.where(mask, weights, 0.0)

    def _routing_copy(self, votes: tf.Tensor) -> tf.Tensor:
        return tf.stop_gradient(votes) if self.stop_routing_gradient else votes

    def _initial_logits(
        self, length: tf.Tensor, num_levels: int, training: bool | None
    ) -> tf.Tensor:
        if not training:
            return self.inference_draw[self.max_history - length :]
        draw = self._draw([length, num_levels, self.num_interests], self.draws)
        with tf.control_dependencies([draw]):
            self.draws.assign_add(1)
        return draw

    def _draw(self, shape: Any, number: Any) -> tf.Tensor:
        """Draw `number` of this layer's seed: the same on any device, in any mode."""
        seed = tf.stack([tf.cast(self.seed, tf.int64), tf.cast(number, tf.int64)])
        return tf.random.stateless_truncated_normal(shape, seed)

    def _encode(self, votes: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """One sequence a (row, level, capsule); weights shared by all, Eq. 10."""
        length, batch, count, size = tf.unstack(tf.shape(votes))
        sequences = tf.reshape(votes, [length, batch * count, votes.shape[-1]])
        wide_mask = tf.reshape(
            tf.broadcast_to(mask, [length, batch, count]), [length, batch * count]
        )
        # XLA has no such kernel, GPUs a better one, which Keras finds.
        in_kernel = (
            self.sequence_encoder == "bilstm"
            and not self.under_xla
            and self.compute_dtype == "float32"
            and not tf.config.list_logical_devices("GPU")
        )
        options = {"in_kernel": True} if in_kernel else {}
        encoded = self.encoder(sequences, mask=wide_mask, **options)
        # What it says of padding is never summed: couplings are zero there.
        return tf.cast(tf.reshape(encoded, [length, batch, count, size]), tf.float32)

    def get_config(self) -> dict[str, Any]:
        names = (
            "num_interests",
            "max_history",
            "num_iterations",
            "routing_axis",
            "stop_routing_gradient",
            "sequence_encoder",
            "seed",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _make_encoder(kind: str, size: int, max_history: int) -> Any:
    if kind == "none":
        return None
    if kind == "transformer":
        return _Transformer(max_history, name="transformer")
    return _Bidirectional(kind, name=kind)


@keras.saving.register_keras_serializable(package="mgnm_tf")
class _ZeroCandidateBias(keras.constraints.Constraint):
    """Keeps the bias of a recurrent cell's candidate at zero.

    A zero input then leaves a zero state at zero, whatever the other biases: with
    left padding the forward pass reaches the first item, and the backward pass has
    left the last, in the state of an unpadded history. So no mask is passed, which is
    a third of the time on a CPU and keeps the fused kernel on a GPU.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, bias: tf.Tensor) -> tf.Tensor:
        # Gates in Keras's order, i f c o and z r h: the candidate is the third.
        gates = bias.shape[-1] // self.size
        free = tf.one_hot(2, gates, on_value=0.0, off_value=1.0, dtype=bias.dtype)
        return bias * tf.repeat(free, self.size)

    def get_config(self) -> dict[str, Any]:
        return {"size": self.size}


class _Bidirectional(keras.layers.Layer):
    """BiLSTM or BiGRU of D units a direction, mapped back to D; time-major.

    With `in_kernel` a BiLSTM runs in TensorFlow's kernel for whole sequences, which
    keeps less in memory than Keras's loop. docs/performance.md has what it is worth.
    """

    def __init__(self, kind: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind = kind

    def build(self, shape: tf.TensorShape) -> None:
        size = shape[-1]
        cell = {"bilstm": keras.layers.LSTM, "gru": keras.layers.GRU}[self.kind]
        self.recurrent = keras.layers.Bidirectional(
            cell(
                size,
                return_sequences=True,
                time_major=True,
                bias_constraint=_ZeroCandidateBias(size),
            )
        )
        self.recurrent.build(shape)
        self.back = keras.layers.Dense(size, use_bias=False)
        super().build(shape)

    def call(
        self, sequences: tf.Tensor, mask: tf.Tensor, in_kernel: bool = False
    ) -> tf.Tensor:
        del mask  # See _ZeroCandidateBias.
        if not in_kernel:
            return self.back(self.recurrent(sequences))
        forward = _lstm(sequences, self.recurrent.forward_layer)
        backward = _lstm(tf.reverse(sequences, [0]), self.recurrent.backward_layer)
        return self.back(tf.concat([forward, tf.reverse(backward, [0])], axis=-1))


def _lstm(sequences: tf.Tensor, layer: keras.layers.LSTM) -> tf.Tensor:
    """What the layer computes, in one kernel: [T, R, D] -> [T, R, D]."""
    kernel, recurrent, bias = layer.weights

    def gates_in_order(weight: tf.Tensor) -> tf.Tensor:
        # Keras has i f c o, the kernel i c f o. (BlockLSTMV2 has Keras's order, and
        # TensorFlow 2.15 gives it the gradient of this one.)
        i, f, c, o = tf.split(weight, 4, axis=-1)
        return tf.concat([i, c, f, o], axis=-1)

    size = sequences.shape[-1]
    nothing = tf.zeros([tf.shape(sequences)[1], size])
    peephole = tf.zeros([size])
    return tf.raw_ops.BlockLSTM(
        seq_len_max=tf.shape(sequences, out_type=tf.int64)[0],
        x=sequences,
        cs_prev=nothing,
        h_prev=nothing,
        w=gates_in_order(tf.concat([kernel, recurrent], axis=0)),
        wci=peephole,
        wcf=peephole,
        wco=peephole,
        b=gates_in_order(bias),
        forget_bias=0.0,  # Keras keeps it in the bias.
        cell_clip=-1.0,  # None.
    ).h


class _Transformer(keras.layers.Layer):
    """One pre-norm encoder block with positions counted from the newest; time-major."""

    def __init__(self, max_history: int, num_heads: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_history = max_history
        self.num_heads = num_heads

    def build(self, shape: tf.TensorShape) -> None:
        size = shape[-1]
        self.positions = self.add_weight(
            "positions", (self.max_history, size), initializer="random_normal"
        )
        self.attention = keras.layers.MultiHeadAttention(
            self.num_heads, max(1, size // self.num_heads)
        )
        self.attention_norm = keras.layers.LayerNormalization()
        self.inner_norm = keras.layers.LayerNormalization()
        self.inner = keras.layers.Dense(4 * size, activation="relu")
        self.outer = keras.layers.Dense(size)
        super().build(shape)

    def call(self, sequences: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        rows = tf.transpose(sequences, [1, 0, 2])  # [N, T, D]
        length = tf.shape(rows)[1]
        rows += self.positions[self.max_history - length :]
        mask = tf.transpose(mask)  # [N, T]
        normed = self.attention_norm(rows)
        rows += self.attention(normed, normed, attention_mask=mask[:, None, :])
        rows += self.outer(self.inner(self.inner_norm(rows)))
        return tf.transpose(rows, [1, 0, 2])
