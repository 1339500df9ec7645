from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from experiments.results import comparison, significance


def bootstrap(ours, theirs, users, resamples):
    differences = np.subtract(ours, theirs)[:, None]
    return significance.paired_bootstraps(differences, users, resamples=resamples)[0]


def test_mean_and_deviation_by_hand():
    assert significance.mean_and_sd([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert significance.mean_and_sd([4.0]) == (4.0, None)


def test_t_test_is_the_paired_one_of_scipy():
    ours, theirs = [0.31, 0.33, 0.30, 0.35], [0.30, 0.31, 0.30, 0.31]
    expected = stats.ttest_rel(ours, theirs).pvalue
    assert significance.paired_t_test(ours, theirs) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [([1.0], [2.0], 1.0), ([1.0, 2.0], [1.0, 2.0], 1.0), ([3.0, 4.0], [1.0, 2.0], 0.0)],
)
def test_t_test_of_degenerate_pairs(ours, theirs, expected):
    assert significance.paired_t_test(ours, theirs) == expected


def test_bootstrap_finds_a_clear_difference_and_its_interval():
    rng = np.random.default_rng(0)
    theirs = rng.normal(size=500)
    ours = theirs + rng.normal(0.2, 0.5, 500)
    found = bootstrap(ours, theirs, np.arange(500), 2_000)
    assert found.p_value < 0.01
    assert found.low < np.mean(ours - theirs) == pytest.approx(found.mean)
    # Of independent users it is the usual interval of a mean.
    half = 1.96 * np.std(ours - theirs) / np.sqrt(500)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_bootstrap_finds_nothing_where_there_is_nothing():
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(size=(2, 400))
    found = bootstrap(ours, theirs, np.arange(400), 2_000)
    assert found.p_value > 0.05
    same = bootstrap(ours, ours, np.arange(400), 200)
    assert same.p_value == 1.0


def test_bootstrap_resamples_users_not_instances():
    rng = np.random.default_rng(2)
    users = np.repeat(np.arange(50), 20)
    ours = rng.normal(size=50)[users]  # A user's instances are all alike.
    zero = np.zeros(1_000)
    by_user = bootstrap(ours, zero, users, 2_000)
    by_instance = bootstrap(ours, zero, np.arange(1_000), 2_000)
    assert by_user.high - by_user.low > 3 * (by_instance.high - by_instance.low)


def test_holm_by_hand():
    found = significance.holm([0.01, 0.04, 0.03, 0.005])
    assert found == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert significance.holm([0.9, 0.8]) == [1.0, 1.0]
    assert significance.holm([]) == []


def test_several_bootstraps_at_once_are_what_each_is_alone():
    rng = np.random.default_rng(3)
    differences, users = rng.normal(0.1, 1.0, (60, 3)), np.arange(60) // 3
    together = significance.paired_bootstraps(differences, users, resamples=400)
    alone = [bootstrap(column, np.zeros(60), users, 400) for column in differences.T]
    for one, other in zip(together, alone):
        assert dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(other))
    assert len({one.p_value for one in together}) == 3


def test_the_bootstrap_compares_weighted_means():
    rng = np.random.default_rng(4)
    differences, users = rng.normal(0.1, 1.0, (60, 2)), np.arange(60) // 3
    counts = rng.integers(1, 4, (60, 2))
    found = significance.paired_bootstraps(differences, users, counts, resamples=400)
    for column, count, one in zip(differences.T, counts.T, found):
        assert one.mean == pytest.approx(np.average(column, weights=count))
        # A weight of two is the same as a row that stands there twice.
        rows = np.repeat(column, count)
        again = bootstrap(rows, np.zeros(len(rows)), np.repeat(users, count), 400)
        assert dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(again))


def test_users_are_compared_by_the_gauc_that_is_printed():
    # One model is better on the long lists, the other as much on as many short ones.
    size = np.tile([1_001, 101], 50)
    gain = np.tile([0.1, -0.1], 50)
    better = {"user": np.arange(100), "size": size, "gauc": gain, "hit@5": gain}
    worse = {**better, "gauc": np.zeros(100), "hit@5": np.zeros(100)}
    pairs = [(better, worse, "gauc"), (better, worse, "hit@5")]
    by_size, by_instance = comparison.user_p_values(pairs)
    assert by_size < 0.01
    assert by_instance > 0.5


def test_rounding_is_no_difference():
    third = np.full(40, 0.1)
    sums = (third + third + third) / 3
    assert (sums != third).all()
    assert bootstrap(sums, third, np.arange(40), 200).p_value == 1.0


def test_a_resampled_mean_of_zero_is_to_both_sides():
    # 0.1 + 0.2 - 0.3 is 5.6e-17, ten times as much is 0: the same p-value.
    decimal = np.array([0.1, 0.2, -0.3])
    whole = np.array([1.0, 2.0, -3.0])
    found, expected = (
        bootstrap(values, np.zeros(3), np.arange(3), 400).p_value
        for values in (decimal, whole)
    )
    assert found == expected


def test_tau_by_hand():
    # Of the six pairs of four, one is swapped: (5 - 1) / 6.
    assert significance.kendall_tau([4, 3, 2, 1], [4, 2, 3, 1]) == pytest.approx(4 / 6)
    assert significance.swapped([4, 3, 2, 1], [4, 2, 3, 1]) == [(1, 2)]
    assert significance.kendall_tau([1, 2, 3], [30, 20, 10]) == pytest.approx(-1.0)


def test_a_tie_counts_neither_for_nor_against():
    # Pairs: one agrees, one is tied on the left, one is swapped.
    assert significance.kendall_tau([1, 1, 2], [1, 3, 2]) == pytest.approx(0.0)
    # Two agree, one is tied on the left: 2 / sqrt(2 x 3).
    found = significance.kendall_tau([1, 1, 2], [1, 2, 3])
    assert found == pytest.approx(2 / np.sqrt(6))
    assert significance.swapped([1, 1, 2], [1, 3, 2]) == [(1, 2)]


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0]])
def test_where_nothing_is_ordered_there_is_no_tau(values):
    assert significance.kendall_tau(values, values) is None
