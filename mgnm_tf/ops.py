"""Pure functions that layers and models share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from mgnm_tf.keras2 import keras

MAP_INITIALIZATIONS = ("glorot", "identity")

# Below any sum of squares that matters; keeps the gradient of a zero norm finite.
_TINY = 1e-9
# The largest tensor while candidates are scored: 4 MB. Two batches at a time, ranking
# with 32 MB is up to a fifth slower (docs/performance.md).
_CHUNK_FLOATS = 2**20


def squash(vectors: tf.Tensor) -> tf.Tensor:
    """Shrinks vectors to a length below one, keeping their direction, Eq. 7.

    Shapes:
        [..., D] -> [..., D]; a zero vector stays zero, with a finite gradient.
    """
    square = tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True)
    return vectors * square / ((square + 1.0) * tf.sqrt(square + _TINY))


def square_maps(name: str) -> Callable[..., tf.Tensor]:
    """Initialiser of square matrices [..., D, D].

    Args:
        name: "glorot" draws each within its own limit of Glorot; "identity" draws
            nothing.
    """

    def make(shape: Any, dtype: Any = tf.float32, **options: Any) -> tf.Tensor:
        *several, _, size = shape
        if name == "identity":
            return tf.eye(size, batch_shape=several, dtype=dtype)
        # Keras counts all dimensions but the last two into both fans.
        count = 1
        for number in several:
            count *= number
        glorot = keras.initializers.VarianceScaling(
            scale=count, mode="fan_avg", distribution="uniform"
        )
        return glorot(shape, dtype=dtype, **options)

    return make


def masked_softmax(logits: tf.Tensor, mask: tf.Tensor, axis: int = -1) -> tf.Tensor:
    """Softmax over the entries where `mask`; zeros elsewhere.

    Shapes:
        logits [...], mask bool, broadcastable to it -> [...]; where nothing is
        valid along `axis`, all zeros.
    """
    logits = tf.where(mask, logits, logits.dtype.min)
    # By hand, since tf.nn.softmax transposes for any axis but the last.
    top = tf.stop_gradient(tf.reduce_max(logits, axis=axis, keepdims=True))
    weights = tf.where(mask, tf.exp(logits - top), 0.0)
    total = tf.reduce_sum(weights, axis=axis, keepdims=True)
    return weights / tf.maximum(total, logits.dtype.as_numpy_dtype(_TINY))


def inner_products(vectors: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    """Scores candidates by inner product.

    Shapes:
        vectors [B, D], items [B, C, D] -> [B, C]; or items [N, D], shared by all rows,
        in one product of matrices -> [B, N]
    """
    if items.shape.rank == 2:
        return tf.matmul(vectors, items, transpose_b=True)
    return tf.einsum("bd,bcd->bc", vectors, items)


def products_with_items(vectors: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    """Inner products of several vectors a row with candidates.

    Shapes:
        vectors [B, K, D], items [B, C, D] -> [B, K, C]; or items [N, D], shared by all
        rows, in one product of matrices -> [B, K, N]
    """
    if len(items.shape) == 3:
        return tf.matmul(vectors, items, transpose_b=True)
    rows, count, size = tf.unstack(tf.shape(vectors))
    flat = tf.reshape(vectors, [rows * count, size])
    return tf.reshape(tf.matmul(flat, items, transpose_b=True), [rows, count, -1])


def score_in_chunks(
    score: Callable[[tf.Tensor], tf.Tensor],
    candidates: tf.Tensor,
    floats: int | tf.Tensor,
) -> tf.Tensor:
    """Scores as many candidates of each row at a time as bounded memory allows.

    For models that read the history again for each candidate. A training batch, whose
    candidates are few, is scored at once.

    Shapes:
        candidates [B, C] -> [B, C]

    Args:
        score: ids [B, c] -> logits [B, c] float32.
        candidates: ids.
        floats: for each of the c, in the largest tensor of `score`, over all B rows.
    """
    rows, count = tf.unstack(tf.shape(candidates))
    size = tf.maximum(1, _CHUNK_FLOATS // tf.maximum(1, floats))

    def loop() -> tf.Tensor:
        chunks = -(-count // size)
        padded = tf.pad(candidates, [[0, 0], [0, chunks * size - count]])
        pieces = tf.reshape(padded, [rows, chunks, size])
        scored = tf.map_fn(
            score,
            tf.transpose(pieces, [1, 0, 2]),
            fn_output_signature=tf.TensorSpec([None, None], tf.float32),
            parallel_iterations=1,  # More would hold as many chunks in memory.
        )
        return tf.reshape(tf.transpose(scored, [1, 0, 2]), [rows, -1])[:, :count]

    return tf.cond(count <= size, lambda: score(candidates), loop)


def by_rows(
    score: Callable[[Any, tf.Tensor], tf.Tensor],
    state: Any,
    candidates: tf.Tensor,
    floats: int | tf.Tensor,
) -> tf.Tensor:
    """Scores a few rows at a time, so that what is made of their state stays in cache.

    For models whose candidates share a large product with each history: `score` makes
    it once for its rows, and then scores them, by `score_in_chunks` if they are many.

    Shapes:
        state: a nest of tensors [B, ...]; candidates [B, C] -> [B, C]

    Args:
        score: state of r rows, ids [r, C] -> logits [r, C] float32.
        state: the state of all rows.
        candidates: ids.
        floats: for each row and candidate, in the largest tensor of `score`.
    """
    rows, count = tf.unstack(tf.shape(candidates))
    size = tf.clip_by_value(_CHUNK_FLOATS // tf.maximum(1, floats * count), 1, rows)

    def step(start: tf.Tensor, scored: tf.TensorArray) -> tuple[tf.Tensor, Any]:
        stop = tf.minimum(start + size, rows)
        own = tf.nest.map_structure(lambda part: part[start:stop], state)
        logits = score(own, candidates[start:stop])
        return stop, scored.write(start // size, logits)

    empty = tf.TensorArray(
        tf.float32, -(-rows // tf.maximum(1, size)), infer_shape=False
    )
    _, scored = tf.while_loop(
        lambda start, _: start < rows, step, (0, empty), parallel_iterations=1
    )
    return tf.ensure_shape(scored.concat(), [None, None])
