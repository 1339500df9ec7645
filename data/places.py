"""Folders that will be written are tried before the work, not after it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from data import sentences
from data.errors import UserError


def check_writable(folder: Path, flag: str) -> None:
    """Makes a folder, and a file in it that is gone at once.

    Args:
        folder: where something will be written.
        flag: that named it, for the sentence.

    Raises:
        UserError: if that cannot be done, with the system's reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
            file.flush()
    except OSError as error:
        error.filename = str(folder)  # Not the name of the file that was tried.
        raise UserError(f"{flag} cannot be written: {sentences.of(error)}") from error
