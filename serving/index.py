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
from serving import search, vectors

KINDS = ("flat", "ivf", "hnsw")
# Vectors that k-means reads for each cell; more are drawn from.
_SAMPLE = 64
_SEED = 5
# Rounding of float32 sums, relative to the size of the terms.
_SLACK = 1e-5


class Index:
    """Retrieves candidates for each interest, unites them, and scores these exactly.

    No score is above the largest inner product M of the item with the interests of
    the history (`serving.bounds`). So an item that no interest retrieved among its
    best `depth` scores at most the largest of the inner products at which the
    retrievals ended. If the k-th score found is not below that, the k items are proven
    to be the best, and the row is `certified`. This needs retrieval that is exact by
    inner product, which "flat" is. "ivf" looks into the nearest `probes` cells alone;
    items of another cell score at most q . c + |q| r, c its centre, r its radius.
    "hnsw" proves nothing.

    Args:
        model: whose scores are made of inner products.
        kind: "flat", all items; "ivf", cells of k-means; or "hnsw", a graph. HNSW
            walks by distance, on vectors made equally long by one more number, since
            it fails on inner products themselves.
        depth: items retrieved for each interest.
        cells: of "ivf"; None takes 4 sqrt(items).
        probes: cells that are looked into.

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
        self._model = model
        self._faiss = _faiss()
        # Traced once, whatever the lengths: the second knows the state by the first.
        encode = tf.function(self._queries, input_signature=[search.signature(model)])
        state, _ = encode.get_concrete_function().structured_outputs
        self._encode = encode
        self._rerank = tf.function(
            self._best,
            input_signature=[
                tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), state),
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
        state, interests = self._encode(batch)
        rows, size = interests.shape[0], interests.shape[-1]
        flat = interests.numpy().reshape(-1, size)
        inner, found = self._retrieve(flat)
        # Interests that the ReLU left empty retrieve nothing of use.
        found[~flat.any(axis=1)] = -1
        candidates = _distinct(found.reshape(rows, -1).astype(np.int32) + 1, seen)
        best = self._rerank(state, tf.constant(candidates), tf.constant(k))
        # An item that was not retrieved is at most at the end of each retrieval.
        ends = np.where(flat.any(axis=1), inner[:, -1], 0.0)
        bound = ends.reshape(rows, -1).max(axis=1)
        if self.kind == "ivf":
            bound = np.maximum(bound, self._outside(flat).reshape(rows, -1).max(axis=1))
        scores = best.scores.numpy()[:, -1]
        whole = best.ids.numpy().all(axis=1) & (best.ids.shape[1] == k)
        slack = _SLACK * np.maximum(1.0, np.abs(bound))
        certified = whole & (scores >= bound + slack) & (self.kind != "hnsw")
        return best, certified

    def _queries(self, batch: Any) -> tuple[Any, tf.Tensor]:
        """The state of a batch, and its interests [B, L, K, D]."""
        state = self._model.encode(batch, training=False)
        return state, vectors.interest_vectors(self._model, state)

    def _build(self, kind: str, depth: int, cells: int | None, probes: int) -> None:
        table = vectors.item_vectors(self._model).numpy()[1:]
        table = np.ascontiguousarray(table)
        faiss, (count, size) = self._faiss, table.shape
        self.kind, self.depth = kind, min(depth, count)
        self.cells = min(cells or int(4 * count**0.5), max(1, count // 8))
        self.probes = min(probes, self.cells)
        if self.kind == "flat":
            self._index = faiss.IndexFlatIP(size)
            self._index.add(table)
        elif self.kind == "hnsw":
            longest = np.square(table).sum(axis=1)
            extra = np.sqrt(np.maximum(longest.max() - longest, 0.0))
            self._index = faiss.IndexHNSWFlat(size + 1, 32)
            self._index.hnsw.efConstruction = 80
            self._index.hnsw.efSearch = max(self.depth, 8 * self.probes)
            self._index.add(np.column_stack([table, extra]).astype(np.float32))
        else:
            self._build_cells(table)

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
        self._centres = means.centroids
        distances, nearest = means.index.search(table, 1)
        self._radii = np.zeros(self.cells, np.float32)
        np.maximum.at(self._radii, nearest[:, 0], np.sqrt(distances[:, 0]))
        self._filled = np.bincount(nearest[:, 0], minlength=self.cells) > 0
        # Kept alive here: faiss holds no reference to it.
        self._coarse = faiss.IndexFlatIP(size)
        self._coarse.add(self._centres)
        self._index = faiss.IndexIVFFlat(
            self._coarse, size, self.cells, faiss.METRIC_INNER_PRODUCT
        )
        self._index.is_trained = True
        self._index.nprobe = self.probes
        add: Any = ivf_tools.add_preassigned
        add(self._index, table, nearest[:, 0])

    def _retrieve(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inner products and places of items, the largest first: [Q, depth] each."""
        # Batches are searched side by side as it is; this holds for this thread alone.
        self._faiss.omp_set_num_threads(1)
        if self.kind != "hnsw":
            return self._index.search(queries, self.depth)
        padded = np.pad(queries, [[0, 0], [0, 1]])
        return self._index.search(padded, self.depth)

    def _outside(self, queries: np.ndarray) -> np.ndarray:
        """The most that an item of a cell that was not looked into can have: [Q]."""
        inner = queries @ self._centres.T  # [Q, cells]
        norms = np.sqrt(np.square(queries).sum(axis=1, keepdims=True))
        most = np.where(self._filled, inner + norms * self._radii, -np.inf)
        if self.probes >= self.cells:
            return np.full(len(queries), -np.inf)
        visited = np.argpartition(-inner, self.probes - 1, axis=1)[:, : self.probes]
        np.put_along_axis(most, visited, -np.inf, axis=1)
        return most.max(axis=1)

    def _best(self, state: Any, candidates: tf.Tensor, k: tf.Tensor) -> search.Best:
        scores = self._model.score(state, candidates)  # [B, C]
        real = tf.not_equal(candidates, PADDING_ID)
        finite = tf.reduce_all(tf.math.is_finite(tf.boolean_mask(scores, real)))
        scores = tf.where(real, scores, -float("inf"))
        width = tf.minimum(k, tf.shape(scores)[1])
        scores, where = tf.math.top_k(scores, width)
        ids = tf.gather(candidates, where, batch_dims=1)
        levels = search.best_levels(self._model, state, ids)
        nobody = tf.fill([tf.shape(ids)[0]], False)
        return search.Best(ids, scores, levels, nobody, finite)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise UserError(f"An index is one of {KINDS}. Received: {kind}")


def _distinct(ids: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Each id of a row once, ascending after zeros, without what was seen: [B, C]."""
    ids = np.sort(ids, axis=1)
    ids[:, 1:][ids[:, 1:] == ids[:, :-1]] = PADDING_ID
    rows = np.arange(len(ids), dtype=np.int64)[:, None]
    span = max(int(ids.max(initial=0)), int(seen.max(initial=0))) + 1
    ids[np.isin(rows * span + ids, rows * span + seen)] = PADDING_ID
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
