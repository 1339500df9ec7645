"""Test instances are ranked for sealed runs only, and each look at them is recorded.

A run is sealed once its configuration and its weights are settled: their hashes are
kept in `seal.json`. A look is a line of `test_looks.jsonl`, which stands beside the
run's folder and outlives it, so that a run that was deleted and made anew shows.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from data import atomic, chain, manifest
from data.errors import UserError

SEAL, LEDGER = "seal.json", "test_looks.jsonl"
# Of a seal: its run is finished when it has a manifest, not when it has a passport.
_WITH_MANIFEST = 2
_HASHES = ("config_sha256", "weights_sha256")
_KEYS = ("run", "what", *_HASHES)
_REMEDY = (
    "Bring the file back from a copy; if there is none, move it away, and say so where "
    "you publish these runs: it counts how often the test was looked at."
)


def seal(config: Path, weights: Path) -> dict[str, Any]:
    """Hashes of a run's two files, which are also written beside them.

    A seal that holds already stays, with its time: a run that was stopped while it was
    being finished is still the same one.

    Args:
        config: `config.json`, with the seed and the hash of the data in it.
        weights: the chosen epoch's.

    Raises:
        UserError: if the seal that is there is damaged.
    """
    hashes = _hashes(config, weights)
    path = config.with_name(SEAL)
    if path.exists():
        earlier = _read_seal(path)
        if {key: earlier[key] for key in _HASHES} == hashes:
            return earlier
    sealed = {**hashes, "time": _now("microseconds"), "version": _WITH_MANIFEST}
    atomic.write_json(path, sealed)
    return sealed


def promises_manifest(run_dir: Path) -> bool:
    """Whether a run in this folder is whole only with a manifest.

    Raises:
        UserError: if its seal is damaged.
    """
    path = run_dir / SEAL
    return path.exists() and _read_seal(path).get("version", 1) >= _WITH_MANIFEST


def record_look(
    config: Path, weights: Path, what: str, commit: str, once: bool = False
) -> None:
    """Adds a line to the ledger; to be called before the test instances are ranked.

    Args:
        config: the run's `config.json`, see `seal`.
        weights: the file of the chosen epoch's weights, see `seal`.
        what: the name of what is looked at, e.g. "uni1000".
        commit: the commit of the code that looks.
        once: whether a line of the same seal for the same is enough: a run that was
            stopped while it was being finished goes on, and looks at nothing new.

    Raises:
        UserError: if the run is not sealed, or was changed afterwards, or the ledger is
            damaged.
    """
    run_dir = config.parent
    path = run_dir / SEAL
    if not path.exists():
        raise UserError(
            f"{run_dir} is not sealed, so its test instances stay unread. Delete the "
            "folder and train again."
        )
    sealed = _read_seal(path)
    hashes = _hashes(config, weights)
    if {key: sealed[key] for key in _HASHES} != hashes:
        raise UserError(
            f"{run_dir}: the configuration or the weights are not those that were "
            "sealed, so its test instances stay unread. Delete the folder and train "
            "again."
        )
    same = {"run": run_dir.name, "what": what, **hashes}
    if "time" in sealed:
        same["sealed"] = sealed["time"]
    earlier = looks(run_dir.parent)
    if once and any(same.items() <= look.items() for look in earlier):
        return
    line = {"time": _now("seconds"), **same, "commit": commit}
    chain.append(run_dir.parent / LEDGER, line, _KEYS, _REMEDY)


def looks(folder: Path) -> list[dict[str, Any]]:
    """The lines of the ledger in a folder of runs; none if nothing was looked at.

    Raises:
        UserError: naming the first line that is not as it was written, or before which
            one was removed.
    """
    return chain.read(folder / LEDGER, _KEYS, _REMEDY)


def last_look(run_dir: Path) -> str:
    """The hash of the run's last line in the ledger; empty if it has none.

    Whoever keeps it can tell later, by `has_look`, that no line up to this one was
    removed.
    """
    lines = chain.read_with_hashes(run_dir.parent / LEDGER, _KEYS, _REMEDY)
    own = [sha256 for line, sha256 in lines if line["run"] == run_dir.name]
    return own[-1] if own else ""


def has_look(run_dir: Path, sha256: str) -> bool:
    """Whether a line with this hash is in the ledger."""
    lines = chain.read_with_hashes(run_dir.parent / LEDGER, _KEYS, _REMEDY)
    return sha256 in (hash_of_line for _, hash_of_line in lines)


def _read_seal(path: Path) -> dict[str, Any]:
    remedy = "Delete the run's folder and train again."
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: it is no JSON. {remedy}") from error
    if not isinstance(stored, dict) or not {*_HASHES} <= stored.keys():
        raise UserError(f"{path} is damaged: it holds no hashes. {remedy}")
    return stored


def _hashes(config: Path, weights: Path) -> dict[str, str]:
    files = zip(_HASHES, (config, weights))
    return {key: manifest.file_hash(path) for key, path in files}


def _now(precision: str) -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec=precision)
