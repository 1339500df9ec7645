"""A prepared data set on disk: sequences, instances of a split, statistics."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from data.store import SequenceStore
from mgnm_tf.batch import TrainEvents

PARTS = ("train", "valid", "test")
_STORE_ARRAYS = ("items", "offsets", "times", "seen_keys", "seen_first")


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """What `data.prepare` writes and everything else reads.

    Attributes:
        folder: `<data_dir>/<name>/<split>`.
        instances: int32 [n, 2] of `(user, end)`, for "train", "valid" and "test".
        meta: name, split, the split's rule, statistics, source, sha256.
    """

    folder: Path
    store: SequenceStore
    instances: dict[str, np.ndarray]
    meta: dict[str, Any]

    @property
    def name(self) -> str:
        return self.meta["name"]

    @property
    def split(self) -> str:
        return self.meta["split"]

    @property
    def num_users(self) -> int:
        """Size of the user vocabulary, the unknown user included."""
        return self.store.num_users

    @property
    def num_items(self) -> int:
        """Size of the item vocabulary, padding included."""
        return self.store.num_items

    def train_events(self) -> TrainEvents:
        """Targets and histories of the training instances, nothing later."""
        users, ends = self.instances["train"].T
        last = np.full(self.num_users, -1, dtype=np.int64)
        np.maximum.at(last, users, ends)
        owners = np.repeat(np.arange(self.num_users), np.diff(self.store.offsets))
        positions = np.arange(len(owners)) - self.store.offsets[owners]
        rows = np.flatnonzero(positions <= last[owners])
        times = self.store.times
        return TrainEvents(
            users=owners[rows].astype(np.int32),
            items=self.store.items[rows],
            times=None if times is None else times[rows],
        )

    def keys(self, vocabulary: str) -> np.ndarray:
        """The original keys of ids 1, 2, ... of "users" or "items"."""
        import pandas as pd

        return pd.read_parquet(self.folder / f"{vocabulary}.parquet")["key"].to_numpy()

    @property
    def has_times(self) -> bool:
        return self.store.times is not None


def write(
    folder: Path,
    store: SequenceStore,
    instances: dict[str, np.ndarray],
    meta: dict[str, Any],
    vocabularies: dict[str, Any],
) -> PreparedData:
    """Writes everything beside `folder`, then renames: it is there whole or not.

    `vocabularies` holds "users" and "items": the original keys of ids 1, 2, ...; made
    data have none, and their ids are their keys.
    """
    import pandas as pd

    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        digest = hashlib.sha256()
        arrays = {key: getattr(store, key) for key in _STORE_ARRAYS}
        for key, array in {**arrays, **instances}.items():
            if array is None:
                continue
            np.save(partial / f"{key}.npy", array, allow_pickle=False)
            digest.update(key.encode() + np.ascontiguousarray(array).tobytes())
        sizes = {"users": store.num_users, "items": store.num_items}
        for name, size in sizes.items():
            keys = vocabularies.get(name, np.arange(1, size).astype(str))
            pd.DataFrame({"key": keys}).to_parquet(partial / f"{name}.parquet")
        meta = {**meta, "num_items": store.num_items, "sha256": digest.hexdigest()}
        (partial / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")
        os.chmod(partial, 0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return _read(folder)


def load(data_dir: Path, name: str, split: str | None = None) -> PreparedData:
    """Opens a prepared data set, memory-mapped.

    Args:
        data_dir: where `data.prepare` wrote.
        name: the data set's name there.
        split: which split; None takes the only one prepared.

    Raises:
        ValueError: if it is not there, or `split` is None and several are.
    """
    prepared = {path.parent.name for path in (data_dir / name).glob("[!.]*/meta.json")}
    if split is None and len(prepared) > 1:
        raise ValueError(
            f"`split` must be given: {data_dir / name} holds {sorted(prepared)}."
        )
    if not prepared or (split is not None and split not in prepared):
        wanted = name if split is None else f"{name} with the split {split}"
        raise ValueError(
            f"{wanted} is not prepared in {data_dir}. "
            "Run `python -m data.prepare --dataset=...` first."
        )
    return _read(data_dir / name / (split or prepared.pop()))


def _read(folder: Path) -> PreparedData:
    meta = json.loads((folder / "meta.json").read_text())
    arrays: dict[str, Any] = {
        path.stem: np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
        for path in folder.glob("*.npy")
    }
    store = SequenceStore(
        items=arrays["items"],
        offsets=arrays["offsets"],
        times=arrays.get("times"),
        seen_keys=arrays["seen_keys"],
        seen_first=arrays["seen_first"],
        num_items=meta["num_items"],
    )
    instances = {part: arrays[part] for part in PARTS}
    return PreparedData(folder=folder, store=store, instances=instances, meta=meta)
