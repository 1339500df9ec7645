"""The computation of the authors' released code, one switch for each difference.

It is here to be measured, not to be used: with its switches as released, a score
depends on where its row stands in the batch, and rows stand by label. Where that
happens is marked THE LEAK below. `experiments.waterfall` measures what each switch is
worth; `docs/released_code.md` tells the whole.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from baselines.released.layers import ReleasedCapsule, ReleasedGCN, UserlessGraph
from baselines.released.switches import check_switches
from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.counted_draws import add_count, next_draw
from mgnm_tf.keras2 import keras
from mgnm_tf.model import MGNM
from mgnm_tf.recommender import SequentialRecommender


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
        check_switches(paper)
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
            self.graph = UserlessGraph(l1=self.graph.l1)
        normalization = "symmetric" if "normalization" in paper else "none"
        self.gcn = ReleasedGCN(paper, num_layers, normalization)
        self.capsule = ReleasedCapsule(
            paper,
            num_interests=num_interests,
            max_history=max_history,
            routing_axis="items" if "routing_axis" in paper else "capsules",
            sequence_encoder="bilstm" if "encoder" in paper else "none",
            seed=seed,
        )
        self.shuffles = add_count(self, "shuffles")

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
        draw = functools.partial(tf.random.stateless_uniform, tf.shape(order))
        keys = next_draw(draw, self.seed, self.shuffles)
        return tf.gather(order, tf.argsort(keys))
