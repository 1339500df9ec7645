"""What `make reproduce-... PROFILE=...` runs: data sets, seeds and bounds."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from absl import logging

from data import names
from data.errors import UserError
from data.log_options import LogOptions
from experiments.reports.text import counted
from experiments.results import comparison
from harness.defaults import BEST_READING, KNOWN_FILES


@dataclasses.dataclass(frozen=True)
class Profile:
    """What `make reproduce-... PROFILE=...` runs.

    Attributes:
        datasets: (name, split) of prepared data.
        seeds: of the runs.
        changes: of `Config`, to bound the work.
        layers: values of L in Figure 3.
        interests: values of K in Figure 4.
        purpose: what its numbers may be used for, a sentence of every table.
        reads_folder: whether its data sets are the logs of a folder.
    """

    datasets: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    layers: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    interests: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    readings: tuple[str, ...] = (BEST_READING,)
    purpose: str = ""
    reads_folder: bool = False


_COMPARES = "These numbers compare the models on these data."
_SHORT = (
    "It shows that everything works. Do not rank models by it: the runs are too short."
)
_FOLDER = Profile(
    datasets=(), seeds=(1, 2, 3, 4, 5), purpose=_COMPARES, reads_folder=True
)

PROFILES: dict[str, Profile] = {
    # Real data within eight minutes on two cores, set-up included; untuned.
    "quick": Profile(
        datasets=(("ml-100k", "global_time"),),
        seeds=(1,),
        changes={
            "max_epochs": 2,
            "max_history": 8,
            "valid_instances": 500,
            "test_instances": 2_000,
        },
        layers=(0, 1, 3, 5),
        interests=(1, 2, 4, 8),
        readings=(),
        purpose=_COMPARES,
    ),
    "paper": Profile(
        datasets=(
            ("micro_video", "by_date"),
            ("toys", "as_released"),
            ("instruments", "as_released"),
        ),
        seeds=(1, 2, 3, 4, 5),
        purpose="These numbers stand beside the paper's, where the data are its own.",
    ),
    # The data of our Toys tables, from a download.
    "toys-5core": Profile(
        datasets=(("toys-5core", "leave_one_out"),), seeds=(1, 2), purpose=_COMPARES
    ),
    # Data sets come from DATA_DIR. The second is the first's old name.
    "folder": _FOLDER,
    "public": _FOLDER,
}
# As they are listed: an old name still works, but is shown to nobody.
NAMES = ("folder", "paper", "quick", "toys-5core")


# Endings of the logs of a folder, without that of the packing.
_LOGS = ("csv", "tsv", "inter", "jsonl", "parquet")
_ENDING = re.compile(rf"\.({'|'.join(_LOGS)})(\.gz|\.zip)?$", re.IGNORECASE)


def about(name: str, recipe: str, max_epochs: int | None, seeds: int) -> str:
    """What a table says of a profile: its bounds, and what its numbers are for.

    Args:
        name: of `PROFILES`.
        recipe: of the runs.
        max_epochs: instead of the profile's, if one was asked for.
        seeds: how many ran.
    """
    profile = PROFILES[name]
    # None where the configurations say it.
    epochs = max_epochs or profile.changes.get("max_epochs")
    bounds = [counted(seeds, "seed")]
    if epochs:
        bounds.insert(0, f"at most {counted(epochs, 'epoch')}")
    if "max_history" in profile.changes:
        bounds.append(f"the newest {profile.changes['max_history']} events")
    if "test_instances" in profile.changes:
        bounds.append(
            f"a sample of {profile.changes['test_instances']:,} test instances"
        )
    is_short = epochs is not None and epochs < comparison.LEAST_EPOCHS
    purpose = _SHORT if is_short else profile.purpose
    shown = "folder" if profile.reads_folder else name
    return f"Profile {shown}, recipe {recipe}: {', '.join(bounds)}. {purpose}"


def log_files(folder: str | None) -> dict[str, Path]:
    """The logs of a folder by name, for the profile `folder`; others are said.

    A log's name is that of its file without its endings, in characters that a name
    may have.

    Raises:
        UserError: if there is none, or two have one name.
    """
    if not folder:
        raise UserError(
            "The profile `folder` reads a folder of logs: give it as DATA_DIR=... to "
            "make, or as --data_dir=... to this command."
        )
    if not Path(folder).is_dir():
        raise UserError(f"There is no folder {folder}.")
    logs: dict[str, Path] = {}
    ignored = []
    for path in sorted(Path(folder).iterdir()):
        if not (path.is_file() and _ENDING.search(path.name)):
            ignored.append(path.name)
            continue
        name = names.from_file(_ENDING.sub("", path.name))
        if name in logs:
            raise UserError(
                f"{path} and {logs[name].name} would both be called {name}. Rename "
                "one of them."
            )
        logs[name] = path
    if ignored:
        logging.warning(
            "Ignored in %s, since a log ends in .%s: %s",
            folder,
            ", .".join(_LOGS),
            ", ".join(ignored),
        )
    if not logs:
        raise UserError(f"There is no log in {folder}: no .{', .'.join(_LOGS)} file.")
    return logs


def folder_split(name: str, path: Path, options: LogOptions | None = None) -> str:
    """By date for micro-video logs, else what the log allows."""
    if KNOWN_FILES.get(name, {}).get("dataset") == "micro_video":
        return "by_date"
    from data import log_file

    return log_file.split_of(path, options)
