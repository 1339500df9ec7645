"""Which files a folder holds, of what size, shape and content; written last of all.

A manifest says that a folder is whole and that we wrote it. Sizes, types and shapes
are checked at every start, which reads no content. Hashes are checked once a machine:
what was found right is noted in the user's cache with the file's size, time of change
and number, and checked again when one of these is another, or when it is asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from data import atomic, caches
from data.errors import UserError

MANIFEST = "manifest.json"
_BLOCK = 1 << 20


def write(folder: Path, kind: str, **more: str) -> None:
    """Describes every file of a folder, in `manifest.json`.

    Args:
        folder: whose files are whole.
        kind: what the folder is, e.g. "prepared data".
        **more: what else it says, by name.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    files = {name: describe(folder / name) for name in names if name != MANIFEST}
    write_files(folder, kind, files, **more)


def write_files(
    folder: Path,
    kind: str,
    files: dict[str, dict[str, Any]],
    name: str = MANIFEST,
    **more: str,
) -> None:
    """Writes a manifest, under `name`, of these descriptions by the file's name.

    `more` stands beside them.
    """
    content = {"kind": kind, "files": files, **more}
    atomic.write_json(folder / name, {**content, "sha256": _hash(content)})


def read(folder: Path, kind: str, name: str = MANIFEST) -> dict[str, dict[str, Any]]:
    """The descriptions of a folder's files by name.

    Raises:
        UserError: if the manifest is damaged, or of something else.
    """
    return dict(read_all(folder, kind, name)["files"])


def read_all(folder: Path, kind: str, name: str = MANIFEST) -> dict[str, Any]:
    """All that a manifest says: `kind`, `files`, and what else was given to `write`.

    Raises:
        UserError: as `read`.
    """
    path = folder / name
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        own = content.pop("sha256")
    except (
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        RecursionError,
    ) as error:
        raise UserError(_damaged(path, "it cannot be read")) from error
    if own != _hash(content):
        raise UserError(_damaged(path, "its content is not what was written"))
    if content["kind"] != kind:
        raise UserError(f"{folder} holds {content['kind']}, not {kind}.")
    return dict(content)


def describe(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file; type and shape too of an array."""
    entry: dict[str, Any] = {"bytes": path.stat().st_size, "sha256": file_hash(path)}
    if path.suffix == ".npy":
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        entry |= {"dtype": array.dtype.str, "shape": list(array.shape)}
    return entry


def check(
    folder: Path, files: dict[str, dict[str, Any]], remedy: str, verify: bool = False
) -> None:
    """Compares files with their descriptions.

    Args:
        folder: where they are.
        files: their descriptions by name.
        remedy: what to do about a damaged file, a sentence.
        verify: hash all, also what was found right on this machine before.

    Raises:
        UserError: naming the first file that is missing or another.
    """
    noted = {} if verify else _read_notes(folder)
    notes = {}
    for name, wanted in files.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path} is missing. {remedy}")
        state = path.stat()
        if state.st_size != wanted["bytes"]:
            raise UserError(
                f"{path} is damaged: it has {state.st_size:,} bytes, and "
                f"{wanted['bytes']:,} were written. {remedy}"
            )
        if "shape" in wanted:
            _check_array(path, wanted, remedy)
        stamp = [state.st_size, state.st_mtime_ns, state.st_ino, wanted["sha256"]]
        if noted.get(name) != stamp and file_hash(path) != wanted["sha256"]:
            raise UserError(
                f"{path} is damaged: its content is not what was written. {remedy}"
            )
        notes[name] = stamp
    if any(noted.get(name) != stamp for name, stamp in notes.items()):
        _write_notes(folder, {**noted, **notes})


def check_folder(folder: Path, kind: str, remedy: str) -> None:
    """Compares all files of a folder with its manifest, if it has one.

    Raises:
        UserError: as `check`.
    """
    if (folder / MANIFEST).exists():
        check(folder, read(folder, kind), remedy)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _check_array(path: Path, wanted: dict[str, Any], remedy: str) -> None:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"{path} is damaged: it is no array. {remedy}") from error
    dtype, shape = array.dtype.str, list(array.shape)
    if (dtype, shape) != (wanted["dtype"], wanted["shape"]):
        raise UserError(
            f"{path} is damaged: it is of {dtype} {shape}, and "
            f"{wanted['dtype']} {wanted['shape']} was written. {remedy}"
        )


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _damaged(path: Path, what: str) -> str:
    return (
        f"{path} is damaged: {what}. Delete that folder and make it again with the "
        "command that made it."
    )


def _notes_path(folder: Path) -> Path:
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
    return caches.user_folder() / "verified" / f"{name}.json"


def _read_notes(folder: Path) -> dict[str, list[Any]]:
    try:
        notes = json.loads(_notes_path(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # Then everything is hashed.
    return notes if isinstance(notes, dict) else {}


def _write_notes(folder: Path, notes: dict[str, list[Any]]) -> None:
    path = _notes_path(folder)
    with contextlib.suppress(OSError):  # Without a cache it is hashed every time.
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(path, notes)
