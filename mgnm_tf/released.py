"""The computation of the authors' released code, one switch for each difference.

It is here to be measured, not to be used: with its switches as released, a score
depends on where its row stands in the batch, and rows stand by label. Where that
happens is marked THE LEAK below. `experiments.waterfall` measures what each switch is
worth; `docs/released_code.md` tells the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow import keras

from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.layers.sequential_capsule import SequentialCapsule
from mgnm_tf.layers.shared_gcn import SharedGCN
from mgnm_tf.layers.user_aware_graph import UserAwareGraph
from mgnm_tf.model import MGNM
from mgnm_tf.ops import squash
from mgnm_tf.recommender import SequentialRecommender

# What each switch means as released, and in the paper; in the order in which
# `experiments.waterfall` turns them.
SWITCHES: dict[str, tuple[str, str]] = {
    "row_order": (
        "the rows of a batch stand by label, positives first",
        "in random order",
    ),
    "reshape": (
        "reshapes around the BiLSTM mix rows, times and capsules",
        "transposes keep each row by itself",
    ),
    "routing_draw": (
        "first routing logits drawn for each row, at test time too",
        "one draw a batch in training, one kept for inference",
    ),
    "encoder": (
        "one BiLSTM reads the K capsules side by side",
        "one BiLSTM, shared by the capsules, reads each",
    ),
    "encoded_votes": (
        "what the BiLSTM adds is dropped before the last iteration",
        "it stays, Eq. 10",
    ),
    "padding": (
        "padded positions enter graph layers and BiLSTM",
        "they are zero throughout",
    ),
    "user_in_graph": (
        "the adjacency leaves the user out",
        "Eq. 1",
    ),
    "graph_layers": (
        "each graph layer reads the items, and has a bias",
        "each reads the one before, without a bias, Eq. 2",
    ),
    "normalization": (
        "the adjacency is not normalised",
        "I + D^-1/2 A D^-1/2, Eq. 3",
    ),
    "routing_axis": (
        "routing weights sum to one over the capsules",
        "over the items, Eq. 6",
    ),
    "projection": (
        "a projection of its own for each position, from N(0, 1)",
        "shared by the positions, Glorot, Eq. 5",
    ),
    "output_layer": (
        "no layer after the capsules",
        "ReLU(o W'), Eq. 11",
    ),
    "loss": (
        "both penalties weigh 1e-5, L2 of all variables",
        "theta_1 = 1e-6, L2 of what the batch touches",
    ),
    "initialisation": (
        "item embeddings from Glorot's uniform of the whole table",
        "from N(0, 0.1^2), as the users'",
    ),
}


@keras.saving.register_keras_serializable(package="mgnm_tf")
class ReleasedMGNM(MGNM):
    """MGNM as released, or any way along from there to `MGNM`.

    With all of `SWITCHES` at their paper values it is `MGNM`: the same weights give
    the same scores.

    As long as "reshape" or "routing_draw" is as released, a batch of B instances with
    C candidates is read as the released code reads it, one row for each (user,
    history, candidate): the B positives first, then the negatives of each, unless
    "row_order" shuffles them. In inference `evaluation_positives` instances at a time
    make a batch of rows. There is then no state that candidates share.

    Shapes:
        Batch -> logits [B, C] float32; zero for a padded candidate, which has no row

    Departs from the released code where that cannot run or cannot matter: batches
    hold 252 rows with no slices of 256; the sum of losses is divided by the number of
    rows, which Adam does not notice.

    Args:
        num_users: size of the user vocabulary, 0 = unknown included.
        num_items: size of the item vocabulary, 0 = padding included.
        max_history: the length to which histories are padded.
        embedding_dim: d.
        num_layers: L.
        num_interests: K.
        at_paper: the names of the switches that have their paper value.
        evaluation_positives: test instances a batch of rows.
        seed: of the routing draws and of shuffled rows.
        l2: theta_2.

    Attributes:
        leaky: whether scores depend on the other rows of the batch.
        by_rows: whether candidates of a history are read one by one.
    """

    fits_xla = False  # The number of rows is known only when a batch is.

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        embedding_dim: int = 16,
        num_layers: int = 3,
        num_interests: int = 4,
        at_paper: Sequence[str] = (),
        evaluation_positives: int = 2,
        seed: int = 0,
        l2: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        paper = frozenset(at_paper)
        _check_switches(paper)
        super().__init__(
            num_users,
            num_items,
            max_history=max_history,
            embedding_dim=embedding_dim,
            num_layers=num_layers,
            num_interests=num_interests,
            l1=1e-6 if "loss" in paper else 1e-5,
            l2=l2,
            l2_scope="batch" if "loss" in paper else "all",
            seed=seed,
            **kwargs,
        )
        self.at_paper = paper
        self.shares_items = False  # Candidates are rows.
        self.max_history = max_history
        self.evaluation_positives = evaluation_positives
        self.seed = seed
        self.leaky = "reshape" not in paper
        self.stateful_scoring = "routing_draw" not in paper
        self.by_rows = not paper >= {"reshape", "routing_draw"}
        if "initialisation" not in paper:
            self.item_embedding = keras.layers.Embedding(
                num_items, embedding_dim, embeddings_initializer="glorot_uniform"
            )
        if "user_in_graph" not in paper:
            self.graph = _UserlessGraph(l1=self.graph.l1)
        normalization = "symmetric" if "normalization" in paper else "none"
        self.gcn = _ReleasedGCN(paper, num_layers, normalization)
        self.capsule = _ReleasedCapsule(
            paper,
            num_interests=num_interests,
            max_history=max_history,
            routing_axis="items" if "routing_axis" in paper else "capsules",
            sequence_encoder="bilstm" if "encoder" in paper else "none",
            seed=seed,
        )
        self.shuffles = self.add_weight(
            "shuffles", (), dtype=tf.int64, initializer="zeros", trainable=False
        )

    def encode(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        if self.by_rows:
            raise ValueError(
                "The released computation reads one row for each candidate: it has no "
                "encoded history that candidates share, and cannot rank the catalogue."
            )
        return super().encode(self._padded(batch), training=training)

    # A look would take draws of the runs', and interests can be of a row's here.
    explain = SequentialRecommender.explain

    def call(
        self,
        batch: Batch,
        training: bool | None = None,
        return_levels: bool = False,
    ) -> tf.Tensor:
        if not self.by_rows:
            return super().call(batch, training=training, return_levels=return_levels)
        read = self._read_rows if training else self._read_in_batches
        logits = read(self._padded(batch), training)  # [B, L, C]
        return logits if return_levels else tf.reduce_max(logits, axis=1)

    def _padded(self, batch: Batch) -> Batch:
        """Histories at the fixed length, as long as what stands at padding counts."""
        if self.at_paper >= {"encoder", "padding"}:
            return batch
        missing = self.max_history - tf.shape(batch["history"])[1]
        padded: Batch = {**batch}
        padded["history"] = tf.pad(batch["history"], [[0, 0], [missing, 0]])
        return padded

    def _read_in_batches(self, batch: Batch, training: bool | None) -> tf.Tensor:
        """Level logits [B, L, C], `evaluation_positives` instances at a time."""
        size, keys = self.evaluation_positives, ("user", "history", "candidates")
        count = tf.shape(batch["user"])[0]
        batches = -(-count // size)

        def cut(values: tf.Tensor) -> tf.Tensor:
            after = [[0, batches * size - count]] + [[0, 0]] * (values.shape.rank - 1)
            # Instances added here have padded candidates alone, hence no row.
            values = tf.pad(values, after)
            return tf.reshape(
                values, [batches, size, *tf.unstack(tf.shape(values))[1:]]
            )

        logits = tf.map_fn(
            lambda piece: self._read_rows(piece, training),
            {key: cut(batch[key]) for key in keys},  # type: ignore[literal-required]
            fn_output_signature=tf.TensorSpec([None, None, None], tf.float32),
            parallel_iterations=1,
        )  # [batches, size, L, C]
        return tf.reshape(logits, [-1, *tf.unstack(tf.shape(logits))[2:]])[:count]

    def _read_rows(self, batch: Batch, training: bool | None) -> tf.Tensor:
        """Level logits [B, L, C] of a batch that is read as R rows."""
        size, width = tf.unstack(tf.shape(batch["candidates"]))
        order = self._row_order(batch["candidates"])  # [R]
        owners = order // width
        rows: Batch = {
            "user": tf.gather(batch["user"], owners),
            "history": tf.gather(batch["history"], owners),
            "candidates": tf.gather(tf.reshape(batch["candidates"], [-1, 1]), order),
        }
        interests = super().encode(rows, training=training)  # [R, L, K, D]
        logits = self.level_logits(interests, rows["candidates"])[:, :, 0]  # [R, L]
        levels = logits.shape[1]
        table = tf.scatter_nd(order[:, None], logits, [size * width, levels])
        return tf.transpose(tf.reshape(table, [size, width, levels]), [0, 2, 1])

    def _row_order(self, candidates: tf.Tensor) -> tf.Tensor:
        """Which of the B * C pairs each row is: [R], padded candidates left out.

        As released, the positives (column 0) come first, then the negatives of each.
        A row's number then tells its label; that is harmless only as long as no row
        can see its number, see THE LEAK.
        """
        pairs = tf.reshape(tf.range(tf.size(candidates)), tf.shape(candidates))
        order = tf.concat([pairs[:, 0], tf.reshape(pairs[:, 1:], [-1])], axis=0)
        ids = tf.gather(tf.reshape(candidates, [-1]), order)
        order = tf.boolean_mask(order, tf.not_equal(ids, PADDING_ID))
        if "row_order" not in self.at_paper:
            return order
        seed = tf.stack([tf.constant(self.seed, tf.int64), self.shuffles])
        keys = tf.random.stateless_uniform(tf.shape(order), seed)
        with tf.control_dependencies([keys]):
            self.shuffles.assign_add(1)
        return tf.gather(order, tf.argsort(keys))


def _check_switches(paper: frozenset[str]) -> None:
    unknown = sorted(paper - {*SWITCHES})
    if unknown:
        raise ValueError(
            f"`at_paper` names switches of {[*SWITCHES]}. Received: {unknown}"
        )
    if "encoder" in paper and "reshape" not in paper:
        raise ValueError(
            "`at_paper` with encoder needs reshape: the shared BiLSTM has no reshape "
            "that could be as released."
        )


class _UserlessGraph(UserAwareGraph):
    """The adjacency without the user: every x_u is one."""

    def call(self, history: tf.Tensor, user: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        return super().call(history, user=tf.ones_like(user), mask=mask)


class _ReleasedGCN(SharedGCN):
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


class _ReleasedCapsule(SequentialCapsule):
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
                votes += self._encode(votes, mask)
                routed = tf.stop_gradient(votes)
            else:
                # What is summed in the end never holds it; its weights learn through
                # the routing alone.
                routed += self._encode(routed, mask)
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
        drawn = self._draw([length, rows, count], self.draws)
        with tf.control_dependencies([drawn]):
            self.draws.assign_add(1)
        return drawn

    def _encode(self, votes: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        if "encoder" in self.paper:
            return super()._encode(votes, mask)
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
