"""One writer a folder; readers are free."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from data.errors import UserError


@contextlib.contextmanager
def writing(folder: Path, what: str) -> Iterator[None]:
    """Holds the right to write a folder until the block ends or the process dies.

    The lock is a hidden file beside the folder, which may not exist yet. The system
    drops the lock with its process, however that ends, so no lock is ever stale. NFS
    servers without locks do not stop a second writer.

    Args:
        folder: what is to be written.
        what: what the process does there, for the sentence that the second one gets,
            e.g. "prepared".

    Raises:
        UserError: if another process holds it, with its number and its start.
        OSError: if the parent folder cannot be written.
    """
    made = [path for path in folder.parents if not path.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_name(f".lock-{folder.name}")
    try:
        with _held(path, folder, what):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
    finally:
        for parent in made:  # Of a command that failed, nothing stays.
            with contextlib.suppress(OSError):
                parent.rmdir()


def is_being_written(folder: Path) -> bool:
    """Whether a process of this machine holds a folder; the lock is not tried."""
    try:
        holder = json.loads(folder.with_name(f".lock-{folder.name}").read_text())
        if holder["host"] != socket.gethostname():
            return False
        os.kill(holder["process"], 0)
    except PermissionError:
        return True  # Of another user.
    except (FileNotFoundError, ProcessLookupError, json.JSONDecodeError):
        return False
    return True


@contextlib.contextmanager
def _held(path: Path, folder: Path, what: str) -> Iterator[None]:
    while True:
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise UserError(
                    f"{folder} is being {what} by {_holder(file.read())}. Wait for its "
                    "end, or choose another folder."
                ) from error
            if not _is_at(path, file):
                continue  # Its last holder has removed it meanwhile.
            file.truncate(0)
            file.write(json.dumps(_own()))
            file.flush()
            yield
            return


def _is_at(path: Path, file: IO[str]) -> bool:
    opened = os.fstat(file.fileno())
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)


def _own() -> dict[str, object]:
    now = datetime.datetime.now().astimezone()
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": now.isoformat(sep=" ", timespec="seconds"),
    }


def _holder(text: str) -> str:
    if not text:  # It has the lock, but has not yet said who it is.
        return "another process"
    own = json.loads(text)
    return f"process {own['process']} on {own['host']} since {own['since']}"
