"""Files that a request is read from, and checks of where its answer goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from data.log_options import LogOptions

SUFFIXES = (".parquet", ".csv", ".jsonl")


def check_output(path: Path) -> None:
    """Raises UserError unless the file can be written, and its name says its kind."""
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"--output={path}: the name must end in {', '.join(SUFFIXES)}, which says "
            "what is written."
        )
    if not path.absolute().parent.is_dir():
        raise UserError(f"--output={path}: there is no folder {path.parent}.")
    if path.is_dir():
        raise UserError(f"--output={path} is a folder.")


def read_ids(path: str) -> list[str]:
    """The lines of a text file as they are, without those that hold blanks alone.

    Blanks at the ends belong to an id, as in a log.

    Raises:
        UserError: if it cannot be read, or has no line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read: {reason}.") from error
    # Not by splitlines(), which also splits where Unicode has a separator.
    ids = [line for line in text.split("\n") if line.strip()]
    if not ids:
        raise UserError(f"{path} has no line; it should have an id in each.")
    return ids


def read_histories(path: str, options: LogOptions | None = None) -> pd.DataFrame:
    """Histories of many people, from a log of any form that `data.prepare` reads.

    Args:
        path: of the log.
        options: what is said about it; its form is recognised where they say nothing.

    Raises:
        UserError: if it cannot be read, or its columns do not tell user, item and what
            comes next.
    """
    from data import log_file

    return log_file.load(Path(path), options).table
