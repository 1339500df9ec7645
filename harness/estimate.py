"""What a run will take, from the rates of a bench. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from data.prepared import PreparedData
from harness.config import Config

_RATES = Path(__file__).parent / "rates.json"  # by docs/figures/rates.py
# Candidates of the sampled protocols, the positive included.
_CANDIDATES = 1_001
# Of harness/ranker.py: a small catalogue is scored once for all protocols, and no more
# scores than these are computed of a large one.
_SMALL_CATALOGUE, _FULL_SCORES = 2_000, 250_000_000
# MGNM at T = 100 takes 3.0 times as long with D = 40 as with D = 16: 2.5 ** 1.2.
_SIZE_POWER = 1.2
_START_S = 8.0  # a process and its first step
# Both moments of the optimizer stand beside the weights. Counting takes more: ItemKNN's
# neighbours of 241,657 items are 194 MB, and take 1,001 while they are counted (bench).
_WEIGHT_COPIES, _COUNT_COPIES = 3, 5
_FLOAT_MB = 4e-6
# A thousand candidates of one instance, 4 bytes each. Of the two sets of the sampled
# protocols, which are mapped from the disk, about one is in memory at the peak.
_CANDIDATES_MB = 4e-3
# Histories, and the longest ones of a batch, at which memory was measured: the quick
# profile; then Toys, Sports and Instruments 5-core; then KuaiRand.
_QUICK_LONGEST, _LONGEST = 8, 100
_SHORT, _LONG = 6.0, 39.0
_RANK_MB = 12e-6  # of one instance under one protocol in ranks.parquet
# What is not benched is about as its near relative.
_LIKE = {"mgnm_plus": "mgnm"}


@dataclasses.dataclass(frozen=True)
class Size:
    """Of a data set: users, items, instances of each part, mean training history."""

    users: int
    items: int
    train: int
    valid: int
    test: int
    history: float

    @classmethod
    def of(cls, data: PreparedData) -> Size:
        """The size of prepared data; histories count up to a hundred events."""
        train = data.instances["train"][:, 1]
        return cls(
            users=data.num_users - 1,
            items=data.num_items - 1,
            train=len(train),
            valid=len(data.instances["valid"]),
            test=len(data.instances["test"]),
            history=float(np.minimum(train, 100).mean()) if len(train) else 1.0,
        )


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a run takes at most, its whole budget of epochs.

    Attributes:
        training: seconds of the machine that was benched, with the validation after
            each epoch.
        ranking: seconds, of the test instances under all protocols.
        memory_mb: resident, at the peak.
        disk_mb: of the run's folder while it trains, checkpoint included.
    """

    training: float
    ranking: float
    memory_mb: float
    disk_mb: float

    @property
    def seconds(self) -> float:
        """All of it, with the start of a process."""
        return _START_S + self.training + self.ranking


@functools.lru_cache(maxsize=1)
def _stored() -> Any:
    return json.loads(_RATES.read_text(encoding="utf-8"))


def machine() -> str:
    """On what the rates were measured."""
    return _stored()["machine"]


def of_run(config: Config, size: Size) -> Cost | None:
    """The cost of a run of this configuration on data of this size.

    None of a model that was not benched, such as a class of one's own.
    """
    length = min(size.history, config.max_history)
    width = config.arguments.get("embedding_dim", 16)
    model = _LIKE.get(config.model, config.model)
    if model not in _stored()["workloads"]["toys"]["models"]:
        return None
    size = dataclasses.replace(
        size, test=min(size.test, config.test_instances or size.test)
    )
    ranking = _microseconds(model, "ranked_per_s", length, width) / 1e6
    valid = min(size.valid, config.valid_instances or size.valid)
    training = 0.0
    learns = "positives_per_s" in _row(model, "toys")
    if learns:
        step = _microseconds(model, "positives_per_s", length, width) / 1e6
        training = config.max_epochs * (step * size.train + ranking * valid)
    weights = _weights(model, size, width) * _FLOAT_MB
    copies = _WEIGHT_COPIES if learns else 1
    memory = around_model_mb(weights, learns, size.test, valid)
    return Cost(
        training,
        ranking * _ranked(size),
        memory_mb=memory + _own_mb(model, length, config.max_history),
        disk_mb=(copies + 1) * weights + 3 * size.test * _RANK_MB,
    )


def around_model_mb(weights: float, learns: bool, test: int, valid: int) -> float:
    """Resident memory of a run beside what its model computes, in MB.

    Args:
        weights: all weights, in MB.
        learns: whether they are trained, with an optimizer's moments; else counted.
        test: test instances that are ranked.
        valid: validation instances that are ranked.
    """
    copies = _WEIGHT_COPIES if learns else _COUNT_COPIES
    return copies * weights + _CANDIDATES_MB * (test + valid)


def _own_mb(model: str, length: float, longest: int) -> float:
    """The rest, with TensorFlow itself: between what was measured of stored runs."""
    row = _stored()["memory_mb"][model]
    # Longer histories take no less, whatever else the measured data sets differ in.
    by_length = (row["short"], max(row["short"], row["long"]))
    at_length = np.interp(length, (_SHORT, _LONG), by_length)
    bounds = (row["quick"], at_length)
    return float(np.interp(longest, (_QUICK_LONGEST, _LONGEST), bounds))


def _ranked(size: Size) -> float:
    """Test instances, each against 1,001 candidates, that all protocols amount to."""
    if size.items <= _SMALL_CATALOGUE:
        return size.test * size.items / _CANDIDATES
    full = min(size.test * size.items, _FULL_SCORES) / _CANDIDATES
    return 2 * size.test + full


def _row(model: str, workload: str) -> dict[str, float]:
    return _stored()["workloads"][workload]["models"][model]


def _microseconds(model: str, rate: str, length: float, width: int) -> float:
    """A rate's time at a length and a width: a power law through its two workloads."""
    logs = []
    for name, workload in _stored()["workloads"].items():
        taken = 1e6 / _row(model, name)[rate]
        own = (workload["embedding_dim"] / 16) ** _SIZE_POWER
        logs.append((math.log(workload["history"]), math.log(taken / own)))
    (short, fast), (long, slow) = logs
    slope = max(0.0, (slow - fast) / (long - short))
    at_length = fast + slope * (math.log(max(length, 1.0)) - short)
    return math.exp(at_length) * (width / 16) ** _SIZE_POWER


def _weights(model: str, size: Size, width: int) -> float:
    """Parameters: so many rows a user and so many an item, solved from two benches."""
    rows = []
    for name, workload in _stored()["workloads"].items():
        count = _row(model, name)["parameters"] / workload["embedding_dim"]
        rows.append((workload["users"], workload["items"], count))
    (users, items, count), (more_users, more_items, more) = rows
    determinant = users * more_items - more_users * items
    a_user = max(0.0, (count * more_items - more * items) / determinant)
    an_item = max(0.0, (users * more - more_users * count) / determinant)
    return width * (a_user * size.users + an_item * size.items)


def spell(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    for size, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s"
