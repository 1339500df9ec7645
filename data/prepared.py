"""A prepared data set on disk: sequences, instances of a split, statistics."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from data import atomic, manifest, names, sentences
from data.errors import UserError
from data.store import SequenceStore
from mgnm_tf.batch import TrainEvents

PARTS = ("train", "valid", "test")
KIND = "prepared data"
# Drawn from a data set and kept beside it, see `data.candidates`.
_DRAWN = re.compile(r"candidates-.*\.(npy|json)|\.(partial|old)-.*candidates-.*")
_STORE_ARRAYS = ("items", "offsets", "times", "seen_keys", "seen_first")


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """What `data.prepare` writes and everything else reads.

    Attributes:
        folder: `<data_dir>/<name>/<split>`.
        instances: int32 [n, 2] of `(user, end)`, for "train", "valid" and "test".
        meta: name, split, the split's rule, statistics, source, sha256, and what was
            read and dropped (`log`).
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
        owners, rows = self.store.events_up_to(self.instances["train"])
        times = self.store.times
        return TrainEvents(
            users=owners.astype(np.int32),
            items=self.store.items[rows],
            times=None if times is None else times[rows],
        )

    def keys(self, vocabulary: str) -> np.ndarray:
        """The original keys of ids 1, 2, ... of "users" or "items"."""
        import pandas as pd

        return pd.read_parquet(self.folder / f"{vocabulary}.parquet")["key"].to_numpy()

    @property
    def keeps_past(self) -> bool:
        """Whether a user's past stays among the candidates and the negatives."""
        return bool(self.meta.get("keeps_past", False))

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

    What stood there before is replaced if it was prepared data, see `check_replace`.
    Two at once need a lock (`data.locks`).

    Args:
        folder: `<data_dir>/<name>/<split>`.
        store: the sequences.
        instances: as in `PreparedData`.
        meta: as in `PreparedData`, without the sha256.
        vocabularies: "users" and "items", the original keys of ids 1, 2, ...; made
            data have none, and their ids are their keys.

    Raises:
        UserError: if the folder holds something else.
    """
    import pandas as pd

    check_replace(folder)
    with atomic.whole_folder(folder) as partial:
        arrays = {key: getattr(store, key) for key in _STORE_ARRAYS} | instances
        for key, array in arrays.items():
            if array is not None:
                np.save(partial / f"{key}.npy", array, allow_pickle=False)
        sizes = {"users": store.num_users, "items": store.num_items}
        for name, size in sizes.items():
            keys = vocabularies.get(name, np.arange(1, size).astype(str))
            pd.DataFrame({"key": keys}).to_parquet(partial / f"{name}.parquet")
        meta = {
            **meta,
            "num_items": store.num_items,
            "sha256": _digest(arrays, meta),
        }
        atomic.write_json(partial / "meta.json", meta)
        manifest.write(partial, KIND)
    return _read(folder, verify=False)


def check_replace(folder: Path) -> None:
    """Refuses a folder that holds anything but prepared data and what is drawn of them.

    Raises:
        UserError: naming what is not ours.
    """
    if not (folder.exists() or folder.is_symlink()):
        return
    stays = "It stays as it is: move it away, or choose another folder, name or split"
    if folder.is_symlink() or not folder.is_dir():
        raise UserError(f"{folder} is a {_what(folder)}, not a folder. {stays}.")
    names = {path.name for path in folder.iterdir()}
    if not names:
        return
    if manifest.MANIFEST in names:
        known = {manifest.MANIFEST, *manifest.read(folder, KIND)}
    elif "meta.json" in names and _is_of_older_version(folder):
        known = {"meta.json", *(f"{key}.npy" for key in (*_STORE_ARRAYS, *PARTS))}
        known |= {"users.parquet", "items.parquet"}
    else:
        known = set()
    others = sorted(name for name in names - known if not _DRAWN.fullmatch(name))
    if others:
        raise UserError(
            f"{folder} holds what `data.prepare` did not write: "
            f"{sentences.few(others)}. {stays}, or move that away."
        )


def load(
    data_dir: Path, name: str, split: str | None = None, verify: bool = False
) -> PreparedData:
    """Opens a prepared data set, memory-mapped.

    Size, type, shape and bounds of every array are checked at every start, hashes once
    a machine (`data.manifest`).

    Args:
        data_dir: where `data.prepare` wrote.
        name: the data set's name there.
        split: which split; None takes the only one prepared.
        verify: check the hashes again.

    Raises:
        UserError: if it is not there or damaged, or `split` is None and several are.
    """
    names.check(name, "--dataset")
    prepared = {
        path.parent.name
        for mark in ("meta.json", manifest.MANIFEST)  # One may be lost.
        for path in (data_dir / name).glob(f"[!.]*/{mark}")
    }
    if split is None and len(prepared) > 1:
        raise UserError(
            f"`split` must be given: {data_dir / name} holds {sorted(prepared)}."
        )
    if not prepared or (split is not None and split not in prepared):
        wanted = name if split is None else f"{name} with the split {split}"
        raise UserError(
            f"{wanted} is not prepared in {data_dir}. "
            "Run `python -m data.prepare --dataset=...` first."
        )
    return _read(data_dir / name / (split or prepared.pop()), verify)


def _read(folder: Path, verify: bool) -> PreparedData:
    remedy = "Run `python -m data.prepare` again, with the flags that it had."
    older = not (folder / manifest.MANIFEST).exists()
    if not older:
        manifest.check(folder, manifest.read(folder, KIND), remedy, verify)
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        arrays: dict[str, Any] = {
            key: np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
            for key in (*_STORE_ARRAYS, *PARTS)
            if (path := folder / f"{key}.npy").exists() or key != "times"
        }
        if older and _digest(arrays, meta) != meta["sha256"]:
            raise UserError(f"{folder} is damaged: its hash is another. {remedy}")
        store = SequenceStore(
            items=arrays["items"],
            offsets=arrays["offsets"],
            times=arrays.get("times"),
            seen_keys=arrays["seen_keys"],
            seen_first=arrays["seen_first"],
            num_items=meta["num_items"],
        )
    except UserError:
        raise
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
    ) as error:
        raise UserError(
            f"{folder} holds no whole prepared data ({error}). {remedy}"
        ) from error
    instances = {part: arrays[part] for part in PARTS}
    problem = _out_of_bounds(store, instances)
    if problem:
        raise UserError(f"{folder} is damaged: {problem}. {remedy}")
    return PreparedData(folder=folder, store=store, instances=instances, meta=meta)


def _digest(arrays: dict[str, Any], meta: dict[str, Any]) -> str:
    """The hash by which a data set is known: of what it holds, not of its name."""
    digest = hashlib.sha256()
    if meta.get("keeps_past"):  # Its candidates are others.
        digest.update(b"keeps_past")
    for key, array in arrays.items():
        if array is not None:
            digest.update(key.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _is_of_older_version(folder: Path) -> bool:
    """Whether a folder without a manifest holds prepared data, which its hash tells."""
    try:
        _read(folder, verify=False)
    except UserError:
        return False
    return True


def _out_of_bounds(store: SequenceStore, instances: dict[str, np.ndarray]) -> str:
    """What points beyond its array, in words; nothing if all is well."""
    types = {"items": np.int32, "offsets": np.int64, "seen_keys": np.int64}
    types |= {"seen_first": np.int32}
    for name, kind in types.items():
        array = getattr(store, name)
        if array.dtype != kind or array.ndim != 1 or not len(array):
            return f"`{name}` is of {array.dtype} {list(array.shape)}"
    offsets, events = store.offsets, len(store.items)
    lengths = np.diff(offsets)
    if offsets[0] != 0 or offsets[-1] != events or (lengths < 0).any():
        return "`offsets` does not divide the events among the users"
    if store.items.min() < 1 or store.items.max() >= store.num_items:
        return f"`items` has ids that are not 1 to {store.num_items - 1}"
    if store.times is not None and len(store.times) != events:
        return f"`times` has {len(store.times)} of {events} events"
    keys = store.seen_keys
    if len(keys) != len(store.seen_first) or (np.diff(keys) <= 0).any():
        return "`seen_keys` is not in order"
    if keys[0] < 0 or keys[-1] >= store.num_users * store.num_items:
        return "`seen_keys` has ids beyond the vocabularies"
    for part, rows in instances.items():
        if rows.dtype != np.int32 or rows.ndim != 2 or rows.shape[1:] != (2,):
            return f"`{part}` is of {rows.dtype} {list(rows.shape)}"
        users, ends = rows.T
        if len(rows) and (users.min() < 1 or users.max() >= store.num_users):
            return f"`{part}` has users that are not 1 to {store.num_users - 1}"
        if (ends < 1).any() or (ends >= lengths[users]).any():
            return f"`{part}` asks for events that its users do not have"
    return ""


def _what(path: Path) -> str:
    return "link" if path.is_symlink() else "file"
