"""Files and folders that are there whole or not at all.

Everything is written beside its place, under a hidden name, and then renamed. A killed
process leaves the hidden name behind, never half a file in the place itself.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PARTIAL, _OLD = ".partial-", ".old-"


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a path to write to, which becomes `path` when the block ends well.

    The path that is given stands in the same folder and has the same suffix. An
    existing file is replaced in one step. After an error nothing has changed.

    Example:
        with atomic.whole_file(folder / "ranks.parquet") as partial:
            table.to_parquet(partial)

    Raises:
        OSError: if the folder cannot be written.
    """
    partial = _beside(path, _PARTIAL)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Gives an empty folder to fill, which becomes `path` when the block ends well.

    An existing folder is kept until the new one stands in its place, and only then
    deleted: the caller has to know that it may be. What an earlier, killed process
    left is cleared; two at once need a lock (`data.locks`).

    Raises:
        OSError: if the parent folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _recover(path)
    partial, old = _beside(path, _PARTIAL), _beside(path, _OLD)
    try:
        partial.mkdir()
        yield partial
        if path.exists():
            os.rename(path, old)
        os.rename(partial, path)
    except BaseException:
        if old.exists() and not path.exists():
            os.rename(old, path)
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if old.exists():
        shutil.rmtree(old)


def partials(folder: Path) -> list[Path]:
    """What killed processes left in a folder: never whole, and nobody's."""
    return sorted(folder.glob(f"{_PARTIAL}????????-*"))


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes strict, indented JSON, whole or not at all.

    Raises:
        ValueError: if a number is NaN or infinite, for which JSON has no form.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _beside(path: Path, prefix: str) -> Path:
    return path.with_name(f"{prefix}{secrets.token_hex(4)}-{path.name}")


def _recover(path: Path) -> None:
    """Puts an old folder back that a killed process moved away; clears the rest."""
    suffix = f"????????-{glob.escape(path.name)}"
    for old in sorted(path.parent.glob(_OLD + suffix)):
        if path.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, path)
    for partial in path.parent.glob(_PARTIAL + suffix):
        shutil.rmtree(partial)
