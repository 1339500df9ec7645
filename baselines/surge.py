"""SURGE (Chang et al., SIGIR 2021), https://arxiv.org/abs/2106.14226.

Paper and released code (tsinghua-fib-lab/SIGIR21-SURGE) are two models: the code has
neither assignment matrix nor regularisers, but keeps the best nodes. `pooling` chooses.
Departs from both:
- Edges are 0 or 1, so that no gradient reaches the metric's weights; they are left out
  (a plain cosine), unless `adjacency` is "weighted".
- One head of metric and attention, one layer of pooling; no batch normalisation.
- Similarities that differ by rounding alone are ties, and ties are all kept, so that
  padding, which changes the rounding, changes no edge.
Departs from the paper:
- Cluster scores cancel in its softmax over neighbours, and so have no weights here,
  unless `fusion` is "gated".
- The position regulariser compares means of positions: a sum of positions cannot be
  near a cluster's index. `position` keeps the sum.
- Regularisers are taken of the positive candidate, and a history of n items has no more
  than n clusters.
Departs from the released code:
- Similarities are ranked as they are, not scaled by row with padding among the rest.
- Its query scores, which cancel in its softmax over neighbours, are left out there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from baselines.layers import MLPHead, PairAttention
from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.keras2 import keras
from mgnm_tf.ops import by_rows, masked_softmax, score_in_chunks
from mgnm_tf.recommender import SequentialRecommender

POOLINGS = ("assign", "topk")
ADJACENCIES = ("binary", "weighted")
FUSIONS = ("query", "gated")
POSITIONS = ("mean", "sum")
# Similarities are told apart in steps of 2^-20, ten times their rounding.
_BITS = 20
_SLOPE = 0.2


class SURGE(SequentialRecommender):
    """Pools an item graph of the history for each candidate, and reads it in order.

    The most similar pairs of items are edges. Attention that knows the candidate fuses
    neighbours; the nodes are pooled to a shorter sequence; a GRU whose update gate
    knows the candidate reads it; a perceptron scores. All but the graph is float32
    work for each pair of history and candidate.

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: the shared signature; not read.
        num_items: size of the item vocabulary, padding included.
        max_history: the longest history.
        embedding_dim: D, also the units of the GRU.
        pooling: "assign" to soft clusters, the paper's, or "topk" nodes in the order
            of time, the released code's, with its attention and its GRU gate.
        pooled_length: M, of the pooled sequence; None takes 20 for "assign" and, as
            the released code, six tenths of `max_history` for "topk".
        edge_share: epsilon, of n^2 pairs of n items, that become edges.
        adjacency: "binary", or "weighted" by similarity, which trains the metric.
        fusion: of "assign": "query", softmax of query scores over neighbours, or
            "gated", a leaky ReLU of cluster plus query score within the softmax, as in
            graph attention: what the paper means, at the price of [B, C, T, T].
        attention_units: hidden, of the attention of "assign"; "topk" has 80 and 40.
        same_mapping: weight of a regulariser of "assign": close nodes, one cluster.
        single_affiliation: weight of another: one cluster a node.
        relative_position: weight of the third: clusters in the order of time.
        position: "mean" or "sum", in the third.
        embedding_stddev: standard deviation of the item table's normal initialisation.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        embedding_dim: int = 16,
        pooling: str = "assign",
        pooled_length: int | None = None,
        edge_share: float = 0.5,
        adjacency: str = "binary",
        fusion: str = "query",
        attention_units: int = 16,
        same_mapping: float = 1e-5,
        single_affiliation: float = 1e-5,
        relative_position: float = 1e-5,
        position: str = "mean",
        embedding_stddev: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del num_users
        for name, value, legal in (
            ("pooling", pooling, POOLINGS),
            ("adjacency", adjacency, ADJACENCIES),
            ("fusion", fusion, FUSIONS),
            ("position", position, POSITIONS),
        ):
            if value not in legal:
                raise ValueError(
                    f"`{name}` must be one of {legal}. Received: {name}={value}"
                )
        if pooled_length is None:
            pooled_length = 20 if pooling == "assign" else -(-max_history * 6 // 10)
        if pooled_length < 1 or attention_units < 1:
            raise ValueError(
                "`pooled_length` and `attention_units` must be positive. Received: "
                f"pooled_length={pooled_length}, attention_units={attention_units}"
            )
        if not 0 < edge_share <= 1:
            raise ValueError(
                f"`edge_share` must be in (0, 1]. Received: edge_share={edge_share}"
            )
        self.penalty_weights = (same_mapping, single_affiliation, relative_position)
        if min(self.penalty_weights) < 0:
            raise ValueError(
                "`same_mapping`, `single_affiliation` and `relative_position` must be "
                f"non-negative. Received: {self.penalty_weights}"
            )
        self.edge_share = edge_share
        self.position = position
        normal = keras.initializers.RandomNormal(stddev=embedding_stddev)
        self.item_embedding = keras.layers.Embedding(
            num_items, embedding_dim, embeddings_initializer=normal
        )
        self.metric = None
        if adjacency == "weighted":
            self.metric = self.add_weight(
                "metric",
                (embedding_dim,),
                initializer="ones",
                experimental_autocast=False,
            )
        self.pool: _Assign | _TopK
        if pooling == "assign":
            gated = fusion == "gated"
            self.pool = _Assign(embedding_dim, pooled_length, attention_units, gated)
        else:
            self.pool = _TopK(embedding_dim, pooled_length)
        self.gru = _AttentionalGRU(
            embedding_dim, released_gate=pooling == "topk", dtype="float32"
        )
        self.mlp = MLPHead()

    def call(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """`score` of `encode`; in training the regularisers join the losses."""
        state = self.encode(batch, training=training)
        if not training:
            return self.score(state, batch["candidates"])
        logits, assignment = self._read(state, batch["candidates"])
        if assignment is not None:
            graph, _ = state
            penalty = self.penalties(assignment[:, 0], graph.adjacency, graph.mask)
            # The train step divides by the number of terms: a mean over histories.
            terms = self.objective.num_terms(batch["candidates"])
            self.add_loss(tf.cast(terms, tf.float32) * tf.reduce_mean(penalty))
        return logits

    def encode(
        self, batch: Batch, training: bool | None = None
    ) -> tuple[_Graph, tuple[tf.Tensor, ...]]:
        """The graph, and what pooling can compute without a candidate."""
        del training
        mask = tf.not_equal(batch["history"], PADDING_ID)  # [B, T]
        nodes = tf.cast(self.item_embedding(batch["history"]), tf.float32)
        nodes *= tf.cast(mask, tf.float32)[..., None]  # [B, T, D]
        graph = _Graph(nodes, self.connect(nodes, mask), mask)
        return graph, self.pool.prepare(graph)

    def score(
        self, state: tuple[_Graph, tuple[tf.Tensor, ...]], candidates: tf.Tensor
    ) -> tf.Tensor:
        length = tf.shape(state[0].mask)[1]
        width = length * self.pool.width(length)

        def score(
            rows: tuple[_Graph, tuple[tf.Tensor, ...]], ids: tf.Tensor
        ) -> tf.Tensor:
            shared = self.pool.share(*rows)
            return score_in_chunks(
                lambda some: self._read(rows, some, shared)[0],
                ids,
                floats=tf.shape(ids)[0] * width,
            )

        return by_rows(score, state, candidates, floats=width)

    def connect(self, nodes: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Metric learning and relative ranking: [B, T, D] -> edges [B, T, T].

        Symmetric, with a loop at each node; zero at padding.
        """
        if self.metric is not None:
            nodes = nodes * self.metric
        nodes = tf.math.l2_normalize(nodes, axis=-1)
        cosines = tf.matmul(nodes, nodes, transpose_b=True)
        cosines = (cosines + tf.transpose(cosines, [0, 2, 1])) / 2.0  # To the last bit.
        pairs = mask[:, :, None] & mask[:, None, :]
        count = tf.math.count_nonzero(pairs, axis=[1, 2], dtype=tf.float64)
        # Of an integer product the float64 may lie above it by a hair.
        wanted = tf.cast(tf.math.ceil(self.edge_share * count - 1e-9), tf.int32)
        ranked = tf.where(pairs, tf.stop_gradient(cosines), -2.0)
        threshold = _kth_largest(ranked, wanted)[:, None, None]
        edges = tf.cast(ranked >= threshold, tf.float32)
        if self.metric is not None:
            edges *= cosines
        # No loop is ever lost, and no weight negative.
        return tf.maximum(edges, tf.linalg.diag(tf.cast(mask, tf.float32)))

    def penalties(
        self, assignment: tf.Tensor, adjacency: tf.Tensor, mask: tf.Tensor
    ) -> tf.Tensor:
        """The weighted regularisers of S [B, T, M]: [B]."""
        valid = tf.cast(mask, tf.float32)  # [B, T]
        count = tf.maximum(tf.reduce_sum(valid, axis=1), 1.0)  # [B]
        assignment *= valid[:, :, None]
        together = tf.matmul(assignment, assignment, transpose_b=True)
        mapping = _norm(tf.reshape(adjacency - together, [tf.shape(mask)[0], -1]))

        entropies = -assignment * tf.math.log(assignment + 1e-9)
        affiliation = tf.reduce_sum(entropies, axis=[1, 2]) / count

        positions = tf.cumsum(valid, axis=1) * valid  # The oldest item has 1.
        sums = tf.einsum("bt,btm->bm", positions, assignment)
        length = tf.shape(assignment)[2]
        active = _active(mask, length)  # [B, M]
        clusters = tf.range(1.0, tf.cast(length, tf.float32) + 1.0)  # [M]
        if self.position == "sum":
            order = _norm(tf.where(active, sums - clusters, 0.0))
        else:
            means = sums / (tf.reduce_sum(assignment, axis=1) + 1e-9)
            # Each cluster has a block of n / M items in the ideal, here its centre.
            block = count / tf.math.count_nonzero(active, axis=1, dtype=tf.float32)
            block = tf.where(active[:, 0], block, 1.0)[:, None]
            centres = (clusters - 0.5) * block + 0.5
            order = _norm(tf.where(active, (means - centres) / block, 0.0))
        terms = (mapping, affiliation, order)
        return tf.add_n([w * term for w, term in zip(self.penalty_weights, terms)])

    def _read(
        self,
        state: tuple[_Graph, tuple[tf.Tensor, ...]],
        candidates: tf.Tensor,
        shared: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Logits [B, C], and the assignment [B, C, T, M] if there is one.

        With what the pool shares among many candidates they are the same, but for the
        order of sums; a few, as in training, do without.
        """
        items = self.item_embedding(candidates)  # [B, C, D]
        wide = tf.cast(items, tf.float32)
        graph, prepared = state
        pooled = self.pool(wide, graph=graph, prepared=prepared, shared=shared)
        interest = self.gru(pooled.nodes, attention=pooled.attention, mask=pooled.mask)
        users = tf.concat([interest, pooled.readout], axis=-1)
        logits = self.mlp((users, tf.concat([wide, pooled.readout * wide], axis=-1)))
        return logits, pooled.assignment


class _Graph(NamedTuple):
    nodes: tf.Tensor  # [B, T, D], zero at padding
    adjacency: tf.Tensor  # [B, T, T], symmetric
    mask: tf.Tensor  # bool [B, T]


class _Pooled(NamedTuple):
    nodes: tf.Tensor  # [B, C, M, D]
    attention: tf.Tensor  # [B, C, M], of the GRU
    mask: tf.Tensor  # bool, broadcastable to [B, C, M]
    readout: tf.Tensor  # [B, C, D], of the graph before pooling
    assignment: tf.Tensor | None  # [B, C, T, M]


class _Assign(keras.layers.Layer):
    """Fusion and pooling of the paper: nodes belong to M soft clusters."""

    def __init__(self, size: int, length: int, units: int, gated: bool) -> None:
        super().__init__(dtype="float32")
        self.length = length
        self.units = units
        self.query = _QueryAttention(units)
        self.fusion_layer = _linear(size)
        self.assign_kernel = self.add_weight("assign_kernel", (size, length))
        self.gated = gated
        if gated:
            self.cluster_layer = _linear(size)
            self.cluster_hidden = keras.layers.Dense(units, dtype="float32")
            self.cluster_score = keras.layers.Dense(1, dtype="float32")

    def width(self, length: tf.Tensor) -> tf.Tensor:
        """Numbers for each node and candidate in the largest tensor."""
        width = max(self.fusion_layer.units, self.units, self.length)
        return tf.maximum(length, width) if self.gated else tf.constant(width)

    def prepare(self, graph: _Graph) -> tuple[tf.Tensor, ...]:
        """X W_a [B, T, D] and, if gated, the cluster scores [B, T]."""
        # The sum over neighbours and W_a commute: W_a is applied once a history.
        projected = self.fusion_layer(graph.nodes)
        if not self.gated:
            return (projected,)
        nodes = self.cluster_layer(graph.nodes)
        clusters = _two_hops(graph.nodes, graph.adjacency)
        joined = tf.concat([nodes, clusters, nodes * clusters], axis=-1)
        hidden = tf.nn.leaky_relu(self.cluster_hidden(joined), _SLOPE)
        return projected, self.cluster_score(hidden)[..., 0]

    def share(self, graph: _Graph, prepared: tuple[tf.Tensor, ...]) -> tf.Tensor | None:
        """A[i, j] (X W_a)[j]: [B, T, T * D], by j; None if gated.

        A candidate's sum over neighbours j is a product of its weights of j with this.
        """
        if self.gated:
            return None
        rows, length = tf.unstack(tf.shape(graph.mask))
        # The adjacency is symmetric.
        spread = graph.adjacency[..., None] * prepared[0][:, :, None]
        return tf.reshape(spread, [rows, length, length * prepared[0].shape[-1]])

    def call(
        self,
        items: tf.Tensor,
        graph: _Graph,
        prepared: tuple[tf.Tensor, ...],
        shared: tf.Tensor | None = None,
    ) -> _Pooled:
        mask = graph.mask[:, None]  # [B, 1, T]
        nodes = self.fuse(items, graph, prepared, shared)  # [B, C, T, D]
        asked = masked_softmax(self.query(nodes, items=items), mask)  # [B, C, T]
        # Histories of T items have T clusters: the others are not even computed.
        length = tf.minimum(self.length, tf.shape(graph.mask)[1])
        active = _active(graph.mask, length)[:, None]  # [B, 1, M]
        kernel, adjacency = self.assign_kernel[:, :length], graph.adjacency[:, None]
        if shared is None:
            logits = tf.tensordot(tf.matmul(adjacency, nodes), kernel, 1)
        else:  # M is less than D, or not much more.
            logits = tf.matmul(adjacency, tf.tensordot(nodes, kernel, 1))
        closed = tf.where(active, 0.0, -1e9)[:, :, None]
        # Rows at padding are not zero, but meet zeros wherever they are summed.
        assignment = tf.nn.softmax(logits + closed)  # [B, C, T, M]
        asked = asked[:, :, None]
        return _Pooled(
            nodes=tf.matmul(assignment, nodes, transpose_a=True),
            attention=tf.matmul(asked, assignment)[:, :, 0],
            mask=active,
            readout=tf.matmul(asked, nodes)[:, :, 0],
            assignment=assignment,
        )

    def fuse(
        self,
        items: tf.Tensor,
        graph: _Graph,
        prepared: tuple[tf.Tensor, ...],
        shared: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Cluster- and query-aware attention over neighbours: [B, C, T, D]."""
        mask, adjacency = graph.mask[:, None], graph.adjacency
        scores = self.query(graph.nodes[:, None], items=items)  # [B, C, T]
        scores = tf.where(mask, scores, scores.dtype.min)
        top = tf.stop_gradient(tf.reduce_max(scores, axis=-1, keepdims=True))
        scores = tf.where(mask, scores - top, 0.0)
        projected = prepared[0][:, None]  # [B, 1, T, D]
        if self.gated:
            # exp(leaky(a + b)) = max(exp(a) exp(b), exp(s a) exp(s b)), s the slope:
            # no exponential for each pair. Shifted, no factor is above one.
            lead = prepared[1][:, None] + top  # [B, C, T]
            shift = tf.nn.leaky_relu(lead, _SLOPE)
            weights = adjacency[:, None] * tf.maximum(
                _outer(tf.exp(lead - shift), tf.exp(scores)),
                _outer(tf.exp(_SLOPE * lead - shift), tf.exp(_SLOPE * scores)),
            )  # [B, C, T, T]
            mixed = tf.matmul(weights, projected)
            totals = tf.reduce_sum(weights, axis=-1)  # [B, C, T]
        else:
            weights = tf.exp(scores)  # [B, C, T]
            if shared is None:
                mixed = tf.matmul(adjacency[:, None], weights[..., None] * projected)
            else:
                shape = tf.concat([tf.shape(weights), [projected.shape[-1]]], axis=0)
                mixed = tf.reshape(tf.matmul(weights, shared), shape)
            totals = tf.matmul(weights, adjacency)  # The adjacency is symmetric.
        mixed *= tf.math.divide_no_nan(1.0, totals)[..., None]
        return tf.nn.leaky_relu(mixed + graph.nodes[:, None], _SLOPE)


class _TopK(keras.layers.Layer):
    """Fusion and pooling of the released code: the M best nodes stay, in order."""

    def __init__(self, size: int, length: int) -> None:
        super().__init__(dtype="float32")
        self.length = length
        self.fusion_layer = _linear(size)
        self.cluster, self.query, self.reader = (_NodeAttention(size) for _ in range(3))

    def width(self, length: tf.Tensor) -> tf.Tensor:
        """Numbers for each node and candidate in the largest tensor."""
        del length
        return tf.constant(max(self.query.pair.units[0], self.fusion_layer.units))

    def prepare(self, graph: _Graph) -> tuple[tf.Tensor, ...]:
        """Nodes after fusion [B, T, D], and their cluster scores [B, T]."""
        scores = self._cluster_scores(graph.nodes, graph)
        weights = tf.exp(scores)[..., None]  # [B, T, 1]; scores are within [0, 1].
        mixed = tf.matmul(graph.adjacency, weights * self.fusion_layer(graph.nodes))
        mixed = tf.math.divide_no_nan(mixed, tf.matmul(graph.adjacency, weights))
        nodes = tf.nn.leaky_relu(mixed + graph.nodes, _SLOPE)
        return nodes, self._cluster_scores(nodes, graph)

    def share(self, graph: _Graph, prepared: tuple[tf.Tensor, ...]) -> None:
        """Nothing beyond what `prepare` made."""
        del graph, prepared

    def call(
        self,
        items: tf.Tensor,
        graph: _Graph,
        prepared: tuple[tf.Tensor, ...],
        shared: None = None,
    ) -> _Pooled:
        del shared
        fused, cluster_scores = prepared
        mask = graph.mask[:, None]  # [B, 1, T]
        queries = items[:, :, None]  # [B, C, 1, D]
        asked = masked_softmax(self.query(fused[:, None], queries=queries), mask)
        scores = asked + cluster_scores[:, None]  # [B, C, T]
        length = tf.minimum(self.length, tf.shape(fused)[1])
        best = tf.math.top_k(tf.where(mask, scores, -1.0), length, sorted=False).indices
        best = tf.sort(best)  # [B, C, M], in the order of time
        nodes = tf.gather(fused, best, batch_dims=1)  # [B, C, M, D]
        kept = tf.gather(graph.mask, best, batch_dims=1)  # [B, C, M]
        # Of all nodes, so that those that go take their share along.
        shares = masked_softmax(scores, mask)  # [B, C, T]
        shares = tf.gather(shares, best, batch_dims=2)  # Zero at padding.
        return _Pooled(
            nodes=nodes,
            attention=masked_softmax(self.reader(nodes, queries=queries), kept),
            mask=kept,
            readout=tf.matmul(shares[:, :, None], nodes)[:, :, 0],
            assignment=None,
        )

    def _cluster_scores(self, nodes: tf.Tensor, graph: _Graph) -> tf.Tensor:
        logits = self.cluster(nodes, queries=_two_hops(nodes, graph.adjacency))
        return masked_softmax(logits, graph.mask)


class _QueryAttention(keras.layers.Layer):
    """FFN([x W; e; x W * e]) of nodes x and a candidate e, a scalar without bias.

    All that reads it is a softmax over nodes, where a last bias cancels.

    Shapes:
        nodes [B, 1 or C, T, D], items [B, C, D] -> [B, C, T]
    """

    def __init__(self, units: int) -> None:
        super().__init__(dtype="float32")
        self.units = units
        self.last = _linear(1)

    def build(self, nodes_shape: tf.TensorShape) -> None:
        size = nodes_shape[-1]
        limit = (6.0 / (3 * size + self.units)) ** 0.5  # Glorot's, of the joined layer.
        uniform = keras.initializers.RandomUniform(-limit, limit)
        self.projection = self.add_weight("projection", (size, size))
        self.kernel = self.add_weight(
            "kernel", (3, size, self.units), initializer=uniform
        )
        self.bias = self.add_weight("bias", (self.units,), initializer="zeros")
        super().build(nodes_shape)

    def call(self, nodes: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        # For one candidate the first layer is affine in x: its matrix, here
        # W (K0 + diag(e) K2), is made once, and no [B, C, T, 3D] ever exists.
        node_kernel, item_kernel, product_kernel = tf.unstack(self.kernel)
        crossed = tf.einsum("id,dh->dih", self.projection, product_kernel)
        matrices = tf.tensordot(items, crossed, 1) + self.projection @ node_kernel
        offsets = tf.tensordot(items, item_kernel, 1) + self.bias  # [B, C, H]
        hidden = tf.matmul(nodes, matrices) + offsets[:, :, None]  # [B, C, T, H]
        return self.last(tf.nn.leaky_relu(hidden, _SLOPE))[..., 0]


class _NodeAttention(keras.layers.Layer):
    """`PairAttention` of the projected nodes [..., T, D] and queries: [..., T]."""

    def __init__(self, size: int) -> None:
        super().__init__(dtype="float32")
        self.projection = _linear(size)
        self.pair = PairAttention(dtype="float32")

    def call(self, nodes: tf.Tensor, queries: tf.Tensor) -> tf.Tensor:
        return self.pair((self.projection(nodes), queries))


class _AttentionalGRU(keras.layers.Layer):
    """AUGRU: a GRU whose update gate knows the attention to each node.

    With update gate u and attention a, a step takes the share

        a u, the paper's, after DIEN: a = 0 keeps the state, a = 1 is a plain GRU; or
        1 - (1 - a)(1 - u), the released code's: a = 0 is plain, a = 1 overwrites

    of the new candidate state. Masked steps keep the state.

    Shapes:
        nodes [B, C, M, D], attention [B, C, M], mask bool -> last state [B, C, D]

    Args:
        units: D.
        released_gate: the second form.
    """

    def __init__(self, units: int, released_gate: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.released_gate = released_gate
        self.input_layer = keras.layers.Dense(3 * units, dtype="float32")  # r u c

    def build(self, nodes_shape: tf.TensorShape) -> None:
        self.gate_kernel = self.add_weight("gate_kernel", (self.units, 2 * self.units))
        self.kernel = self.add_weight("kernel", (self.units, self.units))
        super().build(nodes_shape)

    def call(
        self, nodes: tf.Tensor, attention: tf.Tensor, mask: tf.Tensor
    ) -> tf.Tensor:
        rows, count, length, size = tf.unstack(tf.shape(nodes))
        valid = tf.cast(tf.broadcast_to(mask, tf.shape(attention)), nodes.dtype)
        attention *= valid
        # The share is base + slope u in both forms; zero where masked.
        if self.released_gate:
            base, slope = attention, valid - attention
        else:
            base, slope = tf.zeros_like(attention), attention
        gates = tf.stack([base, slope], axis=-1)  # [B, C, M, 2]
        # Steps first, before the input layer makes them three times as wide.
        gates, steps = (
            tf.reshape(tf.transpose(x, [2, 0, 1, 3]), [length, rows * count, width])
            for x, width in ((gates, 2), (nodes, size))
        )
        gate_kernel, kernel = tf.identity(self.gate_kernel), tf.identity(self.kernel)

        def step(state: tf.Tensor, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            projected, share = inputs
            opened, candidate = tf.split(projected, [2 * self.units, self.units], 1)
            opened = tf.sigmoid(opened + tf.matmul(state, gate_kernel))
            reset, update = tf.split(opened, 2, axis=1)
            candidate = tf.tanh(candidate + tf.matmul(reset * state, kernel))
            share = share[:, :1] + share[:, 1:] * update
            return state + share * (candidate - state)

        start = tf.zeros([rows * count, self.units], nodes.dtype)
        last = tf.foldl(step, (self.input_layer(steps), gates), start)
        return tf.reshape(last, [rows, count, self.units])


def _kth_largest(values: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Just below the `count` largest of values within [-1, 1]: [B, T, T] -> [B].

    By bisection, a fifth of the time of a sort. The result lies half a step to one and
    a half below the k-th value, so that ties stay together whatever their rounding.
    """
    step = 2.0**-_BITS
    lowest = tf.fill(tf.shape(count), -1.0)
    for bit in range(_BITS + 1):
        middle = lowest + 2.0**-bit
        reached = values >= middle[:, None, None]
        enough = tf.math.count_nonzero(reached, axis=[1, 2], dtype=tf.int32) >= count
        lowest = tf.where(enough, middle, lowest)
    return lowest - step / 2.0


def _two_hops(nodes: tf.Tensor, adjacency: tf.Tensor) -> tf.Tensor:
    """The cluster around each node, normalised over two hops: [B, T, D]."""
    degrees = tf.reduce_sum(adjacency, axis=2, keepdims=True)  # [B, T, 1]
    scale = tf.math.divide_no_nan(1.0, tf.sqrt(degrees))
    for _ in range(2):
        nodes = scale * tf.matmul(adjacency, scale * nodes)
    return nodes


def _active(mask: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """The clusters of a history, bool [B, M]: no more than it has items."""
    count = tf.math.count_nonzero(mask, axis=1, dtype=tf.int32)
    return tf.range(length) < count[:, None]


def _norm(vectors: tf.Tensor) -> tf.Tensor:
    """L2 norm [B] of [B, N]; the gradient of a zero norm is zero."""
    square = tf.reduce_sum(tf.square(vectors), axis=-1)
    return tf.where(square > 0, tf.sqrt(tf.where(square > 0, square, 1.0)), 0.0)


def _outer(rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    return rows[..., :, None] * columns[..., None, :]


def _linear(units: int) -> keras.layers.Dense:
    return keras.layers.Dense(units, use_bias=False, dtype="float32")
