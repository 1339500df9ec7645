"""Where on a machine things are kept that can be made again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def user_folder() -> Path:
    """The user's own cache: `$XDG_CACHE_HOME/mgnm_tf`, by default `~/.cache/mgnm_tf`.

    It need not exist.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mgnm_tf"


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if it does not exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
