"""The raw ids that the numbers of a run mean, in the run's own folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from data import atomic
from data.errors import UserError
from data.manifest import file_hash
from data.prepared import PreparedData
from harness import run_folder
from mgnm_tf.batch import TrainEvents

SUMMARY, USERS, ITEMS, EVENTS = (
    "vocabulary.json",
    "users.parquet",
    "items.parquet",
    "train_events.parquet",
)


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Raw ids by number, and what else of the data a run's model is asked with.

    Attributes:
        users: raw ids of users 1, 2, ..., str [N].
        items: raw ids of items 1, 2, ..., str [M].
        counts: training events of items 1, 2, ..., int64 [M].
        last_time: of the newest event of the log, seconds since the epoch; None where
            the data have no times.
        data_sha256: the SHA-256 of the prepared data that the ids belong to.
        sha256: the SHA-256 of each file of ids, by its name.
    """

    users: np.ndarray
    items: np.ndarray
    counts: np.ndarray
    last_time: int | None
    data_sha256: str
    sha256: dict[str, str]

    @property
    def num_users(self) -> int:
        """Size of the user vocabulary, the unknown user included."""
        return len(self.users) + 1

    @property
    def num_items(self) -> int:
        """Size of the item vocabulary, padding included."""
        return len(self.items) + 1

    @property
    def has_times(self) -> bool:
        return self.last_time is not None


def write(run_dir: Path, data: PreparedData, with_events: bool = False) -> None:
    """Writes raw ids, training counts and hashes; the summary comes last.

    Args:
        run_dir: the folder of the run that gets the files.
        data: the prepared data that the run was trained on.
        with_events: also writes the training events, for a model whose `adapt` makes
            what is not among its weights.
    """
    events = data.train_events()
    counts = np.bincount(events.items, minlength=data.num_items)[1:]
    tables = {
        USERS: pd.DataFrame({"user": data.keys("users").astype(str)}),
        ITEMS: pd.DataFrame(
            {"item": data.keys("items").astype(str), "train_events": counts}
        ),
    }
    if with_events:
        tables[EVENTS] = pd.DataFrame(
            {"user": events.users, "item": events.items, "time": events.times}
        )
    times = data.store.times
    for name, table in tables.items():
        with atomic.whole_file(run_dir / name) as partial:
            table.to_parquet(partial, index=False)
    summary = {
        "users": data.num_users - 1,
        "items": data.num_items - 1,
        "last_time": None if times is None else int(times.max()),
        "data_sha256": data.meta["sha256"],
        "sha256": {name: file_hash(run_dir / name) for name in tables},
    }
    atomic.write_json(run_dir / SUMMARY, summary)


def read(run_dir: Path) -> Vocabulary:
    """The vocabulary of a run.

    Raises:
        UserError: if there is none, or its files are not those that were written.
    """
    path = run_dir / SUMMARY
    if not path.exists():
        raise UserError(
            f"{run_dir} has no {SUMMARY}: the run is from before runs kept their raw "
            "ids. Give the prepared data that it was trained on (--data_dir=...)."
        )
    summary = run_folder.read_json(path)
    missing = sorted(
        {"users", "items", "last_time", "data_sha256", "sha256"} - {*summary}
    )
    if missing:
        raise UserError(f"{path} is damaged: it lacks {', '.join(missing)}.")
    for name, expected in summary["sha256"].items():
        check_hash(run_dir / name, expected)
    items = pd.read_parquet(run_dir / ITEMS)
    users = pd.read_parquet(run_dir / USERS)
    for listed, name in ((users, "users"), (items, "items")):
        if len(listed) != summary[name]:
            raise UserError(
                f"{run_dir}: {len(listed)} {name} are listed, and {SUMMARY} says "
                f"{summary[name]}. Copy the run's folder again."
            )
    return Vocabulary(
        users=users["user"].to_numpy(),
        items=items["item"].to_numpy(),
        counts=items["train_events"].to_numpy(),
        last_time=summary["last_time"],
        data_sha256=summary["data_sha256"],
        sha256=summary["sha256"],
    )


def read_events(run_dir: Path) -> TrainEvents:
    """Training events as `SequentialRecommender.adapt` takes them.

    Raises:
        UserError: if the run has not kept them.
    """
    path = run_dir / EVENTS
    if not path.exists():
        raise UserError(
            f"{run_dir} has no {EVENTS}, from which this model makes its graph. Give "
            "the prepared data that it was trained on (--data_dir=...)."
        )
    table = pd.read_parquet(path)
    return TrainEvents(*(table[name].to_numpy() for name in ("user", "item", "time")))


def check_hash(path: Path, expected: str) -> None:
    """Raises UserError unless a file is there and has this SHA-256."""
    if not path.exists():
        raise UserError(f"{path} is missing. Copy the folder again.")
    if file_hash(path) != expected:
        raise UserError(
            f"{path} is not the file that was written: its SHA-256 differs. Copy the "
            "folder again."
        )
