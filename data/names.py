"""Names that become parts of paths."""

from __future__ import annotations

import re

from data.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def check(name: str, flag: str) -> str:
    """Returns a name that can be a part of a path, of a table and of a page.

    Every flag whose value becomes a folder's name comes through here.

    Raises:
        UserError: if it has other characters than letters, digits, `.`, `_` and `-`,
            or is `.` or `..`.
    """
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise UserError(
            f"{flag} takes a name of letters, digits, `.`, `_` and `-`, which becomes "
            f"a folder's name. Received: {name!r}"
        )
    return name


def from_file(stem: str) -> str:
    """A name made of a file's: each stretch of other characters becomes one `-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "log"
