"""Files that a request is read from, and checks of where its answer goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

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
    """The lines of a text file, without empty ones.

    Raises:
        UserError: if it cannot be read, or has no line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise UserError(f"{path} has no line; it should have an id in each.")
    return found


def read_histories(path: str) -> pd.DataFrame:
    """Histories of many people, from CSV or Parquet: user,item[,timestamp].

    Raises:
        UserError: if it cannot be read, or a column is missing.
    """
    import pandas as pd

    from data import csv_file

    source = Path(path)
    if source.suffix == ".parquet":
        try:
            return pd.read_parquet(source)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as Parquet: {error}.") from error
    header = csv_file.fields(csv_file.first_line(source))
    missing = [name for name in csv_file.IDS if name not in header]
    if missing:
        raise UserError(
            f"{path}: row 1 has no column {', '.join(missing)}. The header must be "
            "user,item[,timestamp]."
        )
    return csv_file.read(source, header=0)
