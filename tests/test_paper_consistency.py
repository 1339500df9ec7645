"""What the printed tables say about each other, against rankings made by hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from experiments.results import paper
from experiments.studies import consistency
from harness import metrics

DOCUMENT = Path(__file__).parent.parent / "docs/REPRODUCTION.md"


def measured(ranks, negatives=1_000):
    """A row of Table 2 as this project's own metrics have it, printed digits only."""
    found = np.asarray(ranks)
    ranks = metrics.Ranks(found, found, np.full(len(found), negatives))
    values = metrics.instance_metrics(ranks)
    return tuple(round(values[name], 4) for name in metrics.METRICS)


@pytest.mark.parametrize("seed", range(5))
def test_the_metrics_of_every_ranking_are_attainable(seed):
    rng = np.random.default_rng(seed)
    assert consistency.is_attainable(measured(rng.integers(0, 12, 700)))


def test_hit_1_and_mrr_0_6_bound_the_ndcg_by_hand():
    low, high = consistency.attainable((0.9, 0.6935, 1.0, 0.6), "ndcg@5")
    # At least: one half of the positives first, the other fifth.
    assert low == pytest.approx((1 + 1 / np.log2(6)) / 2, abs=2e-4)
    # At most: a fifth of them first, the others second.
    assert high == pytest.approx(0.2 + 0.8 / np.log2(3), abs=2e-4)


def test_an_ndcg_that_no_ranking_has_is_found():
    assert consistency.is_attainable((0.9, 0.6935, 1.0, 0.6))
    assert not consistency.is_attainable((0.9, 0.6925, 1.0, 0.6))
    assert not consistency.is_attainable((0.9, 0.7060, 1.0, 0.6))


def test_no_ranking_has_an_mrr_above_its_hit():
    assert consistency.attainable((0.9, 0.3, 0.2, 0.3), "ndcg@5") is None


def test_the_rows_outside_are_these_five():
    outside = [
        (dataset, name)
        for dataset, rows in paper.TABLE2.items()
        for name, row in rows.items()
        if not consistency.is_attainable(row)
    ]
    assert outside == [
        ("toys", "tgsrec"),
        ("toys", "mind"),
        ("instruments", "mimn"),
        ("instruments", "mind"),
        ("instruments", "mgnm"),
    ]
    assert all(map(consistency.is_attainable, paper.TABLE3.values()))


def test_a_five_core_by_hand():
    # Two users and three items take at most 20 of 21 interactions with them.
    assert consistency.least_five_core(21, users=2, items=3) == 1
    assert consistency.least_five_core(19, users=2, items=3) == 0


def test_the_columns_of_mgnm_and_the_best_of_the_others():
    assert consistency.best_baseline("toys", "ndcg@5") == ("tgsrec", 0.1410)
    led = consistency.led()
    assert len(led) == 10
    assert ("instruments", "gauc") not in led
    assert ("instruments", "ndcg@5") not in led


def test_the_document_holds_what_the_command_prints():
    def compact(text):
        return re.sub(r"\s+", " ", text)

    for part in consistency.to_markdown().strip().split("\n\n"):
        assert compact(part) in compact(DOCUMENT.read_text())
