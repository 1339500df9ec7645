"""Ranks the same test instances with altered histories."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from data import atomic, locks, manifest
from harness import passport

if TYPE_CHECKING:
    from data.altered_histories import Reordered
    from data.prepared import PreparedData
    from harness.rankings import Ranking
    from harness.reopen import OpenedRun

PROTOCOL = "uni1000"
FOLDER, RESULTS = "fragility", "fragility.json"
_REMEDY = "Delete that folder and run `python -m experiments.fragility` again."

STORED, REDRAWN, SHUFFLED = "stored", "redrawn", "shuffled"
ANOTHER_USER = "another_user"
DRAWS = {STORED: 1, REDRAWN: 10, SHUFFLED: 3, ANOTHER_USER: 3}
_SEED = 29  # The same draws for every model and seed.


# Data, ranking, and what else is to be kept of one draw.
Draw = tuple["PreparedData", "Ranking", dict[str, Any]]


def measure(run_dir: Path, data_dir: Path) -> Path:
    """Writes `<run_dir>/fragility/`, whole or not at all, if it is not there yet.

    `fragility.json` holds the `uni1000` test metrics of each draw of four orders:

    - stored: as training saw it; one draw.
    - redrawn: of each user's simultaneous events, drawn anew. Targets and histories
      change, and negatives with the targets; none if the data have no times.
    - shuffled: of each history's items. Targets and negatives are the stored ones.
    - another_user: a drawn test instance of another user is shown in the place of each.
      Targets and negatives are the stored ones.

    `ranks.parquet` holds the ranks behind them, by order and draw.

    Returns:
        The folder.

    Raises:
        ValueError: if there is no finished and sealed run, its data are not the ones
            prepared, or one user has all test instances.
    """
    folder = run_dir / FOLDER
    if read_results(run_dir) is not None:
        logging.info("%s is there already.", folder)
        return folder
    passport.read(run_dir)  # Without one there is nothing to hold.
    with locks.writing(run_dir, "measured"):
        return _measure(run_dir, data_dir)


def _measure(run_dir: Path, data_dir: Path) -> Path:
    import pandas as pd

    from data.altered_histories import has_simultaneous
    from harness import ledger, provenance, rankings, reopen, run_folder

    folder = run_dir / FOLDER
    opened = reopen.open_run(run_dir, data_dir)
    data = opened.data
    orders = [order for order in DRAWS if order != REDRAWN or data.has_times]
    if not data.has_times:
        logging.info("The order of simultaneous events is unknown: no times.")
    draws_by_order: dict[str, list[dict[str, Any]]] = {}
    tables = []
    for order in orders:
        count = DRAWS[order]
        opened.record_look(f"{PROTOCOL}, {order} order, draws: {count}")
        draws_by_order[order] = []
        for number, (seen, ranking, kept) in enumerate(draw(opened, order)):
            # A model that counts may know nothing of the candidates from a history
            # that has nothing to do with them: its ties then count against it.
            values = rankings.summarise(ranking, may_tie=order == ANOTHER_USER)
            draws_by_order[order].append({**kept, "metrics": values})
            table = rankings.ranks_table(seen, ranking, PROTOCOL)
            tables.append(table.assign(order=order, draw=number))
            logging.info("%s: %s order, %d of %d", run_dir, order, number + 1, count)
    instances = data.instances["test"][opened.test_rows(PROTOCOL)]
    simultaneous = None
    if data.has_times:
        simultaneous = int(has_simultaneous(data.store, instances).sum())
    results = {
        "protocol": PROTOCOL,
        "seed": _SEED,
        "commit": provenance.commit(),
        "instances": len(instances),
        "simultaneous": simultaneous,
        "orders": draws_by_order,
    }
    # In the place of one of fewer orders, if there is one.
    with atomic.whole_folder(folder) as partial:
        atomic.write_json(partial / RESULTS, results)
        run_folder.write_ranks(partial, pd.concat(tables, ignore_index=True))
        manifest.write(partial, FOLDER, look=ledger.last_look(run_dir))
    return folder


def draw(opened: OpenedRun, order: str) -> Iterator[Draw]:
    """Ranks a run's test instances in each draw of an order: a key of `DRAWS`."""
    from data.altered_histories import (
        gather_of_others,
        gather_shuffled,
        reorder_simultaneous,
    )

    gathers = {SHUFFLED: gather_shuffled, ANOTHER_USER: gather_of_others}
    data, rows = opened.data, opened.test_rows(PROTOCOL)
    for number in range(DRAWS[order]):
        kept: dict[str, Any] = {}
        seen, reader = data, opened.ranker
        if order == REDRAWN:
            seen = reorder_simultaneous(data, [_SEED, number])
            reader = reader.altered(data=seen)
            kept = compare_targets(seen, rows)
        elif order in gathers:
            gather = functools.partial(gathers[order], seed=_SEED + number)
            reader = reader.altered(gather=gather)
        yield seen, reader.rank("test", PROTOCOL, group_users=True, rows=rows), kept


def compare_targets(data: Reordered, rows: np.ndarray) -> dict[str, int]:
    """Of some test rows, how many targets are other items, and how many training's."""
    users, ends = data.instances["test"][rows].T
    first = data.store.offsets[users]
    now = data.rows[first + ends]
    items = data.stored.store.items
    trained_users, trained_ends = data.instances["train"].T
    last = np.full(data.num_users, -1)
    np.maximum.at(last, trained_users, trained_ends)
    return {
        "targets_changed": int(np.sum(items[now] != items[first + ends])),
        "targets_trained": int(np.sum(now - first <= last[users])),
    }


def read_results(run_dir: Path) -> dict[str, Any] | None:
    """What `measure` left in a run's folder.

    None if it was not called, or when it knew fewer orders.
    """
    path = run_dir / FOLDER / RESULTS
    manifest.check_folder(run_dir / FOLDER, FOLDER, _REMEDY)
    results = json.loads(path.read_text()) if path.exists() else {"orders": {}}
    lacking = DRAWS.keys() - results["orders"].keys() - {REDRAWN}
    return None if lacking else results
