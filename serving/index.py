"""Approximate search by inner products, then the exact score of what it found."""

from __future__ import annotations

import copy
import logging
from typing import Any

import numpy as np
import tensorflow as tf

from data.errors import UserError
from mgnm_tf.batch import PADDING_ID
from mgnm_tf.recommender import SequentialRecommender
from serving import search, short_list, vectors

KINDS = ("flat", "ivf", "hnsw")
# Vectors that k-means reads for each cell; more are drawn from.
_SAMPLE = 64
_SEED = 5
# Retrieved items that are scored: so many, and for each item asked for and each that
# was had. One that several interests retrieved counts several times.
_SCORED, _SCORED_EACH = 256, 16


class Index:
    """Retrieves candidates for each interest, unites them, and scores these exactly.

    No score is above the largest inner product M of the item with the interests of
    the history (`serving.bounds`). So an item that no interest retrieved among its
    best `depth` scores at most the largest of the inner products at which the
    retrievals ended. If the k-th score found is not below that, the k items are proven
    to be the best, and the row is `certified`. This needs retrieval that is exact by
    inner product: "flat", or "ivf" where it looks into all its cells. A bound for the
    cells that are not visited, by their centres and radii, proved nothing for anybody
    (docs/serve.md), so there is none.

    Args:
        model: whose scores are made of inner products.
        kind: "flat", all items; "ivf", cells of k-means; or "hnsw", a graph. HNSW
            walks by distance, on vectors made equally long by one more number, since
            it fails on inner products themselves.
        depth: items retrieved for each interest.
        cells: of "ivf"; None takes 8 sqrt(items).
        probes: cells that are looked into for a history, each by the interest that
            is nearest to it.

    Raises:
        UserError: if faiss is not installed, or the model has no such vectors.
    """

    def __init__(
        self,
        model: SequentialRecommender,
        kind: str = "ivf",
        depth: int = 50,
        cells: int | None = None,
        probes: int = 16,
    ) -> None:
        _check_kind(kind)
        if not vectors.has_vectors(model):
            raise UserError(
                f"{type(model).__name__} does not score by inner products as it is "
                "built here: search it exactly, without an index."
            )
        self.model = model
        self._faiss = _faiss()
        # Traced once, whatever the lengths: the second knows what the first returns.
        encode = tf.function(self._queries, input_signature=[search.signature(model)])
        request, _ = encode.get_concrete_function().structured_outputs
        self._encode = encode
        self._rerank = tf.function(
            self._best,
            input_signature=[
                tf.nest.map_structure(
                    lambda t: tf.TensorSpec(t.shape, t.dtype), request
                ),
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([], tf.int32),
            ],
        )
        self._build(kind, depth, cells, probes)

    def altered(
        self,
        kind: str | None = None,
        depth: int | None = None,
        cells: int | None = None,
        probes: int | None = None,
    ) -> Index:
        """An index of the same model, already traced, with what is given changed."""
        _check_kind(kind or self.kind)
        other = copy.copy(self)
        other._build(
            kind or self.kind,
            depth or self.depth,
            cells,
            probes or self.probes,
        )
        return other

    def best_items(
        self, batch: Any, seen: np.ndarray, k: int
    ) -> tuple[search.Best, np.ndarray]:
        """The best of what is retrieved, scored exactly; and which rows are certified.

        Args:
            batch: of histories, without candidates.
            seen: ids to leave out of each row [B, P], 0 at padding.
            k: how many.
        """
        request, interests = self._encode(batch)
        rows, levels, count, size = interests.shape
        queries = interests.numpy().reshape(-1, size)
        asked = levels * count  # Q
        inner, places = self._retrieve(queries, asked)
        # An item that was not retrieved has at most what each retrieval ended at, and
        # zero with an interest that is zero.
        ends = np.where(queries.any(axis=1), inner[:, -1], 0.0)
        ends = ends.reshape(rows, asked).max(axis=1)
        inner, places = (part.reshape(rows, -1) for part in (inner, places))
        # Enough of the largest are scored; what is left has at most the largest left.
        width = _SCORED + _SCORED_EACH * k + seen.shape[1]
        if width < inner.shape[1]:
            order = np.argpartition(-inner, width, axis=1)
            left = np.take_along_axis(inner, order[:, width : width + 1], axis=1)
            ends = np.maximum(ends, left[:, 0])
            places = np.take_along_axis(places, order[:, :width], axis=1)
        candidates = tf.constant(_distinct(places.astype(np.int32) + 1))
        best = self._rerank(request, candidates, tf.constant(seen), tf.constant(k))
        lengths = np.sqrt(np.square(queries).sum(axis=1).reshape(rows, asked).max(1))
        slack = short_list.rounding(size) * lengths * self._longest
        whole = best.ids.numpy().all(axis=1) & (best.ids.shape[1] == k)
        certified = whole & (best.scores.numpy()[:, -1] > ends + slack)
        return best, certified & self.is_exact

    def probe(self, probes: int) -> None:
        """Looks into so many cells from now on."""
        self.probes = min(probes, self.cells)
        if self.kind == "ivf":
            self._index.nprobe = self.probes

    @property
    def is_exact(self) -> bool:
        """Whether what a retrieval leaves out has no larger inner product."""
        if self.kind == "ivf":
            return self.probes == self.cells
        return self.kind == "flat"

    def _queries(self, batch: Any) -> tuple[Any, tf.Tensor]:
        """A batch as `rank` reads it, and its interests [B, L, K, D]."""
        request = self.model.request(batch)
        return request, vectors.interest_vectors(self.model, request.state)

    def _build(self, kind: str, depth: int, cells: int | None, probes: int) -> None:
        table = vectors.item_vectors(self.model).numpy()[1:]
        table = np.ascontiguousarray(table)
        faiss, (count, size) = self._faiss, table.shape
        self.kind, self.depth = kind, min(depth, count)
        self.cells = min(cells or int(8 * count**0.5), max(1, count // 8))
        self._longest = float(np.sqrt(np.square(table).sum(axis=1).max(initial=0.0)))
        if self.kind == "flat":
            self._index = faiss.IndexFlatIP(size)
            self._index.add(table)
        elif self.kind == "hnsw":
            longest = np.square(table).sum(axis=1)
            extra = np.sqrt(np.maximum(longest.max() - longest, 0.0))
            self._index = faiss.IndexHNSWFlat(size + 1, 32)
            self._index.hnsw.efConstruction = 80
            self._index.hnsw.efSearch = max(self.depth, 8 * probes)
            self._index.add(np.column_stack([table, extra]).astype(np.float32))
        else:
            self._build_cells(table)
        self.probe(probes)

    def _build_cells(self, table: np.ndarray) -> None:
        """Cells by distance, visited by inner product."""
        from faiss.contrib import ivf_tools

        faiss, size = self._faiss, table.shape[1]
        means = faiss.Kmeans(
            size,
            self.cells,
            niter=10,
            seed=_SEED,
            max_points_per_centroid=_SAMPLE,
            min_points_per_centroid=1,
        )
        means.train(table)
        _, nearest = means.index.search(table, 1)
        self._centres = tf.constant(means.centroids)
        # Kept alive here: faiss holds no reference to it.
        self._coarse = faiss.IndexFlatIP(size)
        self._coarse.add(means.centroids)
        self._index = faiss.IndexIVFFlat(
            self._coarse, size, self.cells, faiss.METRIC_INNER_PRODUCT
        )
        self._index.is_trained = True
        add: Any = ivf_tools.add_preassigned
        add(self._index, table, nearest[:, 0])

    def _retrieve(
        self, queries: np.ndarray, asked: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Inner products and places of items, the largest first: [Q, depth] each."""
        # Batches are searched side by side as it is; this holds for this thread alone.
        self._faiss.omp_set_num_threads(1)
        if self.kind == "hnsw":
            padded = np.pad(queries, [[0, 0], [0, 1]])
            distances, places = self._index.search(padded, self.depth)
            squares = np.square(queries).sum(axis=1, keepdims=True)
            inner = (squares + self._longest**2 - distances) / 2
        elif self.kind == "ivf" and not self.is_exact:
            by_history = queries.reshape(-1, asked, queries.shape[1])
            cells, owners = _nearest(by_history, self._centres, self.probes)
            cells = _by_interest(cells.numpy(), owners.numpy(), asked)
            unused = np.zeros(cells.shape, np.float32)
            inner, places = self._index.search_preassigned(
                queries, self.depth, cells, unused
            )
        else:
            inner, places = self._index.search(queries, self.depth)
        # Interests that the ReLU left empty retrieve nothing of use.
        empty = ~queries.any(axis=1)
        inner[empty], places[empty] = -np.inf, -1
        return inner, places

    def _best(
        self, request: Any, candidates: tf.Tensor, seen: tf.Tensor, k: tf.Tensor
    ) -> search.Best:
        best = search.best_of(self.model, request, candidates, seen, k)
        nobody = tf.zeros([tf.shape(candidates)[0]], tf.bool)
        return search.finished(self.model, request, best, nobody)


@tf.function(
    input_signature=[
        tf.TensorSpec([None, None, None], tf.float32),
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([], tf.int32),
    ]
)
def _nearest(
    interests: tf.Tensor, centres: tf.Tensor, probes: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cells whose centres have the largest inner product with an interest.

    Args:
        interests: of a batch [B, Q, D].
        centres: of the cells [C, D].
        probes: cells for a history, P.

    Returns:
        The cells, int32 [B, P], and which interest each is nearest to, int64 [B, P].
    """
    largest = tf.matmul(interests[:, 0], centres, transpose_b=True)  # [B, C]
    for place in tf.range(1, tf.shape(interests)[1]):
        one = tf.matmul(interests[:, place], centres, transpose_b=True)
        largest = tf.maximum(largest, one)
    cells = tf.math.top_k(largest, probes, sorted=False).indices
    of_cells = tf.matmul(tf.gather(centres, cells), interests, transpose_b=True)
    return cells, tf.argmax(of_cells, axis=2)


def _by_interest(cells: np.ndarray, owners: np.ndarray, asked: int) -> np.ndarray:
    """Cells [B, P] of the interests that own them: int64 [B * asked, P], -1 behind."""
    owners = (owners + asked * np.arange(len(cells))[:, None]).ravel()
    order = np.argsort(owners, kind="stable")
    counts = np.bincount(owners, minlength=asked * len(cells))
    starts = np.cumsum(counts) - counts
    owners = owners[order]
    lists = np.full([len(counts), cells.shape[1]], -1, np.int64)
    lists[owners, np.arange(len(owners)) - starts[owners]] = cells.ravel()[order]
    return lists


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise UserError(f"An index is one of {KINDS}. Received: {kind}")


def _distinct(ids: np.ndarray) -> np.ndarray:
    """Each id of a row once, ascending after zeros: [B, C]."""
    ids = np.sort(ids, axis=1)
    ids[:, 1:][ids[:, 1:] == ids[:, :-1]] = PADDING_ID
    ids = np.sort(ids, axis=1)
    widest = int((ids > 0).sum(axis=1).max(initial=0))
    return ids[:, ids.shape[1] - max(widest, 1) :]


def _faiss() -> Any:
    # It tells which of the processor's instructions it was built for.
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
    try:
        import faiss
    except ImportError as error:
        raise UserError(
            "An index needs faiss: pip install faiss-cpu. Without it the search "
            "is exact."
        ) from error
    return faiss
