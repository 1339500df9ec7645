"""What `make reproduce-... PROFILE=...` runs: data sets, seeds and bounds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from harness.defaults import KNOWN_FILES


@dataclasses.dataclass(frozen=True)
class Profile:
    """What `make reproduce-... PROFILE=...` runs.

    Attributes:
        datasets: (name, split) of prepared data.
        seeds: of the runs.
        changes: of `Config`, to bound the work.
        layers: values of L in Figure 3.
        interests: values of K in Figure 4.
    """

    datasets: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    layers: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    interests: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)


PROFILES: dict[str, Profile] = {
    # Real data within 20 minutes on two cores; untuned, few epochs.
    "quick": Profile(
        datasets=(("ml-100k", "global_time"),),
        seeds=(1,),
        changes={"max_epochs": 4, "max_history": 20, "valid_instances": 1_000},
        layers=(0, 1, 3, 5),
        interests=(1, 2, 4, 8),
    ),
    "paper": Profile(
        datasets=(
            ("micro_video", "by_date"),
            ("toys", "global_time"),
            ("instruments", "global_time"),
        ),
        seeds=(1, 2, 3, 4, 5),
    ),
    # Data sets come from DATA_DIR.
    "public": Profile(datasets=(), seeds=(1, 2, 3, 4, 5)),
}


def csv_files(folder: str | None) -> dict[str, Path]:
    """The CSV files of a folder by name, for the public profile.

    Raises:
        ValueError: if there is none.
    """
    if not folder:
        raise ValueError(
            "The public profile reads CSV files: give their folder as DATA_DIR=... to "
            "make, or as --data_dir=... to this command."
        )
    paths = sorted(
        path
        for path in Path(folder).glob("*")
        if path.name.endswith((".csv", ".csv.gz"))
    )
    if not paths:
        raise ValueError(f"There is no .csv or .csv.gz file in {folder}.")
    return {path.name.split(".csv")[0]: path for path in paths}


def public_split(path: Path) -> str:
    """By date for micro-video logs, by global time with times, else leave-one-out."""
    if KNOWN_FILES.get(path.name.split(".csv")[0], {}).get("dataset") == "micro_video":
        return "by_date"
    from data import csv_file

    header = csv_file.fields(csv_file.first_line(path))
    return "global_time" if "timestamp" in header else "leave_one_out"
