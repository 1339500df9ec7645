"""Look-alikes of the authors' three files, and the release that knows them."""

from __future__ import annotations

import dataclasses
import pickle
import zipfile

from data import checksums
from data.releases import TOYS

# Items and times of five users; the records are made from these.
SEQUENCES = {
    1: ([1, 2, 3, 4], [10, 20, 30, 90]),
    2: ([5, 1], [15, 15]),
    3: ([2, 2, 6, 1, 3], [1, 2, 40, 40, 95]),
    4: ([4, 6], [70, 80]),
    5: ([3, 1, 2], [50, 60, 99]),
}
USERS = {f"A{number:013d}": number for number in SEQUENCES}
ITEMS = {f"B{number:09d}": number for number in range(1, 7)}


def records_of(sequences=SEQUENCES, kind=tuple):
    records = [
        kind([user, items[:end], items[end], "1", times[end]])
        for user, (items, times) in sequences.items()
        for end in range(1, len(items))
    ]
    return sorted(records, key=lambda record: record[4])


def release_of(folder, records=None, users=USERS, items=ITEMS, protocol=3, pack=False):
    """Writes look-alikes of the three files; the `Release` that knows them."""
    folder.mkdir(exist_ok=True)
    content = {
        "train_set": records_of() if records is None else records,
        "user2id": users,
        "item2id": items,
    }
    files = {}
    for name, value in content.items():
        path = folder / f"Like_{name}.pkl"
        raw = value if isinstance(value, bytes) else pickle.dumps(value, protocol)
        path.write_bytes(raw)
        if pack and name == "train_set":
            packed = path.with_suffix(".pkl.zip")
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.write(path, path.name)
            path.unlink()
            path = packed
        files[name] = (path.name, "git-blob:" + checksums.of(path, "git-blob"))
    return dataclasses.replace(
        TOYS,
        category="Like",
        records=files["train_set"],
        users=files["user2id"],
        items=files["item2id"],
    )
