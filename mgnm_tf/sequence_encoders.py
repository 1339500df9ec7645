"""Sequence encoders of Eq. 10: a BiLSTM, and what footnote 1 allows in its place."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mgnm_tf.keras2 import keras

SEQUENCE_ENCODERS = ("bilstm", "gru", "transformer", "none")


def make_encoder(kind: str, size: int, max_history: int) -> Any:
    if kind == "none":
        return None
    if kind == "transformer":
        return TransformerEncoder(max_history, name="transformer")
    return BidirectionalEncoder(kind, name=kind)


@keras.saving.register_keras_serializable(package="mgnm_tf")
class ZeroCandidateBias(keras.constraints.Constraint):
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


class BidirectionalEncoder(keras.layers.Layer):
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
                bias_constraint=ZeroCandidateBias(size),
            )
        )
        self.recurrent.build(shape)
        self.back = keras.layers.Dense(size, use_bias=False)
        super().build(shape)

    def call(
        self, sequences: tf.Tensor, mask: tf.Tensor, in_kernel: bool = False
    ) -> tf.Tensor:
        del mask  # See ZeroCandidateBias.
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


class TransformerEncoder(keras.layers.Layer):
    """One pre-norm encoder block with positions counted from the newest; time-major.

    Shapes:
        sequences [T, R, D], mask [T, R] bool -> [T, R, D], what comes in included

    Args:
        max_history: the longest T.
        num_heads: how many heads the attention has.
        first_scale: where the factors start by which what attention and perceptron
            add is multiplied (LayerScale, Touvron et al., ICCV 2021), and the standard
            deviation of the positions; None has no such factors.
    """

    def __init__(
        self,
        max_history: int,
        num_heads: int = 2,
        first_scale: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_history = max_history
        self.num_heads = num_heads
        self.first_scale = first_scale

    def build(self, shape: tf.TensorShape) -> None:
        size, first = shape[-1], self.first_scale
        normal = keras.initializers.RandomNormal(stddev=first or 0.05)
        self.positions = self.add_weight(
            "positions", (self.max_history, size), initializer=normal
        )
        self.attention = keras.layers.MultiHeadAttention(
            self.num_heads, max(1, size // self.num_heads)
        )
        self.attention_norm = keras.layers.LayerNormalization()
        self.inner_norm = keras.layers.LayerNormalization()
        self.inner = keras.layers.Dense(4 * size, activation="relu")
        self.outer = keras.layers.Dense(size)
        self.scales = [1.0, 1.0]
        if first is not None:
            constant = keras.initializers.Constant(first)
            self.scales = [
                self.add_weight(name, (size,), initializer=constant)
                for name in ("attention_scale", "inner_scale")
            ]
        super().build(shape)

    def call(self, sequences: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        rows = tf.transpose(sequences, [1, 0, 2])  # [N, T, D]
        length = tf.shape(rows)[1]
        rows += self.positions[self.max_history - length :]
        mask = tf.transpose(mask)  # [N, T]
        normed = self.attention_norm(rows)
        attended = self.attention(normed, normed, attention_mask=mask[:, None, :])
        rows += self.scales[0] * attended
        rows += self.scales[1] * self.outer(self.inner(self.inner_norm(rows)))
        return tf.transpose(rows, [1, 0, 2])
