"""Which level has the highest score, and what the sum of the levels ranks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from data import atomic, locks, manifest
from data.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from data.prepared import PreparedData
    from mgnm_tf.model import MGNM
from harness.board.diagnostics import wins_by_instance

NUM_USERS = 50  # as in the paper
_SEED = 56


FOLDER, WINS, SUM = "levels", "wins.csv", "sum.json"
REMEDY = "Delete that folder and run `python -m experiments.levels` again."


def look(run_dir: Path, data_dir: Path) -> Path:
    """Writes `<run_dir>/levels/`, whole or not at all, if it is not there yet.

    `wins.csv` has the columns user, kind ("positive" or "negative"), level and wins:
    how many of a user's test items, and of their `uni1000` negatives, have their
    highest score (Eq. 15) at a level. `sum.json` holds the test metrics where the sum
    of the levels takes the maximum's place, `ranks.parquet` the ranks behind them.

    Returns:
        The folder.

    Raises:
        UserError: if there is no finished run of MGNM with levels, or its data are
            not the ones prepared.
    """
    folder = run_dir / FOLDER
    if folder.exists():
        logging.info("%s is there already.", folder)
        return folder
    from harness import passport

    passport.read(run_dir)  # Without one there is nothing to hold.
    with locks.writing(run_dir, "looked into"):
        return _look(run_dir, data_dir)


def _look(run_dir: Path, data_dir: Path) -> Path:
    from harness import ledger, provenance, rankings, reopen, run_folder

    folder = run_dir / FOLDER
    config = run_folder.read_config(run_dir)
    if config.model != "mgnm":
        raise UserError(f"{run_dir} is a run of {config.model}, which has no levels.")
    opened = reopen.open_run(run_dir, data_dir)
    model: Any = opened.model
    opened.record_look("uni1000, by level and by their sum")
    wins = count_wins(model, opened.data, config.max_history, config.candidate_seed)
    model.level_pooling = "sum"
    ranking = opened.ranker.rank(
        "test", "uni1000", group_users=True, rows=opened.test_rows("uni1000")
    )
    of_sum = {
        "level_pooling": "sum",
        "commit": provenance.commit(),
        "metrics": {"test": {"uni1000": rankings.summarise(ranking)}},
    }
    table = rankings.ranks_table(opened.data, ranking, "uni1000")
    with atomic.whole_folder(folder) as partial:
        wins.to_csv(partial / WINS, index=False)
        atomic.write_json(partial / SUM, of_sum)
        run_folder.write_ranks(partial, table)
        manifest.write(partial, FOLDER, look=ledger.last_look(run_dir))
    return folder


def count_wins(
    model: MGNM, data: PreparedData, max_history: int, candidate_seed: int
) -> pd.DataFrame:
    """Which level has the highest score, for the test items of `NUM_USERS` users.

    The users are drawn by a seed from those who have test instances; all of them if
    there are fewer. See `wins_by_instance`.
    """
    import pandas as pd

    from data.candidates import candidate_negatives
    from data.pipeline import targets
    from harness.scoring import like_lengths

    instances = data.instances["test"]
    rows = rows_of_some_users(instances[:, 0])
    negatives = candidate_negatives(data, "test", "uni1000", candidate_seed)
    counts: dict[tuple[int, str], np.ndarray] = {}
    for part in like_lengths(np.minimum(instances[rows, 1], max_history), 16):
        chosen = rows[part]
        positives = targets(data, instances[chosen])[:, None]
        candidates = np.concatenate([positives, negatives[chosen]], axis=1)
        logits = _level_logits(model, data, instances[chosen], max_history, candidates)
        for kind, wins in wins_by_instance(logits, candidates).items():
            for user, by_level in zip(instances[chosen, 0], wins):
                counts[user, kind] = counts.get((user, kind), 0) + by_level
    table = [
        {"user": user, "kind": kind, "level": level, "wins": wins}
        for (user, kind), by_level in sorted(counts.items())
        for level, wins in enumerate(by_level)
    ]
    return pd.DataFrame(table)


def rows_of_some_users(users: np.ndarray) -> np.ndarray:
    known = np.unique(users)
    rng = np.random.default_rng(_SEED)
    some = rng.choice(known, min(NUM_USERS, len(known)), replace=False)
    return np.flatnonzero(np.isin(users, some))


def _level_logits(
    model: MGNM,
    data: PreparedData,
    instances: np.ndarray,
    max_history: int,
    candidates: np.ndarray,
) -> np.ndarray:
    """The logits of each level, [B, L, C]."""
    from data.pipeline import gather_histories

    batch: dict[str, Any] = gather_histories(data, instances, max_history)
    batch["candidates"] = candidates
    return model(batch, training=False, return_levels=True).numpy()
