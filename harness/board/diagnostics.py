"""How well interests are told apart: what `explain` of a model comes to, in numbers."""

from __future__ import annotations

import numpy as np


def routing_entropy(couplings: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Over how much of a history its interests are spread, by level: [L].

    The entropy of an interest's couplings, taken as shares of their sum, over the
    logarithm of the length: 1 if all items are in it alike, 0 if only one is. The mean
    over interests that have couplings; histories of one item have no such number.

    Args:
        couplings: [B, L, K, T], zero at padding.
        lengths: int [B], how many events each history has.
    """
    couplings = couplings[lengths > 1]
    scale = np.log(lengths[lengths > 1])[:, None, None]
    total = couplings.sum(axis=-1, keepdims=True)
    shares = couplings / np.where(total > 0, total, 1.0)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=-1)
    return _mean_by_level(entropy / scale, total[..., 0] > 0)


def pairwise_cosine(interests: np.ndarray) -> np.ndarray:
    """How alike the interests of a history are, by level: [L].

    The mean cosine over pairs of interests [B, L, K, D], all-zero ones apart.
    """
    norms = np.linalg.norm(interests, axis=-1, keepdims=True)
    alive = norms[..., 0] > 0
    units = interests / np.where(norms > 0, norms, 1.0)
    cosines = units @ np.swapaxes(units, -1, -2)  # [B, L, K, K]
    one, other = np.triu_indices(interests.shape[2], k=1)
    pairs = alive[..., one] & alive[..., other]
    return _mean_by_level(cosines[..., one, other], pairs)


def dead_share(interests: np.ndarray, active: np.ndarray | None = None) -> np.ndarray:
    """The share of the interests in use that are all zero, by level: [L].

    Args:
        interests: float [B, L, K, D], the interest vectors of each history and level.
        active: [B, L, K], which of them their history uses; None for all.
    """
    dead = ~interests.any(axis=-1)
    used = np.ones_like(dead) if active is None else active.astype(bool)
    return _mean_by_level(dead.astype(float), used)


def losses_by_level(logits: np.ndarray) -> np.ndarray:
    """Mean cross-entropy of each level's logits [B, L, C], column 0 the positive."""
    positive, negatives = logits[..., :1], logits[..., 1:]
    # log(1 + exp(x)), for any x.
    entropies = np.concatenate(
        [np.logaddexp(0.0, -positive), np.logaddexp(0.0, negatives)], axis=-1
    )
    return entropies.mean(axis=(0, 2))


def _mean_by_level(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Means [L] of values [B, L, N] over the marked ones; NaN where there are none."""
    count = where.sum(axis=(0, 2))
    total = np.where(where, values, 0.0).sum(axis=(0, 2))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def wins_by_instance(
    logits: np.ndarray, candidates: np.ndarray
) -> dict[str, np.ndarray]:
    """How many of an instance's candidates have their highest score at each level.

    Where levels tie, the lowest one has won.

    Args:
        logits: [B, L, 1 + C], the positive's first.
        candidates: ids [B, 1 + C]; padding wins nothing.

    Returns:
        int [B, L] of "positive" and of "negative".
    """
    from mgnm_tf.batch import PADDING_ID

    levels = np.arange(logits.shape[1])[:, None]
    won = logits.argmax(axis=1)[:, None] == levels  # [B, L, 1 + C]
    won &= (candidates != PADDING_ID)[:, None]
    return {
        "positive": won[:, :, 0].astype(int),
        "negative": won[:, :, 1:].sum(axis=2),
    }
