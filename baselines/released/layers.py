"""Layers of the released code's computation, quirks included."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mgnm_tf.keras2 import keras
from mgnm_tf.layers.sequential_capsule import SequentialCapsule
from mgnm_tf.layers.shared_gcn import SharedGCN
from mgnm_tf.layers.user_aware_graph import UserAwareGraph
from mgnm_tf.ops import squash


class UserlessGraph(UserAwareGraph):
    """The adjacency without the user: every x_u is one."""

    def call(
        self,
        history: tf.Tensor,
        user: tf.Tensor,
        mask: tf.Tensor,
        bias: tf.Tensor | None = None,
    ) -> tf.Tensor:
        return super().call(history, user=tf.ones_like(user), mask=mask, bias=bias)


class ReleasedGCN(SharedGCN):
    """Graph layers that all read the items: levels 1 to L are identical."""

    def __init__(self, paper: frozenset[str], num_layers: int, normalization: str):
        super().__init__(num_layers=num_layers, normalization=normalization)
        self.iterates = "graph_layers" in paper
        self.masks = "padding" in paper

    def build(self, history_shape: tf.TensorShape) -> None:
        super().build(history_shape)
        if not self.iterates:
            self.bias = self.add_weight("bias", (history_shape[-1],))

    def call(
        self, history: tf.Tensor, adjacency: tf.Tensor, mask: tf.Tensor
    ) -> tf.Tensor:
        if not self.masks:
            mask = tf.ones_like(mask)
        if self.iterates:
            return super().call(history, adjacency=adjacency, mask=mask)
        valid = tf.cast(mask, history.dtype)[:, :, None]  # [B, T, 1]
        history *= valid
        propagate = self._propagation(adjacency, history.dtype)
        mixed = propagate(tf.matmul(history, self.kernel)) + self.bias
        mixed = tf.nn.leaky_relu(mixed, self.negative_slope) * valid
        return tf.stack([history] + [mixed] * self.num_layers, axis=1)


class ReleasedCapsule(SequentialCapsule):
    """Capsules as released; with all switches at paper, its parent's."""

    def __init__(self, paper: frozenset[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.paper = paper

    def build(self, levels_shape: tf.TensorShape) -> None:
        super().build(levels_shape)
        if "encoder" not in self.paper:
            self.encoder = _SideBySideBiLSTM(levels_shape[-1], self.num_interests)

    def _add_kernels(self, name: str, size: int) -> tf.Variable | None:
        switch = {"projection": "projection", "output_kernel": "output_layer"}[name]
        if switch in self.paper:
            return super()._add_kernels(name, size)
        if name == "output_kernel":
            return None
        return self.add_weight(
            name,
            (self.max_history, self.num_interests, size, size),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
        )

    def call(  # type: ignore[override]  # No couplings: `explain` asks for none.
        self,
        levels: tf.Tensor,
        mask: tf.Tensor,
        training: bool | None = None,
        routing_logits: tf.Tensor | None = None,
        under_xla: bool = False,
    ) -> tf.Tensor:
        _, num_levels, _, size = levels.shape
        rows, length = tf.shape(levels)[0], tf.shape(levels)[2]
        by_time = tf.transpose(levels, [2, 0, 1, 3])  # [T, B, L, D]
        if "projection" in self.paper:
            votes = tf.einsum("tbld,kde->tblke", by_time, self.projection)
        else:
            # By position, counted so that the newest event always has the last.
            own = self.projection[self.max_history - length :]
            votes = tf.einsum("tbld,tkde->tblke", by_time, own)
        count = num_levels * self.num_interests
        votes = tf.reshape(votes, [length, rows, count, size])  # [T, B, N, D]
        mask = tf.transpose(mask)[:, :, None]  # [T, B, 1]
        if routing_logits is None:
            logits = self._first_logits(length, rows, num_levels, training)
        else:
            logits = tf.reshape(routing_logits, [length, 1, count])
        routed = tf.stop_gradient(votes)
        for iteration in range(self.num_iterations):
            last = iteration == self.num_iterations - 1
            couplings = self.couple(logits, mask)  # [T, B, N]
            seen = votes if last else routed
            capsules = squash(tf.reduce_sum(seen * couplings[..., None], axis=0))
            if not last:
                logits += tf.reduce_sum(routed * capsules, axis=-1)
            if iteration > 0:
                continue
            if "encoded_votes" in self.paper:
                votes += self._encode(votes, mask, under_xla=under_xla)
                routed = tf.stop_gradient(votes)
            else:
                # What is summed in the end never holds it; its weights learn through
                # the routing alone.
                routed += self._encode(routed, mask, under_xla=under_xla)
        capsules = tf.reshape(capsules, [rows, num_levels, self.num_interests, size])
        if self.output_kernel is None:
            return capsules
        return tf.nn.relu(tf.einsum("blkd,kde->blke", capsules, self.output_kernel))

    def _first_logits(
        self,
        length: tf.Tensor,
        rows: tf.Tensor,
        num_levels: int,
        training: bool | None,
    ) -> tf.Tensor:
        """[T, 1, N], or [T, B, N] where each row has its own, in each call anew."""
        count = num_levels * self.num_interests
        if "routing_draw" in self.paper:
            drawn = self._initial_logits(length, num_levels, training)
            return tf.reshape(drawn, [length, 1, count])
        return self._next_logits([length, rows, count])

    def _encode(
        self,
        votes: tf.Tensor,
        mask: tf.Tensor,
        shift: tf.Tensor | None = None,
        under_xla: bool = False,
    ) -> tf.Tensor:
        if "encoder" in self.paper:
            return super()._encode(votes, mask, shift, under_xla)
        del shift, under_xla  # It knows no times, and XLA does not fit it.
        length, rows, count, size = tf.unstack(tf.shape(votes))
        levels, width = count // self.num_interests, self.num_interests * size
        votes = tf.reshape(votes, [length, rows, levels, self.num_interests, size])
        votes = tf.transpose(votes, [2, 1, 3, 0, 4])  # [L, B, K, T, D]
        if "reshape" in self.paper:
            sequences = tf.transpose(votes, [0, 1, 3, 2, 4])  # [L, B, T, K, D]
        else:
            # As released, [B, K, T, D] is read as [B, T, K * D] with no transpose: a
            # step of the sequence holds K neighbouring times of one capsule.
            sequences = votes
        sequences = tf.reshape(sequences, [levels * rows, length, width])
        states = self.encoder(tf.transpose(sequences, [1, 0, 2]))  # [T, L * B, K * D]
        states = tf.reshape(states, [length, levels, rows, width])
        states = tf.transpose(states, [1, 0, 2, 3])  # [L, T, B, K * D], time-major
        if "reshape" in self.paper:
            states = tf.transpose(states, [0, 2, 1, 3])  # [L, B, T, K * D]
            states = tf.reshape(
                states, [levels, rows, length, self.num_interests, size]
            )
            states = tf.transpose(states, [0, 1, 3, 2, 4])  # [L, B, K, T, D]
        else:
            # THE LEAK. The recurrent layer returns its states time-major, [T * B, .],
            # and the released code takes them for [B, T, .] as they stand; one
            # transpose would do. It is an easy slip, since both shapes hold as many
            # numbers and nothing fails. But row b now gets the states that B rows
            # had at about time b * T / B: its number in the batch reaches the
            # network, and since the rows stand by label, so does the label.
            states = tf.reshape(states, [levels, rows, length, width])
            states = tf.reshape(
                states, [levels, rows, self.num_interests, length, size]
            )
        states = tf.transpose(states, [3, 1, 0, 2, 4])  # [T, B, L, K, D]
        return tf.reshape(states, [length, rows, count, size])


class _SideBySideBiLSTM(keras.layers.Layer):
    """A BiLSTM of D units a direction over K * D features, mapped back; time-major."""

    def __init__(self, size: int, num_interests: int) -> None:
        super().__init__()
        self.recurrent = keras.layers.Bidirectional(
            keras.layers.LSTM(size, return_sequences=True, time_major=True)
        )
        self.back = keras.layers.Dense(num_interests * size, use_bias=False)
        self.width = num_interests * size

    def call(self, sequences: tf.Tensor) -> tf.Tensor:
        sequences = tf.ensure_shape(sequences, [None, None, self.width])
        return self.back(self.recurrent(sequences))
