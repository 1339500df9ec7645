"""Checksums as they are published: `sha256:<hex>`, `md5:<hex>`, `git-blob:<hex>`.

A git blob's is the SHA-1 of "blob", a blank, the size, a zero byte and the bytes:
what `git hash-object` prints, and what a commit of a repository promises.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from data.errors import UserError

_BLOCK = 1 << 20
_NAMES = {"sha256": "SHA-256", "md5": "MD5", "git-blob": "git blob id"}


def of(path: Path, kind: str) -> str:
    """The checksum of a file, in hexadecimal.

    Args:
        path: the file.
        kind: "sha256", "md5" or "git-blob".

    Raises:
        OSError: if the file cannot be read.
    """
    if kind == "git-blob":
        digest = hashlib.sha1(usedforsecurity=False)
        digest.update(b"blob %d\0" % path.stat().st_size)
    else:
        digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def matches(path: Path, checksum: str) -> bool:
    kind, _, expected = checksum.partition(":")
    return of(path, kind) == expected


def verify(path: Path, checksum: str | None, origin: str) -> None:
    """Deletes a downloaded file whose checksum is wrong.

    Args:
        path: the file.
        checksum: `<kind>:<hex>`; None checks nothing.
        origin: what the sentence calls it.

    Raises:
        UserError: if it is wrong.
    """
    if checksum is None:
        return
    kind, _, expected = checksum.partition(":")
    actual = of(path, kind)
    if actual != expected:
        path.unlink()
        raise UserError(
            f"{origin} has the {_NAMES[kind]} {actual}, not {expected}: the file was "
            "damaged or has changed. It is deleted; nothing was taken from it."
        )
