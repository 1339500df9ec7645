"""What a finished run's files are, written last of all: the run is whole by it.

Without it a run is unfinished, and the same command finishes it. Runs from before
there was a manifest count as finished, and whether their files are as they were written
cannot be told. Which of the two a run is, its seal says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from data import atomic, manifest
from harness import ledger, run_folder

KIND = "run"
# Not `manifest.json`, which a bundle has.
MANIFEST = "run_manifest.json"
# In the order in which a damaged one is named.
FILES = (
    run_folder.CONFIG,
    ledger.SEAL,
    run_folder.WEIGHTS,
    run_folder.RANKS,
    run_folder.PASSPORT,
    *("vocabulary.json", "users.parquet", "items.parquet", "train_events.parquet"),
)
# What tables and figures are made from.
OF_REPORTS = (run_folder.CONFIG, ledger.SEAL, run_folder.RANKS, run_folder.PASSPORT)
_BEFORE = "before"


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a finished run, of this version or an older one.

    Raises:
        UserError: if its seal is damaged.
    """
    if (folder / MANIFEST).exists():
        return True
    if (folder / manifest.MANIFEST).exists():  # A bundle, which has one of its own.
        return (folder / run_folder.PASSPORT).exists()
    if not (folder / run_folder.PASSPORT).exists():
        return False
    return not ledger.promises_manifest(folder)


def folders(runs_dir: Path, pattern: str) -> list[Path]:
    """The folders that match a pattern and hold a run that is, or was, finished."""
    marks = (run_folder.PASSPORT, MANIFEST)
    marked = (
        path.parent for mark in marks for path in runs_dir.glob(f"{pattern}/{mark}")
    )
    return sorted({*marked})


def can_check(folder: Path) -> bool:
    """Whether a finished run says what its files have to be."""
    return (folder / MANIFEST).exists()


def write(folder: Path) -> None:
    """Describes the files of a run that are there; the last step of finishing it."""
    there = [name for name in FILES if (folder / name).exists()]
    files = {name: manifest.describe(folder / name) for name in there}
    _write(folder, files)


def _write(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    look = ledger.last_look(folder)
    manifest.write_files(folder, KIND, files, MANIFEST, look=look)


def lacks_look(folder: Path) -> bool:
    """Whether the ledger lacks a line that was there when the manifest was written.

    False for runs of older versions, which do not say.

    Raises:
        UserError: if the manifest or the ledger is damaged.
    """
    if not can_check(folder):
        return False
    look = manifest.read_all(folder, KIND, MANIFEST).get("look", "")
    return bool(look) and not ledger.has_look(folder, look)


def check(folder: Path, names: Sequence[str] = FILES) -> None:
    """Compares a finished run's files with what was written.

    Args:
        folder: the run's folder.
        names: names of the files that are going to be read.

    Raises:
        UserError: naming the first file that is missing or another, and what to do.
    """
    remedy = (
        "Bring that file back from a copy, or delete the run's folder and train again."
    )
    if not can_check(folder):
        if not (folder / manifest.MANIFEST).exists():  # A bundle checks itself.
            logging.info(
                "%s is of an older version: whether its files are as they were "
                "written cannot be told.",
                folder,
            )
        return
    described = manifest.read(folder, KIND, MANIFEST)
    for name in names:
        if name not in described:
            continue
        wanted = dict(described[name])
        earlier = wanted.pop(_BEFORE, None)
        path = folder / name
        if earlier and path.is_file() and manifest.describe(path) == earlier:
            continue
        manifest.check(folder, {name: wanted}, remedy, verify=True)


@contextlib.contextmanager
def replacing(folder: Path, names: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Gives paths to write to, which become the run's files when the block ends well.

    A process that is killed in between leaves each file as it was or as it will be:
    the manifest knows both until all are in their places.

    Args:
        folder: the folder of a finished run.
        names: names of the files to replace.

    Raises:
        UserError: if one of them is damaged.
    """
    check(folder, names)
    known = manifest.read(folder, KIND, MANIFEST) if can_check(folder) else None
    changed: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:
        partials = {
            name: stack.enter_context(atomic.whole_file(folder / name))
            for name in names
        }
        yield partials
        if known is not None:
            for name, partial in partials.items():
                before = manifest.describe(folder / name)
                changed[name] = {**manifest.describe(partial), _BEFORE: before}
            _write(folder, {**known, **changed})
    if known is not None:  # Not described anew: they might be damaged by now.
        for described in changed.values():
            del described[_BEFORE]
        _write(folder, {**known, **changed})
