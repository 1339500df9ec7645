"""How sure a difference is: over seeds, and over users."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

_RESAMPLE_CHUNK = 500


@dataclasses.dataclass(frozen=True)
class Difference:
    """A mean difference of paired values, its 95% interval and two-sided p-value."""

    mean: float
    low: float
    high: float
    p_value: float


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None for one value."""
    array = np.asarray(values, dtype=float)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None


def paired_t_test(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Two-sided p-value of Student's paired t-test, as in Section 4.1 of the paper.

    1.0 for fewer than two pairs and for equal values, 0.0 for a constant difference.
    """
    differences = np.subtract(ours, theirs)
    if len(differences) < 2 or not differences.any():
        return 1.0
    if np.allclose(differences, differences[0], rtol=1e-12, atol=0.0):
        return 0.0
    from scipy import stats

    return float(stats.ttest_rel(ours, theirs).pvalue)


def paired_bootstrap(
    ours: np.ndarray,
    theirs: np.ndarray,
    users: np.ndarray,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Resamples users, with all of their instances, and compares the means.

    Args:
        ours: the metric of each instance under one model, float [n].
        theirs: the same under another.
        users: whose instance it is, int [n].
        resamples: how often.
        seed: of the resampling.
    """
    _, groups = np.unique(users, return_inverse=True)
    sums = np.bincount(groups, weights=np.subtract(ours, theirs))
    sizes = np.bincount(groups).astype(float)
    rng = np.random.default_rng(seed)
    means = []
    for start in range(0, resamples, _RESAMPLE_CHUNK):
        count = min(_RESAMPLE_CHUNK, resamples - start)
        # Times that each user is drawn: [count, users].
        drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), count)
        means.append(drawn @ sums / (drawn @ sizes))
    found = np.concatenate(means)
    low, high = np.quantile(found, [0.025, 0.975])
    # One more than counted: a bootstrap cannot show a probability of zero.
    tail = min(np.sum(found <= 0.0), np.sum(found >= 0.0)) + 1
    p_value = min(1.0, 2.0 * tail / (resamples + 1))
    mean = float(sums.sum() / sizes.sum())
    return Difference(mean, float(low), float(high), float(p_value))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values of a family of tests (Holm, 1979)."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    running = 0.0
    for position, row in enumerate(order):
        running = max(running, (len(p_values) - position) * p_values[row])
        adjusted[row] = min(1.0, running)
    return adjusted.tolist()
