"""How far a score can be below the largest inner product it is made of."""

from __future__ import annotations

import math

from scipy.special import lambertw


def readout_gap(num_interests: int) -> float:
    """W((K - 1) / e), the most that Eq. 12-14 take from the largest inner product.

    A level scores an item by sum_k softmax(s)_k s_k, a mean of the inner products
    s_k = q_k . x with the K interests, so it is at most M = max_k s_k. With the
    distances d_k = M - s_k, of which one is 0,

        M - score = sum_k d_k exp(-d_k) / sum_k exp(-d_k).

    It is largest where the other K - 1 distances are equal: it is then
    (K - 1) d exp(-d) / (1 + (K - 1) exp(-d)), whose derivative is zero at
    d - 1 = (K - 1) exp(-d), that is (d - 1) exp(d - 1) = (K - 1) / e. So
    d = 1 + W((K - 1) / e), W being Lambert's function, and there the fraction itself
    is d - 1. The score of Eq. 15, the largest over levels, is within the same distance
    of the largest inner product over all levels.

    Args:
        num_interests: K.
    """
    if num_interests < 1:
        raise ValueError(f"`num_interests` must be positive. Received: {num_interests}")
    return float(lambertw((num_interests - 1) / math.e).real)
