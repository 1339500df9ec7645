"""Files of JSON lines that are only added to: what was changed or removed shows.

Each line has the hash of itself and of the line before it. Lines of older versions have
neither; they can only stand above those that do.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from data.errors import UserError

_OWN, _BEFORE = "sha256", "previous"


def read(path: Path, keys: Collection[str], remedy: str) -> list[dict[str, Any]]:
    """The lines of a file, without their hashes; none if it does not exist.

    Args:
        path: the file's path.
        keys: keys that each line must have.
        remedy: what to do about a damaged file, a sentence.

    Raises:
        UserError: naming the first line that is not as it was written, or before which
            one was removed. Of lines without hashes only the form is checked.
    """
    return [line for line, _ in read_with_hashes(path, keys, remedy)]


def read_with_hashes(
    path: Path, keys: Collection[str], remedy: str
) -> list[tuple[dict[str, Any], str]]:
    """Does what `read` does, and gives each line with its hash."""
    lines: list[tuple[dict[str, Any], str]] = []
    before, chained = "", False
    for number, text in enumerate(_lines(path), start=1):
        try:
            line = json.loads(text)
            own = line.pop(_OWN, None)
            sha256 = _hash(line)
            whole = own == sha256 if chained or _BEFORE in line else own is None
            chained = chained or own is not None
            whole = whole and line.pop(_BEFORE, before) == before
            whole = whole and {*keys} <= line.keys()
        except (ValueError, AttributeError, TypeError, RecursionError):
            whole = False
        if not whole:
            raise UserError(
                f"{path}, line {number} is not as it was written, or a line before it "
                f"was removed. {remedy}"
            )
        lines.append((line, sha256))
        before = sha256
    return lines


def append(
    path: Path, line: dict[str, Any], keys: Collection[str], remedy: str
) -> None:
    """Adds a line, whole or not at all; the file need not exist.

    Processes that add at once wait for each other.

    Args:
        path: as for `read`.
        line: JSON values.
        keys: as for `read`.
        remedy: as for `read`.

    Raises:
        UserError: if the file is damaged.
        OSError: if the line cannot be written.
    """
    # Without a buffer: what is left in one would still be written on closing.
    with path.open("ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        earlier = read_with_hashes(path, keys, remedy)
        line = {**line, _BEFORE: earlier[-1][1] if earlier else ""}
        text = json.dumps({**line, _OWN: _hash(line)}).encode() + b"\n"
        size = os.fstat(file.fileno()).st_size
        rest = memoryview(text)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            os.truncate(path, size)
            raise


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


def _hash(line: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(line, sort_keys=True).encode()).hexdigest()
