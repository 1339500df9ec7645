"""Prints the tables of docs/cost.md from measured rates.

The first table is made of those in docs/performance, the second by the estimate of
`--dry_run`.

Command: python docs/figures/cost.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent
STORED = DOCS / "performance"
sys.path.insert(0, str(DOCS.parent))

from experiments.reproduction import grid, plan, stages  # noqa: E402
from harness import estimate  # noqa: E402

# Events and training instances of a user, as Toys 5-core has them: 109,361 of 19,412.
EVENTS, TRAINED = 167_597 / 19_412, 109_361 / 19_412
EPOCHS = 20


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
            times = f"{estimate.spell(train)} | {estimate.spell(rank)}"
            lines.append(f"| {users:,} | {count:,} | {times} | {megabytes:,.0f} MB |")
    return lines


def paper_profile() -> list[str]:
    """The runs of one seed on Toys and Games, and their sum, as `--dry_run` has them.

    One run after the other: how long runs as long as these take two at a time was not
    measured.
    """
    nowhere = Path("nowhere")  # Nothing is prepared there, and nothing finished.
    options = grid.Options(
        "paper", None, nowhere, nowhere, nowhere, datasets=["toys"], num_seeds=1
    )
    runs = stages.table2_s_runs(options, [("toys", "as_released")])
    lines = ["| run | 30 epochs | ranking | all |", "| --- | --- | --- | --- |"]
    costs = [cost for cost in plan.costs(options, runs) if cost is not None]
    for run, cost in zip(runs, costs):
        name = run.model if run.variant == "paper" else f"{run.model}-{run.variant}"
        training = estimate.spell(cost.training) if cost.training else "–"
        lines.append(
            f"| {name} | {training} | {estimate.spell(cost.ranking)} "
            f"| {estimate.spell(cost.seconds)} |"
        )
    total = sum(cost.seconds for cost in costs)
    return [
        *lines,
        f"| **all, one after the other** | | | {estimate.spell(total)} |",
    ]


def main() -> None:
    print("\n".join([*by_size(), "", *paper_profile()]))


if __name__ == "__main__":
    main()
