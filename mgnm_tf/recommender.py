"""The contract of every model, and the objective they all train on."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from mgnm_tf.batch import Batch, TrainEvents
from mgnm_tf.keras2 import is_of_keras3, keras
from mgnm_tf.objectives import CrossEntropy, Objective

L2_SCOPES = ("batch", "all")


class _RunningMean(keras.metrics.Mean):
    """A mean that is not kept with a model's weights, being none of them."""

    def save_own_variables(self, store: Any) -> None:
        del store

    def load_own_variables(self, store: Any) -> None:
        del store


class Request(NamedTuple):
    """What `SequentialRecommender.rank` reads."""

    state: Any  # of `encode`
    spans: tf.Tensor  # int32 [B], when in the log; zeros without `prior_shift`


class SequentialRecommender(keras.Model):
    """Encodes a history once, then scores any number of candidates against it.

    A model implements `encode(batch) -> state`, which must not read
    `batch["candidates"]`, and `score(state, candidates) -> logits [B, C]`. `state` is
    a tensor or a nest of tensors whose first dimension is B. A model that learns from
    more than batches (counts, graphs) implements `adapt`.

    Callers that rank take `request` and `rank`, which add what `prior_shift` knows.

    The loss is one for all models, Eq. 16-17 as a mean over its terms:

        loss = (sum of terms + the layers' penalties + l2 * sum ||w||^2 / 2) / terms

    `objective` makes the terms: cross-entropy one of each (history, candidate) pair,
    the others one of each history. A model with levels has as many sums, Eq. 16.

    Departs from the paper: Eq. 16 is a sum; dividing by the number of terms keeps their
    balance and makes the learning rate independent of the batch size.

    Args:
        l2: weight of the L2 penalty, the paper's theta_2.
        l2_scope: "batch" penalises dense weights and the embedding rows that the
            batch touches; "all" penalises whole tables, whose gradients then are
            dense, so that LazyAdam costs as much as Adam.

    Attributes:
        objective: what `train_step` minimises, of `mgnm_tf.objectives`.
        shares_items: whether `score` also takes ids [N] that all rows share, which
            saves a lookup for each row; else each row is given its own copy of them.
        needs_times: whether `encode` reads times; such a model is refused data that
            has none.
        needs_events: whether `adapt` makes what is not among the weights, so that it is
            called again before a stored model scores.
        fits_xla: whether XLA can compile its train step.
        leaky: whether a score depends on the rest of the batch; kept in passports,
            and no table of results takes such a run.
        stateful_scoring: whether scoring changes the model, so that batches must be
            scored one after the other.
        item_embedding: the table [num_items, D] that histories and candidates are
            looked up in, or None for a model without one.
        user_embedding: the table [num_users, D] of a model that reads the user, or
            None.
        prior_shift: a layer `(items, spans) -> [B, C]`, whose `spans(batch)` are int32
            [B], that is added to the scores that rank and to none that train; or None.
    """

    objective: Objective = CrossEntropy()
    shares_items = False
    needs_times = False
    needs_events = False
    fits_xla = True
    leaky = False
    stateful_scoring = False

    def __init__(self, l2: float = 1e-5, l2_scope: str = "batch", **kwargs: Any):
        super().__init__(**kwargs)
        if l2 < 0:
            raise ValueError(f"`l2` must be non-negative. Received: l2={l2}")
        if l2_scope not in L2_SCOPES:
            raise ValueError(
                f"`l2_scope` must be one of {L2_SCOPES}. Received: l2_scope={l2_scope}"
            )
        self.l2 = l2
        self.l2_scope = l2_scope
        self.loss_tracker = _RunningMean(name="loss")
        # Not on the class: Keras tracks no attribute whose name the class has.
        self.item_embedding: keras.layers.Embedding = None
        self.user_embedding: keras.layers.Embedding = None
        self.prior_shift: Any = None

    def encode(self, batch: Batch, training: bool | None = None) -> Any:
        """Reads the histories [B, T]; everything that no candidate changes."""
        raise NotImplementedError

    def score(self, state: Any, candidates: tf.Tensor) -> tf.Tensor:
        """Logits [B, C] float32 of the candidate ids [B, C]."""
        raise NotImplementedError

    def score_items(self, state: Any, items: tf.Tensor) -> tf.Tensor:
        """Logits [B, N] float32 of the ids [N], which all rows share."""
        if self.shares_items:
            return self.score(state, items)
        rows = tf.shape(tf.nest.flatten(state)[0])[0]
        return self.score(state, tf.broadcast_to(items, [rows, tf.size(items)]))

    def request(self, batch: Batch) -> Request:
        """Reads the histories as `rank` and `rank_items` want them."""
        return Request(self.encode(batch, training=False), self._spans(batch))

    def rank(self, request: Request, candidates: tf.Tensor) -> tf.Tensor:
        """What ranks the candidate ids [B, C], or [N] if `shares_items`: float32."""
        scores = self.score(request.state, candidates)
        return self._shifted(scores, candidates, request.spans)

    def rank_items(self, request: Request, items: tf.Tensor) -> tf.Tensor:
        """What ranks the ids [N], which all rows share: [B, N] float32."""
        scores = self.score_items(request.state, items)
        return self._shifted(scores, items, request.spans)

    def rank_batch(self, batch: Batch) -> tf.Tensor:
        """What ranks the batch's own candidates: [B, C] float32."""
        scores = self(batch, training=False)
        return self._shifted(scores, batch["candidates"], self._spans(batch))

    def _spans(self, batch: Batch) -> tf.Tensor:
        if self.prior_shift is None:
            return tf.zeros_like(batch["user"])
        return self.prior_shift.spans(batch)

    def _shifted(
        self, scores: tf.Tensor, items: tf.Tensor, spans: tf.Tensor
    ) -> tf.Tensor:
        if self.prior_shift is None:
            return scores
        return scores + self.prior_shift(items, spans=spans)

    def call(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """Logits [B, C] of the batch's own candidates, then any shared ones [B, N]."""
        state = self.encode(batch, training=training)
        logits = self.score(state, batch["candidates"])
        if "shared_negatives" not in batch:
            return logits
        shared = self.score_items(state, batch["shared_negatives"])
        return tf.concat([logits, shared], axis=-1)

    def adapt(self, train: TrainEvents) -> None:
        """Learns what needs more than batches: counts, neighbours, graphs.

        Raises:
            UnfitEventsError: if the model cannot learn from these events.
        """

    def counted_weights(self) -> list[tf.Variable]:
        """Weights that are counted and that no step changes.

        A model that starts from another's weights keeps its own of these.
        """
        return [] if self.prior_shift is None else self.prior_shift.weights

    def num_parameters(self) -> int:
        """How many numbers its weights have, without those that are counted apart."""
        counted = {weight.ref() for weight in self.counted_weights()}
        own = [weight for weight in self.weights if weight.ref() not in counted]
        return sum(weight.shape.num_elements() for weight in own)

    def explain(self, batch: Batch) -> dict[str, tf.Tensor]:
        """What the model makes of the histories, for people to look at.

        Returns:
            By name what a model has of "interests" [B, L, K, D], "active" [B, L, K],
            bool, which of them a history uses if not all, "couplings" [B, L, K, T],
            how much of an item is in an interest, zero at padding, "adjacency"
            [B, T, T] and "level_logits" [B, L, C]. A model without levels has L = 1.
        """
        del batch
        return {}

    def training_logits(self, batch: Batch, training: bool = True) -> tf.Tensor:
        """Logits that the loss reads: [B, C], or [B, L, C], summed over L.

        C counts the batch's own candidates and, after them, its shared negatives.
        Without `training` they are those of `evaluate`: no dropout.
        """
        return self(self._scorable(batch), training=training)

    def _scorable(self, batch: Batch) -> Batch:
        """Shared negatives among each row's own candidates, if `score` wants that."""
        if self.shares_items or "shared_negatives" not in batch:
            return batch
        own: Batch = {**batch}
        shared = own.pop("shared_negatives")
        shape = [tf.shape(own["candidates"])[0], tf.size(shared)]
        shared = tf.broadcast_to(shared, shape)
        own["candidates"] = tf.concat([own["candidates"], shared], axis=1)
        return own

    def embedding_rows(self, batch: Batch) -> list[tuple[tf.Variable, tf.Tensor]]:
        """Tables, each with the ids that a batch looks up, for the L2 penalty."""
        rows = []
        if self.item_embedding is not None:
            history = tf.reshape(batch["history"], [-1])
            items = tf.concat([history, self.scored_items(batch)], axis=0)
            rows.append((self.item_embedding.embeddings, items))
        if self.user_embedding is not None:
            rows.append((self.user_embedding.embeddings, batch["user"]))
        return rows

    @staticmethod
    def scored_items(batch: Batch) -> tf.Tensor:
        """Ids [B * C], or [B * C + N], that a training batch scores."""
        own = tf.reshape(batch["candidates"], [-1])
        if "shared_negatives" not in batch:
            return own
        return tf.concat([own, batch["shared_negatives"]], axis=0)

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Any = None,
        weighted_metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """As Keras's, but for what this model would not read.

        Raises:
            ValueError: for a loss or metrics: `objective` is what is minimised; or
                for an optimizer of Keras 3.
        """
        if is_of_keras3(type(optimizer), "Optimizer"):
            raise ValueError(
                "`optimizer` is of Keras 3, which cannot train this model of Keras 2. "
                "Take one of `from mgnm_tf.keras2 import keras`, its name "
                '("adam"), or `mgnm_tf.lazy_adam.LazyAdam`.'
            )
        given = {
            "loss": loss,
            "metrics": metrics,
            "loss_weights": loss_weights,
            "weighted_metrics": weighted_metrics,
        }
        unread = [name for name, value in given.items() if value is not None]
        if unread:
            raise ValueError(
                f"`compile` takes no `{'`, `'.join(unread)}` here, since the model "
                "trains on its own `objective` (mgnm_tf.objectives) and is ranked by "
                "harness.ranker: leave it out."
            )
        super().compile(optimizer=optimizer, **kwargs)

    def train_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """One step of the objective; Keras calls it, within `fit` or without."""
        with tf.GradientTape() as tape:
            loss, terms, count = self._objective_of(data, training=True)
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        self.loss_tracker.update_state(_sum_of_all(loss))
        logs = {"loss": self.loss_tracker.result()}
        if terms.shape.rank == 3:
            level_losses = _sum_of_all(tf.reduce_sum(terms, axis=[0, 2])) / count
            for level, level_loss in enumerate(tf.unstack(level_losses)):
                logs[f"level_{level}_loss"] = level_loss
        return logs

    def test_step(self, data: Batch) -> dict[str, tf.Tensor]:
        """The objective of `evaluate` and of `fit(validation_data=...)`.

        Over several batches it is the mean over all their terms, however many a batch
        has.
        """
        loss, _, count = self._objective_of(data, training=False)
        self.loss_tracker.update_state(_sum_of_all(loss), sample_weight=count)
        return {"loss": self.loss_tracker.result()}

    def _objective_of(
        self, batch: Batch, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """This replica's loss, its terms [B, (L,) C or 1], and the count of them all.

        Replicas each hold a share of the batch: what they add up is divided by the
        terms of all, and the optimizer sums their gradients.
        """
        logits = _without_hits(self.training_logits(batch, training=training), batch)
        terms = self.objective(logits)
        count = self.objective.num_terms(batch["candidates"])
        count = _sum_of_all(tf.cast(count, logits.dtype))
        penalty = self.l2 * self._l2_penalty(batch) if self.l2 else 0.0
        loss = (tf.reduce_sum(terms) + tf.add_n([penalty, *self.losses])) / count
        return loss, terms, count

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.loss_tracker]

    def _l2_penalty(self, batch: Batch) -> tf.Tensor:
        """This replica's equal share of the whole batch's L2 penalty."""
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        return self._l2_of_all(batch) / replicas

    def _l2_of_all(self, batch: Batch) -> tf.Tensor:
        if self.l2_scope == "all":
            return tf.add_n([tf.nn.l2_loss(w) for w in self.trainable_variables])
        tables = self.embedding_rows(batch)
        names = {table.ref() for table, _ in tables}
        dense = [w for w in self.trainable_variables if w.ref() not in names]
        touched = [self._touched_rows(table, ids) for table, ids in tables]
        return tf.add_n([tf.nn.l2_loss(w) for w in [*dense, *touched]])

    def _touched_rows(self, table: tf.Variable, ids: tf.Tensor) -> tf.Tensor:
        """The rows that a batch looks up, each once: a repeated one is zero or gone."""
        ids = tf.reshape(ids, [-1])
        # A row that two replicas touch is still penalised once.
        ids = tf.distribute.get_replica_context().all_gather(ids, axis=0)
        if not self.jit_compile:
            return tf.gather(table, tf.unique(ids).y)
        # XLA compiles tf.unique, whose length it cannot know, to wrong gradients.
        # Sorting has a fixed length, but takes longer than a hash table on a CPU.
        ids = tf.sort(ids)
        first = tf.concat([[True], ids[1:] != ids[:-1]], axis=0)
        rows = tf.reshape(tf.gather(table, ids), [tf.size(ids), -1])
        return tf.where(first[:, None], rows, tf.zeros_like(rows))


def _sum_of_all(value: tf.Tensor) -> tf.Tensor:
    """The sum of the replicas' values."""
    replica = tf.distribute.get_replica_context()
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, value)


def _without_hits(logits: tf.Tensor, batch: Batch) -> tf.Tensor:
    """Rules out shared negatives that are a row's positive: [B, (L,) C] -> the same."""
    if "shared_negatives" not in batch:
        return logits
    positives = batch["candidates"]  # [B, 1]
    hits = tf.equal(positives, batch["shared_negatives"])  # [B, N]
    hits = tf.pad(hits, [[0, 0], [1, 0]])
    if logits.shape.rank == 3:
        hits = hits[:, None]
    return tf.where(hits, logits.dtype.min, logits)
