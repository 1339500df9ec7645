"""What is known of a data set before it is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.releases import Release


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """Where a data set comes from, and what it must look like once prepared.

    Attributes:
        load: raw file -> columns user, item[, rating][, timestamp|order], a
            `pandas.DataFrame`.
        is_log: the raw file is a log of any form, which flags may describe; then
            `load` takes (path, options, with_rating) and gives a `log_file.Log`.
        fetch: folder for raw files -> the raw file and its origin; None where the
            user has to supply it.
        missing: what to tell a user who did not.
        release: the authors' files that it is rebuilt from, unless a file is given.
        split: the default.
        rating_above: a positive has more than this; None keeps every row.
        shape: rows, users and items of the raw log, where they are published.
        licence: what its publishers say of its use, in short; their page decides.
        table1: users, items and interactions in the paper's Table 1, if it is there.
        note: what to know when comparing with Table 1.
    """

    load: Callable[..., Any]
    fetch: Callable[[Path], tuple[Path, str]] | None
    is_log: bool = False
    release: Release | None = None
    missing: str = "Give the file to data.prepare as --source=FILE."
    split: str = "global_time"
    rating_above: float | None = None
    shape: tuple[int, int, int] | None = None
    licence: str = ""
    table1: tuple[int, int, int] | None = None
    note: str = ""
