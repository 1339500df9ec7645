"""The data sets that `--dataset` names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from data.log_file import Log
    from data.log_forms import LogOptions

_SNAP = "http://snap.stanford.edu/data/amazon/productGraph/categoryFiles/"
_IMPLIED = (
    "The paper's interactions are not checked: the sizes of its id maps and Table 4's\n"
    "iterations, of the released code's 42 positives, imply about {}."
)


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
        split: the default.
        rating_above: a positive has more than this; None keeps every row.
        table1: users, items and interactions in the paper's Table 1, if it is there.
        note: what to know when comparing with Table 1.
    """

    load: Callable[..., Any]
    fetch: Callable[[Path], tuple[Path, str]] | None
    is_log: bool = False
    missing: str = "Give the file as --source=FILE."
    split: str = "global_time"
    rating_above: float | None = None
    table1: tuple[int, int, int] | None = None
    note: str = ""


# The loaders are imported late: a command's --help shall not wait for pandas.
def _load_log(path: Path, options: LogOptions, with_rating: bool) -> Log:
    from data import log_file

    return log_file.load(path, options, with_rating)


def _load_movielens(path: Path) -> pd.DataFrame:
    from data import movielens

    return movielens.load(path)


def _fetch_movielens(raw_dir: Path) -> tuple[Path, str]:
    from data import movielens

    return movielens.fetch(raw_dir)


def _from(url: str) -> Callable[[Path], tuple[Path, str]]:
    def fetch(raw_dir: Path) -> tuple[Path, str]:
        from data.download import download

        # No checksum is published; the counts are checked against Table 1 instead.
        return download(url, raw_dir / url.rsplit("/", 1)[-1]), url

    return fetch


DATASETS: dict[str, DatasetSpec] = {
    "ml-100k": DatasetSpec(
        load=_load_movielens, fetch=_fetch_movielens, rating_above=2.0
    ),
    "instruments": DatasetSpec(
        load=_load_log,
        is_log=True,
        fetch=_from(_SNAP + "ratings_Musical_Instruments.csv"),
        rating_above=2.0,
        table1=(60_739, 56_301, 946_627),
        note=_IMPLIED.format("203,000"),
    ),
    "toys": DatasetSpec(
        load=_load_log,
        is_log=True,
        fetch=_from(_SNAP + "ratings_Toys_and_Games.csv"),
        rating_above=2.0,
        table1=(313_557, 241_657, 6_212_901),
        note=_IMPLIED.format("1.11 M"),
    ),
    "micro_video": DatasetSpec(
        load=_load_log,
        is_log=True,
        fetch=None,
        missing=(
            "The paper's Micro-video data are private to Kuaishou and are not "
            "published. If you have them, give the file as --source=FILE; a KuaiRand "
            "log loads too."
        ),
        split="by_date",
        rating_above=0.0,
        table1=(60_813, 292_286, 14_952_659),
    ),
    "csv": DatasetSpec(load=_load_log, fetch=None, is_log=True),
    # Made by `data.synthetic`: nothing to load.
    "synthetic": DatasetSpec(load=_load_log, fetch=None, is_log=True),
}
