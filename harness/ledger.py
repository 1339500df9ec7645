"""Test instances are ranked for sealed runs only, and each look at them is recorded.

A run is sealed once its configuration and its weights are settled: their hashes are
kept in `seal.json`. A look is a line of `test_looks.jsonl`, which stands beside the
run's folder and outlives it, so that a run that was deleted and made anew shows.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

from data import atomic
from data.errors import UserError

SEAL, LEDGER = "seal.json", "test_looks.jsonl"


def seal(config: Path, weights: Path) -> dict[str, str]:
    """Hashes of a run's two files, which are also written beside them.

    Args:
        config: `config.json`, with the seed and the hash of the data in it.
        weights: the chosen epoch's.
    """
    found = _hashes(config, weights)
    atomic.write_json(config.with_name(SEAL), found)
    return found


def record_look(config: Path, weights: Path, what: str, commit: str) -> None:
    """Adds a line to the ledger; to be called before the test instances are ranked.

    Args:
        config: as for `seal`.
        weights: as for `seal`.
        what: is looked at, e.g. "uni1000".
        commit: of the code that looks.

    Raises:
        UserError: if the run is not sealed, or was changed afterwards.
    """
    run_dir = config.parent
    path = run_dir / SEAL
    if not path.exists():
        raise UserError(
            f"{run_dir} is not sealed, so its test instances stay unread. Delete the "
            "folder and train again."
        )
    sealed = json.loads(path.read_text())
    if sealed != _hashes(config, weights):
        raise UserError(
            f"{run_dir}: the configuration or the weights are not those that were "
            "sealed, so its test instances stay unread. Delete the folder and train "
            "again."
        )
    now = datetime.datetime.now(datetime.timezone.utc)
    line = {
        "time": now.isoformat(timespec="seconds"),
        "run": run_dir.name,
        "what": what,
        **sealed,
        "commit": commit,
    }
    with (run_dir.parent / LEDGER).open("a") as file:
        file.write(json.dumps(line) + "\n")


def looks(folder: Path) -> list[dict[str, Any]]:
    """The lines of the ledger in a folder of runs; none if nothing was looked at."""
    path = folder / LEDGER
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def _hashes(config: Path, weights: Path) -> dict[str, str]:
    return {
        "config_sha256": hashlib.sha256(config.read_bytes()).hexdigest(),
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
