"""TGSRec (Fan et al., CIKM 2021), https://arxiv.org/abs/2108.06625.

Where the paper and the released code (DyGRec/TGSRec) differ, arguments choose. Departs
from both:
- The graph holds training events at any time, and only the user's own history goes on
  after them. They let an item see what other users did in the test period, which no
  other compared model sees.
- Pointwise cross-entropy over given candidates, not BPR, because all compared models
  train on the same samples with the same loss.
- The perceptron of a layer has a leaky ReLU. The towers share their weights, so that
  all logits start with a large common offset, which BPR cancels and cross-entropy does
  not: it pushes every hidden unit down, and plain ReLUs die within a few steps. For
  a calmer start inner products are divided by sqrt(D), which the last layer can undo.
- Frequencies are learned by their logarithms. A step of Adam is as long for a frequency
  of 1e-9 as for one of 1, and would drown the slow ones at once.
- A uniform sample without replacement is systematic: one draw places a comb over the
  past, and every event is as likely.
- The L2 penalty is of the rows of the user, the history and the candidates, as with
  every model here; users and items that are met as neighbours have none.
- The paper's sines and cosines are taken of spans, as the released code's cosines are:
  absolute seconds do not fit float32.
Departs from the released code alone, which drops the newest neighbour before a time,
takes the oldest as the recent ones, samples with replacement and in testing too, rounds
times to 128 s, and lets a node without neighbours read a random vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from baselines.layers import MLPHead
from mgnm_tf.batch import PADDING_ID, Batch, TrainEvents, UnfitEventsError
from mgnm_tf.counted_draws import add_count, next_draw
from mgnm_tf.keras2 import keras
from mgnm_tf.ops import inner_products, masked_softmax, score_in_chunks
from mgnm_tf.recommender import SequentialRecommender

HEADS = ("dot", "mlp")
SAMPLINGS = ("uniform", "recent")
TIME_ENCODINGS = ("cosine", "cosine_sine")
OTHER = {"item": "user", "user": "item"}
# A node at a time is one int64, which sorts by node, then time.
_TIME_BITS = 33
_LAST_TIME = 2**_TIME_BITS - 1
# Of the largest tensor while the cache is filled.
_CACHE_FLOATS = 2**23


class TGSRec(SequentialRecommender):
    """Inner product of user and candidate, each embedded at the target's time.

    All events form one bipartite graph. A node at a time attends to nodes that it met
    strictly before, each embedded at the time of that event, and so on for
    `num_layers` layers; users and items share the layers. The user's own neighbours
    come from the batch's history, which goes on after training, all others from the
    graph of `adapt`.

    Testing takes the newest neighbours, so that what an item reads from a neighbour
    depends on their event alone: it is computed once for all events, kept, and
    computed again when weights or graph have changed. No gradient passes through it;
    with `training` true nothing is kept. The graph and this cache are neither weights
    nor in a checkpoint: `adapt` makes them again.

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: size of the user vocabulary, 0 = unknown included.
        num_items: size of the item vocabulary, padding included.
        max_history: the shared signature; not read.
        embedding_dim: D.
        num_layers: how many layers of attention.
        num_neighbors: S, the most that a node attends to.
        num_heads: of attention; divides D plus the size of the time encoding.
        time_dim: number of frequencies; None takes D.
        time_encoding: "cosine" with phases, the released code's, or "cosine_sine",
            the paper's, twice as long.
        sampling: in training, of neighbours if there are more: "uniform" or "recent".
        dropout: the share of attention's outputs that training sets to zero.
        residual: add the query and normalise after attention, as the released code
            does and the paper does not.
        negative_slope: of the layers' perceptrons; 0 is the ReLU of paper and code.
        head: "dot", the paper's, or "mlp", the released code's.
        embedding_stddev: standard deviation of the tables' normal initialisation.
        seed: of dropout and of the neighbours that training samples; the same seed and
            step draw the same ones.
    """

    needs_times = True
    needs_events = True  # The graph and its cache.
    fits_xla = False  # The number of different nodes is unknown before a step.

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        embedding_dim: int = 16,
        num_layers: int = 2,
        num_neighbors: int = 20,
        num_heads: int = 2,
        time_dim: int | None = None,
        time_encoding: str = "cosine",
        sampling: str = "uniform",
        dropout: float = 0.1,
        residual: bool = True,
        negative_slope: float = 0.2,
        head: str = "dot",
        embedding_stddev: float = 0.1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del max_history
        if num_layers < 1 or num_neighbors < 1 or num_heads < 1:
            raise ValueError(
                "`num_layers`, `num_neighbors` and `num_heads` must be positive. "
                f"Received: num_layers={num_layers}, num_neighbors={num_neighbors}, "
                f"num_heads={num_heads}"
            )
        if sampling not in SAMPLINGS:
            raise ValueError(
                f"`sampling` must be one of {SAMPLINGS}. Received: sampling={sampling}"
            )
        if not 0 <= dropout < 1:
            raise ValueError(
                f"`dropout` must be in [0, 1). Received: dropout={dropout}"
            )
        if not 0 <= negative_slope < 1:
            raise ValueError(
                "`negative_slope` must be in [0, 1). "
                f"Received: negative_slope={negative_slope}"
            )
        if head not in HEADS:
            raise ValueError(f"`head` must be one of {HEADS}. Received: head={head}")
        self.num_layers = num_layers
        self.num_neighbors = num_neighbors
        self.sampling = sampling
        self.dropout = dropout
        self.head = head
        self.seed = seed
        self.item_embedding, self.user_embedding = (
            keras.layers.Embedding(
                size,
                embedding_dim,
                embeddings_initializer=keras.initializers.RandomNormal(
                    stddev=embedding_stddev
                ),
                name=f"{name}_embedding",
            )
            for name, size in (("item", num_items), ("user", num_users))
        )
        self.time_encoding = TimeEncoding(time_dim or embedding_dim, time_encoding)
        self.attention = [
            TemporalAttention(
                embedding_dim,
                self.time_encoding.size,
                num_heads,
                dropout,
                residual,
                negative_slope,
            )
            for _ in range(num_layers)
        ]
        # The cache asks for their weights before it uses them.
        for layer in self._layers_below(num_layers):
            layer.build(None)
        if head == "mlp":
            self.mlp = MLPHead(units=(embedding_dim,))
        self.draws = add_count(self)
        sizes = (embedding_dim, self.time_encoding.size)
        self._widest = max(num_neighbors * max(sizes), num_heads * sum(sizes))
        self._graph = TemporalGraph(num_users, num_items, embedding_dim, num_layers)

    def adapt(self, train: TrainEvents) -> None:
        """Replaces the graph.

        Raises:
            ValueError: if the events have no times, or times before 1970 or in a
                smaller unit than seconds.
        """
        self._graph.adapt(train)

    def call(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """`score` of `encode`; outside training nothing is drawn or dropped."""
        state = self.encode(batch, training=training)
        if training:
            return self._match(state, batch["candidates"], training=True)
        return self.score(state, batch["candidates"])

    def encode(
        self, batch: Batch, training: bool | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The user at the target's time [B, D], and that time, int64 [B]."""
        if not training and self.num_layers > 1:
            self._refresh_cache()
        times = batch["target_time"]
        neighbors, valid = self._history_neighbors(batch, training)
        levels = self._levels(
            "item", neighbors, self.num_layers - 1, training
        )  # each [B, S, D]
        user = self._climb(
            self._long_term("user", batch["user"]),
            levels,
            spans=times[:, None] - _time_of(neighbors),
            valid=valid,
            training=training,
        )[-1]
        return user, times

    def score(
        self, state: tuple[tf.Tensor, tf.Tensor], candidates: tf.Tensor
    ) -> tf.Tensor:
        return score_in_chunks(
            lambda ids: self._match(state, ids, training=False),
            candidates,
            floats=tf.size(state[1]) * self._widest,
        )

    def _match(
        self,
        state: tuple[tf.Tensor, tf.Tensor],
        candidates: tf.Tensor,
        training: bool,
    ) -> tf.Tensor:
        """Logits [B, C] of candidates embedded at the target's time."""
        user, times = state
        roots = _node_at(candidates, times[:, None])  # [B, C]
        if training:  # Each candidate has a draw of its own.
            flat = tf.reshape(roots, [-1])
            items = self._embed("item", flat, self.num_layers, training)[-1]
            shape = tf.concat([tf.shape(candidates), [items.shape[-1]]], axis=0)
            items = tf.reshape(items, shape)
        else:
            # What users are asked at one time meets the same items then.
            items = self._levels("item", roots, self.num_layers, training)[-1]
        if self.head == "mlp":
            return self.mlp((user, items))
        products = tf.cast(inner_products(user, items), tf.float32)
        return products / float(np.sqrt(items.shape[-1]))

    def _embed(
        self, kind: str, roots: tf.Tensor, level: int, training: bool | None
    ) -> list[tf.Tensor]:
        """Nodes at times [R], after 0, 1, ..., `level` layers: each [R, D]."""
        own = self._long_term(kind, _node_of(roots))
        if level == 0:
            return [own]
        first, count = self._graph.before(kind, roots)
        places = self._places(count, training)
        valid = places >= 0
        # Entry 0 is nobody at time 0.
        entries = tf.where(valid, first[:, None] + places, 0)  # [R, S]
        neighbors = self._graph.partners(kind, entries)
        if training:
            levels = self._levels(OTHER[kind], neighbors, level - 1, training)
        else:
            levels = [self._table(OTHER[kind])(_node_of(neighbors))]
            levels += self._graph.cached(kind, entries, level - 1)
            levels = [tf.cast(values, levels[0].dtype) for values in levels]
        spans = _time_of(roots)[:, None] - _time_of(neighbors)
        return self._climb(own, levels, spans, valid, training)

    def _levels(
        self, kind: str, neighbors: tf.Tensor, level: int, training: bool | None
    ) -> list[tf.Tensor]:
        """`_embed` for neighbours [R, S], each different one once: each [R, S, D]."""
        if level == 0:
            return [self._table(kind)(_node_of(neighbors))]
        # Most lists are shorter than S: their empty places are one node here.
        different, places = tf.unique(tf.reshape(neighbors, [-1]))
        places = tf.reshape(places, tf.shape(neighbors))
        embedded = self._embed(kind, different, level, training)
        return [tf.gather(values, places) for values in embedded]

    def _climb(
        self,
        own: tf.Tensor,
        levels: list[tf.Tensor],
        spans: tf.Tensor,
        valid: tf.Tensor,
        training: bool | None,
    ) -> list[tf.Tensor]:
        """Applies a layer for each level of the neighbours; own level 0 comes first."""
        encoded = tf.cast(self.time_encoding(spans), own.dtype)  # [R, S, F]
        now = tf.cast(self.time_encoding(tf.zeros([1], tf.int64)), own.dtype)
        results = [own]
        for layer, neighbors in zip(self.attention, levels):
            seed = self._next_seed() if training and self.dropout else None
            results.append(
                layer(
                    results[-1],
                    neighbors=neighbors,
                    encoded=encoded,
                    now=now,
                    valid=valid,
                    seed=seed,
                )
            )
        return results

    def _history_neighbors(
        self, batch: Batch, training: bool | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The user's own neighbours [B, S], and which are real."""
        real = tf.not_equal(batch["history"], PADDING_ID)  # [B, T]
        earlier = real & (batch["history_times"] < batch["target_time"][:, None])
        places = self._places(_count(earlier), training)  # [B, S]
        valid = places >= 0
        first = tf.shape(real, tf.int64)[1] - _count(real)  # [B]
        positions = tf.where(valid, first[:, None] + places, 0)
        nodes = _node_at(batch["history"], batch["history_times"])
        # An empty history has no position 0.
        nodes = tf.pad(nodes, [[0, 0], [0, 1]])
        neighbors = tf.gather(nodes, positions, batch_dims=1)
        return tf.where(valid, neighbors, 0), valid

    def _places(self, count: tf.Tensor, training: bool | None) -> tf.Tensor:
        """Which of `count` [R] neighbours fill S places, int64 [R, S]; < 0: none."""
        size = self.num_neighbors
        numbers = tf.range(size, dtype=tf.int64)
        recent = count[:, None] - size + numbers
        if not training or self.sampling == "recent":
            return recent
        start = tf.random.stateless_uniform(
            tf.shape(count), self._next_seed(), dtype=tf.float64
        )
        total = tf.cast(count, tf.float64)
        # Steps of count / S >= 1 from a common start never meet the same one twice.
        points = (tf.cast(numbers, tf.float64) + start[:, None]) * total[:, None] / size
        comb = tf.minimum(tf.cast(points, tf.int64), count[:, None] - 1)
        return tf.where(count[:, None] > size, comb, recent)

    def _table(self, kind: str) -> keras.layers.Embedding:
        return self.item_embedding if kind == "item" else self.user_embedding

    def _long_term(self, kind: str, nodes: tf.Tensor) -> tf.Tensor:
        """Long-term embeddings [R, D]; of an unknown node, zero."""
        values = self._table(kind)(nodes)
        return values * tf.cast(nodes != PADDING_ID, values.dtype)[:, None]

    def _layers_below(self, level: int) -> list[keras.layers.Layer]:
        """Everything that embeddings after `level` layers read."""
        tables = [self.item_embedding, self.user_embedding]
        return [*tables, self.time_encoding, *self.attention[:level]]

    def _refresh_cache(self) -> None:
        """Embeds the partner of every event anew, if weights or graph have changed."""
        # Under mixed precision, weights as the layers read them.
        flat = tf.concat(
            [
                tf.cast(tf.reshape(weight, [-1]), tf.float32)
                for layer in self._layers_below(self.num_layers - 1)
                for weight in layer.weights
            ],
            axis=0,
        )

        def embed(kind: str, nodes: tf.Tensor, level: int) -> tf.Tensor:
            return self._embed(kind, nodes, level, training=False)[-1]

        self._graph.refresh(flat, embed, _CACHE_FLOATS // self._widest + 1)

    def _next_seed(self) -> tf.Tensor:
        """Another seed each time, that goes on where a checkpoint was."""
        return next_draw(tf.identity, self.seed, self.draws)


class TimeEncoding(keras.layers.Layer):
    """Encodes a span so that inner products can tell how long ago something was.

    "cosine": cos(w span + phase). "cosine_sine": [cos(w span), sin(w span)] / sqrt(K),
    so that the inner product of two encodings is the mean cosine of their difference.
    The K frequencies w start at 1 and fall geometrically to 1e-9 a second.

    Shapes:
        spans int64 [...], seconds -> [..., F] float32; F is K, or 2 K with sines

    Args:
        num_frequencies: K.
        kind: one of `TIME_ENCODINGS`.
    """

    def __init__(self, num_frequencies: int, kind: str = "cosine", **kwargs: Any):
        super().__init__(**kwargs)
        if kind not in TIME_ENCODINGS:
            raise ValueError(
                f"`time_encoding` must be one of {TIME_ENCODINGS}. "
                f"Received: time_encoding={kind}"
            )
        self.num_frequencies = num_frequencies
        self.kind = kind
        self.size = num_frequencies * (2 if kind == "cosine_sine" else 1)
        self.start = np.logspace(0, -9, num_frequencies).astype(np.float32)

    def build(self, spans_shape: tf.TensorShape) -> None:
        # In half precision a slow frequency would be zero.
        options = {"initializer": "zeros", "experimental_autocast": False}
        # Logarithms, against the start: the L2 penalty pulls to it.
        self.log_change = self.add_weight(
            "log_change", (self.num_frequencies,), **options
        )
        if self.kind == "cosine":
            self.phase = self.add_weight("phase", (self.num_frequencies,), **options)
        super().build(spans_shape)

    def call(self, spans: tf.Tensor) -> tf.Tensor:
        frequencies = self.start * tf.exp(self.log_change)
        angles = tf.cast(spans, tf.float32)[..., None] * frequencies
        if self.kind == "cosine":
            return tf.cos(angles + self.phase)
        both = tf.concat([tf.cos(angles), tf.sin(angles)], axis=-1)
        return both / float(np.sqrt(self.num_frequencies))

    def get_config(self) -> dict[str, Any]:
        own = {"num_frequencies": self.num_frequencies, "kind": self.kind}
        return {**super().get_config(), **own}


class TemporalAttention(keras.layers.Layer):
    """One layer: a node attends to its neighbours, by content and by span.

    Queries, keys and values are maps without bias of [embedding; encoded span], the
    node's own span being zero; a perceptron joins what comes back and the node.

    Shapes:
        own [R, D], neighbors [R, S, D], encoded [R, S, F], now [1, F], valid bool
        [R, S] -> [R, D]

    Args:
        embedding_dim: D.
        time_size: F.
        num_heads: H; divides D + F.
        dropout: of what attention returns, where `call` gets a seed.
        residual: add the query and normalise before the perceptron.
        negative_slope: slope of the perceptron's leaky ReLU below zero.
    """

    def __init__(
        self,
        embedding_dim: int,
        time_size: int,
        num_heads: int = 2,
        dropout: float = 0.0,
        residual: bool = True,
        negative_slope: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        width = embedding_dim + time_size
        if width % num_heads:
            raise ValueError(
                "`num_heads` must divide the embedding plus the time encoding. "
                f"Received: num_heads={num_heads}, {embedding_dim} + {time_size}"
            )
        self.embedding_dim = embedding_dim
        self.time_size = time_size
        self.num_heads = num_heads
        self.dropout = dropout
        self.residual = residual
        self.negative_slope = negative_slope
        self.output_layer = keras.layers.Dense(width)
        self.normalization = keras.layers.LayerNormalization(epsilon=1e-5)
        self.hidden_layer = keras.layers.Dense(embedding_dim)
        self.last_layer = keras.layers.Dense(embedding_dim)

    def build(self, own_shape: tf.TensorShape) -> None:
        width = self.embedding_dim + self.time_size
        self.query_kernel, self.key_kernel, self.value_kernel = (
            self.add_weight(
                f"{name}_kernel",
                (width, width),
                initializer=keras.initializers.GlorotUniform(),
            )
            for name in ("query", "key", "value")
        )
        self.output_layer.build([None, width])
        self.normalization.build([None, width])
        self.hidden_layer.build([None, width + self.embedding_dim])
        self.last_layer.build([None, self.embedding_dim])
        super().build(own_shape)

    def call(
        self,
        own: tf.Tensor,
        neighbors: tf.Tensor,
        encoded: tf.Tensor,
        now: tf.Tensor,
        valid: tf.Tensor,
        seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        query = self._query(own, now)  # [R, D + F]
        weights = self.attend(query, neighbors, encoded, valid)  # [R, H, S]
        weights = tf.cast(weights, neighbors.dtype)
        pooled = tf.concat(
            [tf.matmul(weights, neighbors), tf.matmul(weights, encoded)], axis=-1
        )
        # The pooled inputs are mapped, which is the same as pooling mapped ones.
        heads = tf.einsum("rhw,whk->rhk", pooled, self._by_head(self.value_kernel))
        attended = self.output_layer(tf.reshape(heads, tf.shape(query)))
        if seed is not None:
            attended = tf.nn.experimental.stateless_dropout(
                attended, self.dropout, seed
            )
        if self.residual:
            attended = self.normalization(attended + query)
        hidden = self.hidden_layer(tf.concat([attended, own], axis=-1))
        return self.last_layer(tf.nn.leaky_relu(hidden, self.negative_slope))  # [R, D]

    def attend(
        self,
        query: tf.Tensor,
        neighbors: tf.Tensor,
        encoded: tf.Tensor,
        valid: tf.Tensor,
    ) -> tf.Tensor:
        """Weights [R, H, S] float32: one in sum over the valid, or zero if none is."""
        query = tf.matmul(query, tf.cast(self.query_kernel, query.dtype))
        keys = self._by_head(self.key_kernel)
        query = tf.reshape(query, [-1, *keys.shape[1:]])  # [R, H, (D + F) / H]
        # The query takes the keys' map: once a node, not once a neighbour.
        mapped = tf.einsum("rhk,whk->rhw", query, keys)
        content, time = tf.split(mapped, [self.embedding_dim, self.time_size], axis=-1)
        logits = tf.matmul(content, neighbors, transpose_b=True)
        logits += tf.matmul(time, encoded, transpose_b=True)
        logits = tf.cast(logits, tf.float32) / float(np.sqrt(keys.shape[-1]))
        return masked_softmax(logits, valid[:, None])

    def _query(self, own: tf.Tensor, now: tf.Tensor) -> tf.Tensor:
        now = tf.broadcast_to(now, [tf.shape(own)[0], self.time_size])
        return tf.concat([own, now], axis=-1)

    def _by_head(self, kernel: tf.Tensor) -> tf.Tensor:
        """A kernel as [D + F, H, (D + F) / H]."""
        width = self.embedding_dim + self.time_size
        shape = [width, self.num_heads, width // self.num_heads]
        return tf.cast(tf.reshape(kernel, shape), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "embedding_dim": self.embedding_dim,
            "time_size": self.time_size,
            "num_heads": self.num_heads,
            "dropout": self.dropout,
            "residual": self.residual,
            "negative_slope": self.negative_slope,
        }


class TemporalGraph:
    """All events as entries sorted by node and time, and what is kept of them.

    Each kind of node has a list: for entry e, the node at the event's time and its
    partner at that time, both as `_node_at` packs them. Entry 0 is nobody's. The cache
    holds, at row e of a level, the partner of entry e at that time after that many
    layers.

    This is no `tf.Module`, so that Keras and checkpoints overlook its variables: they
    are as large as the data, and made anew from them. They are variables, not
    constants, so that a traced function sees another graph.

    Args:
        num_users: size of the user vocabulary.
        num_items: size of the item vocabulary.
        embedding_dim: size of a cached embedding.
        num_layers: how many layers of attention the model has.
    """

    def __init__(
        self, num_users: int, num_items: int, embedding_dim: int, num_layers: int
    ) -> None:
        self._sizes = {"item": num_items, "user": num_users}
        self._own, self._partners, self._starts = (
            {kind: _variable(np.zeros(0, np.int64)) for kind in OTHER} for _ in range(3)
        )
        # Candidates read entries of items at all levels below the last, and these read
        # entries of users one level lower.
        self._cache = {
            (kind, level): _variable(np.zeros((0, embedding_dim), np.float32))
            for level in range(1, num_layers)
            for kind in OTHER
            if kind == "item" or level < num_layers - 1
        }
        self._cached_weights = _variable(np.zeros(0, np.float32))
        nothing = np.zeros(0, np.int64)
        self.adapt(TrainEvents(nothing, nothing, nothing))

    def adapt(self, train: TrainEvents) -> None:
        times = train.times
        if times is None:
            raise UnfitEventsError("TGSRec reads times, and the events have none.")
        if len(times) and (times.min() < 0 or times.max() > _LAST_TIME):
            raise UnfitEventsError(
                f"Times must be seconds in [0, {_LAST_TIME}]. Received: from "
                f"{times.min()} to {times.max()}"
            )
        nodes = {"item": train.items, "user": train.users}
        packed = {
            kind: (ids.astype(np.int64) << _TIME_BITS) | times
            for kind, ids in nodes.items()
        }
        for kind, other in OTHER.items():
            order = np.argsort(packed[kind], kind="stable")
            own = packed[kind][order]
            first = np.arange(self._sizes[kind], dtype=np.int64) << _TIME_BITS
            self._starts[kind].assign(1 + np.searchsorted(own, first))
            self._own[kind].assign(np.concatenate([[-1], own]))
            self._partners[kind].assign(np.concatenate([[0], packed[other][order]]))
        for cache in self._cache.values():
            cache.assign(np.zeros((1 + len(times), cache.shape[1]), np.float32))
        self._cached_weights.assign(np.zeros(0, np.float32))

    def before(self, kind: str, roots: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """First entry, and number of entries strictly before, of nodes at times [R]."""
        first = tf.gather(self._starts[kind], _node_of(roots))
        end = tf.searchsorted(self._own[kind], roots, out_type=tf.int64)
        return first, end - first

    def partners(self, kind: str, entries: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._partners[kind], entries)

    def cached(self, kind: str, entries: tf.Tensor, level: int) -> list[tf.Tensor]:
        """Partners of the entries after 1, 2, ..., `level` layers."""
        levels = range(1, level + 1)
        return [tf.gather(self._cache[kind, level], entries) for level in levels]

    def refresh(self, weights: tf.Tensor, embed: Any, rows_at_once: int) -> None:
        """Fills the cache, lower levels first, unless it is of these weights [W].

        `embed(kind, nodes, level)` -> [R, D] may read the cache of lower levels.
        """

        def fill() -> tf.Tensor:
            written = [
                self._fill(cache, kind, level, embed, rows_at_once)
                for (kind, level), cache in self._cache.items()
            ]
            # Not before: another thread takes the cache for whole by these weights.
            with tf.control_dependencies(written):
                self._cached_weights.assign(weights)
            return tf.constant(True)

        kept = self._cached_weights.read_value()
        fresh = tf.cond(
            tf.size(kept) == tf.size(weights),
            lambda: tf.reduce_all(kept == weights),
            lambda: tf.constant(False),
        )
        tf.cond(fresh, lambda: tf.constant(True), fill)

    def _fill(
        self, cache: tf.Variable, kind: str, level: int, embed: Any, rows_at_once: int
    ) -> tf.Operation:
        """Replaces one part of the cache, at once."""
        partners = self._partners[kind].read_value()
        count = tf.size(partners)
        parts = tf.TensorArray(
            tf.float32,
            size=-(-count // rows_at_once),
            infer_shape=False,
            element_shape=[None, cache.shape[1]],
        )

        def body(number: tf.Tensor, parts: tf.TensorArray) -> tuple[Any, Any]:
            start = number * rows_at_once
            nodes = partners[start : start + rows_at_once]
            values = tf.cast(embed(OTHER[kind], nodes, level), tf.float32)
            return number + 1, parts.write(number, values)

        _, parts = tf.while_loop(
            lambda number, _: number * rows_at_once < count,
            body,
            [tf.constant(0), parts],
            parallel_iterations=1,
        )
        return cache.assign(parts.concat(), read_value=False)


def _variable(value: np.ndarray) -> tf.Variable:
    """A variable whose length may change."""
    return tf.Variable(value, trainable=False, shape=[None, *value.shape[1:]])


def _node_at(nodes: tf.Tensor, times: tf.Tensor) -> tf.Tensor:
    """A node at a time as one int64."""
    times = tf.clip_by_value(times, 0, _LAST_TIME)
    return tf.bitwise.left_shift(tf.cast(nodes, tf.int64), _TIME_BITS) + times


def _node_of(packed: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.right_shift(packed, _TIME_BITS)


def _time_of(packed: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.bitwise_and(packed, _LAST_TIME)


def _count(mask: tf.Tensor) -> tf.Tensor:
    """How many are true in each row [B], int64."""
    return tf.math.count_nonzero(mask, axis=1)
