"""Tells how sequential the histories of a prepared data set are.

Example: python -m data.sequential --dataset=shop --split=leave_one_out

A pair of different items is a frequent neighbour if the second comes right after the
first in the histories of at least five users. The items of each user are then put into
a drawn order, and the pairs are counted again. The share of frequent neighbours that
this takes away tells how much of "what comes next" lies in the order: near 0 the order
of a history says no more than the set of its items, near 1 it says all. The idea is of
Klenitskiy et al., "Does It Look Sequential?", RecSys 2024.

Of events at one time nobody knows which came first, so that a pair counts only if its
times differ, before and after; where there is an order alone, all pairs count.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from data import command_line

if TYPE_CHECKING:
    import numpy as np

    from data.store import SequenceStore

SUPPORT = 5

_DATASET = flags.DEFINE_string(
    "dataset", None, "Name of a prepared data set.", required=True
)
_SPLIT = flags.DEFINE_string("split", None, "Its split, if there are several.")
_DATA_DIR = flags.DEFINE_string("data_dir", "data/prepared", "Output of data.prepare.")
_SHUFFLES = flags.DEFINE_integer(
    "shuffles", 5, "How many orders are drawn.", lower_bound=1
)


@dataclasses.dataclass(frozen=True)
class Sequentiality:
    """Frequent neighbours in the data, and in drawn orders.

    Attributes:
        frequent: pairs of items that at least `SUPPORT` users have one after the other.
        shuffled: the mean number of such pairs in drawn orders.
    """

    frequent: int
    shuffled: float

    @property
    def lost(self) -> float | None:
        """The share that shuffling takes away; None where there is no such pair."""
        return 1.0 - self.shuffled / self.frequent if self.frequent else None


def measure(store: SequenceStore, shuffles: int = 5, seed: int = 0) -> Sequentiality:
    """Counts frequent neighbours before and after shuffling each user's items.

    Args:
        store: the sequences.
        shuffles: how many orders are drawn.
        seed: seeds the draws.
    """
    import numpy as np

    users = np.repeat(np.arange(store.num_users), np.diff(store.offsets))
    follows = users[1:] == users[:-1]
    if store.times is not None:
        follows &= store.times[1:] != store.times[:-1]
    firsts = np.flatnonzero(follows)
    items = np.asarray(store.items, np.int64)
    rng = np.random.default_rng(seed)
    counts = [
        _frequent(items[np.lexsort((rng.random(len(items)), users))], users, firsts)
        for _ in range(shuffles)
    ]
    return Sequentiality(_frequent(items, users, firsts), float(np.mean(counts)))


def _frequent(items: np.ndarray, users: np.ndarray, firsts: np.ndarray) -> int:
    import numpy as np

    first, second = items[firsts], items[firsts + 1]
    differ = first != second
    pairs = first[differ] * (int(items.max(initial=0)) + 1) + second[differ]
    _, numbers = np.unique(pairs, return_inverse=True)
    by_user = np.unique(
        numbers * (int(users.max(initial=0)) + 1) + users[firsts][differ]
    )
    owners = np.bincount(by_user // (int(users.max(initial=0)) + 1))
    return int((owners >= SUPPORT).sum())


def main() -> None:
    from data import prepared

    data = prepared.load(Path(_DATA_DIR.value), _DATASET.value, _SPLIT.value)
    neighbours = measure(data.store, _SHUFFLES.value)
    statistics = data.meta["statistics"]
    same = statistics["same_time_share"]
    lines = {
        "users": f"{statistics['users']:,}",
        "items": f"{statistics['items']:,}",
        "events": f"{statistics['interactions']:,}",
        "mean length": f"{statistics['lengths']['mean']:g}",
        "simultaneous": "no times" if same is None else f"{same:.0%}",
        "frequent neighbours": f"{neighbours.frequent:,}",
        "the same, shuffled": f"{neighbours.shuffled:,.1f}",
        "lost by shuffling": "-"
        if neighbours.lost is None
        else f"{neighbours.lost:.0%}",
    }
    text = "\n".join(f"  {name:<22}{value:>12}" for name, value in lines.items())
    row = " | ".join(lines.values())
    sys.stdout.write(f"{data.name}, {data.split}\n{text}\n| {data.name} | {row} |\n")


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. Nothing was written.")
