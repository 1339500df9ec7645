"""Micro-video logs: the paper's own, which is private, and KuaiRand's."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from data import csv_file

# Raw KuaiRand logs (Gao et al., CIKM 2022): a click is the positive, as a rating of 1.
_KUAIRAND = {"user_id": "user", "video_id": "item", "is_click": "rating"}


def load(path: Path) -> pd.DataFrame:
    """Reads `user,item,timestamp[,rating]`, or a raw KuaiRand log.

    Returns:
        Columns user, item, timestamp and, where the file has it, rating (1 for a
        positive).

    Raises:
        ValueError: naming file and row, for what cannot be read.
    """
    header = csv_file.fields(csv_file.first_line(path))
    if "time_ms" not in header:
        table = csv_file.load(path)
        if "timestamp" not in table:
            raise ValueError(
                f"{path}: row 1 has no column `timestamp`, which a split by date needs."
            )
        return table
    missing = sorted({*_KUAIRAND} - {*header})
    if missing:
        raise ValueError(f"{path}: row 1 has no column `{missing[0]}`.")
    names = [_KUAIRAND.get(name, name) for name in header]
    table = csv_file.read(path, header=0, names=names)
    table["timestamp"] = pd.to_numeric(table.pop("time_ms")) / 1_000
    return table
