"""Prints the tables of docs/cost.md from the measured rates in docs/performance.

Command: python docs/figures/cost.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

STORED = Path(__file__).parent.parent / "performance"
# Events and training instances of a user, as Toys 5-core has them: 109,361 of 19,412.
EVENTS, TRAINED = 167_597 / 19_412, 109_361 / 19_412
EPOCHS = 20
# Toys and Games by Table 4: 13,202 iterations of 42 positives are 70% of all instances.
PAPER_INSTANCES = 13_202 * 42
PAPER_TESTS = round(PAPER_INSTANCES / 0.7 * 0.2)
# The most scores of a full ranking, harness/ranker.py.
FULL_SCORES = 250_000_000


def spell(seconds: float) -> str:
    """Seconds in the unit that suits them, two digits."""
    for size, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s"


def stored(name: str) -> Any:
    return json.loads((STORED / f"{name}.json").read_text())


def by_size() -> list[str]:
    scaling = stored("scaling")
    mgnm = stored("bench")["workloads"]["toys"]["models"]["mgnm"]
    items = {row["num_items"]: row["us_per_positive"] for row in scaling["items"]}
    # Scores a second of a whole catalogue of 241,657 items.
    scores = mgnm["full_per_s"] * 241_657
    lines = ["| users | items | training | ranking all users | memory of weights |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    for users in (10_000, 100_000, 1_000_000):
        for count, near in (
            (10_000, 10_000),
            (300_000, 1_000_000),
            (1_000_000, 1_000_000),
        ):
            train = users * TRAINED * EPOCHS * items[near] / 1e6
            rank = users * count / scores
            megabytes = 3 * 4 * 16 * (users + count) / 1e6
            lines.append(
                f"| {users:,} | {count:,} | {spell(train)} | {spell(rank)} "
                f"| {megabytes:,.0f} MB |"
            )
    return lines


def paper_profile() -> list[str]:
    models = stored("bench")["workloads"]["toys"]["models"]
    full = FULL_SCORES / 241_657
    lines = ["| model | 30 epochs | ranking, uni1000 and pop1000 | full, a sample |"]
    lines += ["| --- | --- | --- | --- |"]
    total = 0.0
    for name, row in models.items():
        if name.startswith("mgnm_"):
            continue
        rate = row.get("positives_per_s")
        train = 30 * PAPER_INSTANCES / rate if rate else 0.0
        rank = 2 * PAPER_TESTS / row["ranked_per_s"]
        whole = full / row["full_per_s"] if row.get("full_per_s") else None
        total += train + rank + (whole or 0.0)
        lines.append(
            f"| {name} | {spell(train) if rate else '–'} | {spell(rank)} "
            f"| {spell(whole) if whole else 'not measured'} |"
        )
    return [*lines, f"| **all, one seed** | {spell(total)} together | | |"]


def main() -> None:
    print("\n".join([*by_size(), "", *paper_profile()]))


if __name__ == "__main__":
    main()
