"""How sure a difference is: over seeds, and over users."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

_RESAMPLE_CHUNK = 500
# Metrics lie in [0, 1]: what is smaller than this is zero, and rounding alone has put
# it to one side.
_ROUNDING = 1e-12


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


def paired_bootstraps(
    differences: np.ndarray,
    users: np.ndarray,
    weights: np.ndarray | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[Difference]:
    """Resamples users, with all of their instances, and compares weighted means.

    Args:
        differences: of metrics between two models, by instance, one comparison a
            column, float [n, k]. All see the same resamples.
        users: the user of each instance, int [n]; equal numbers are one user.
        weights: of the instances in the mean, float [n, k]; equal without.
        resamples: how often users are drawn with replacement.
        seed: of the generator that draws the users; the same seed gives the same
            intervals.

    Returns:
        One `Difference` a column.
    """
    differences = _without_rounding(differences)
    if weights is None:
        weights = np.ones_like(differences)
    _, groups = np.unique(users, return_inverse=True)
    sums = _by_user(groups, differences * weights)
    sizes = _by_user(groups, weights)
    rng = np.random.default_rng(seed)
    means = []
    for start in range(0, resamples, _RESAMPLE_CHUNK):
        count = min(_RESAMPLE_CHUNK, resamples - start)
        # Times that each user is drawn: [count, users].
        drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), count)
        means.append(drawn @ sums / (drawn @ sizes))
    resampled = _without_rounding(np.concatenate(means))  # [resamples, k]
    whole = sums.sum(axis=0) / sizes.sum(axis=0)
    return [_difference(*pair) for pair in zip(whole, resampled.T)]


def _without_rounding(values: np.ndarray) -> np.ndarray:
    return np.where(np.abs(values) < _ROUNDING, 0.0, values)


def _by_user(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums of each column over each user's rows, float [users, k]."""
    return np.stack(
        [np.bincount(groups, weights=column) for column in values.T], axis=1
    )


def _difference(mean: float, resampled: np.ndarray) -> Difference:
    low, high = np.quantile(resampled, [0.025, 0.975])
    # One more than counted: a bootstrap cannot show a probability of zero.
    tail = int(min(np.sum(resampled <= 0.0), np.sum(resampled >= 0.0))) + 1
    p_value = min(1.0, 2.0 * tail / (len(resampled) + 1))
    return Difference(float(mean), float(low), float(high), float(p_value))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values of a family of tests (Holm, 1979)."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    running = 0.0
    for position, row in enumerate(order):
        running = max(running, (len(p_values) - position) * p_values[row])
        adjusted[row] = min(1.0, running)
    return adjusted.tolist()


def kendall_tau(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """How far two lists of values order the same things alike: Kendall's tau-b.

    1 for one order, -1 for its reverse. A pair that is tied in either list counts
    neither for nor against, out of the geometric mean of how many pairs each list
    orders. None where a list orders nothing: fewer than two values, or all tied.
    """
    if len(ours) < 2:
        return None
    from scipy import stats

    tau = float(stats.kendalltau(ours, theirs).statistic)
    return None if np.isnan(tau) else tau


def swapped(ours: Sequence[float], theirs: Sequence[float]) -> list[tuple[int, int]]:
    """Pairs of places whose values stand in opposite orders; a tie is in none."""
    one, other = (
        np.sign(np.subtract.outer(values, values)) for values in (ours, theirs)
    )
    return [(int(i), int(j)) for i, j in np.argwhere(one * other < 0) if i < j]
