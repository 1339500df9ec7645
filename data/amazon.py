"""Amazon 2014 ratings (He & McAuley, WWW 2016; McAuley et al., SIGIR 2015)."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import pandas as pd

from data import csv_file

_COLUMNS = ["user", "item", "rating", "timestamp"]
_REVIEW_KEYS = ["reviewerID", "asin", "overall", "unixReviewTime"]


def load(path: Path) -> pd.DataFrame:
    """Reads any of the forms in which these ratings are passed on.

    They are the category files (`ratings_*.csv`, no header), the review files
    (`reviews_*.json.gz`, a JSON object a line) and a CSV file with a header; the first
    line tells which.

    Returns:
        Columns user, item, rating, timestamp.

    Raises:
        ValueError: naming file and row, for what cannot be read.
    """
    line = csv_file.first_line(path)
    if line.startswith("{"):
        return csv_file.checked(path, _read_reviews(path), first_row=1)
    fields = csv_file.fields(line)
    if "user" in fields:
        return csv_file.load(path)
    if len(fields) != len(_COLUMNS):
        raise ValueError(
            f"{path}: row 1 has {len(fields)} fields. Ratings without a header have "
            "four: user,item,rating,timestamp."
        )
    return csv_file.read(path, header=None, names=_COLUMNS)


def _read_reviews(path: Path) -> pd.DataFrame:
    opened = gzip.open if path.name.endswith(".gz") else open
    rows = []
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                rows.append(_read_review(path, number, line))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{path} is not a whole gzip file ({error}). Fetch it again."
        ) from error
    return pd.DataFrame(rows, columns=_COLUMNS)


def _read_review(path: Path, number: int, line: str) -> list[object]:
    try:
        review = json.loads(line)
        return [review[key] for key in _REVIEW_KEYS]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: row {number} is not JSON: {error}.") from error
    except KeyError as error:
        raise ValueError(f"{path}: row {number} has no {error}.") from error
