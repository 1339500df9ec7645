"""The installed commands: `mgnm-train` does what `python -m experiments.train` does."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path

from mgnm_tf import checkout

# Where a command may lie.
_ROOMS = ("experiments", "data", "serving")


def main() -> None:
    """Runs the command that the program's own name says.

    Raises:
        SystemExit: when the command ends, and for a name that is no command.
    """
    name = Path(sys.argv[0]).stem
    module = find(name)
    if module is None:
        sys.exit(f"error: {name} is no command of mgnm_tf.")
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def find(name: str) -> str | None:
    """The module of a command, e.g. "mgnm-train"; None if there is none."""
    stem = name[len("mgnm-") :].replace("-", "_")
    inside = "mgnm_tf."
    if checkout.is_one():
        checkout.add_to_path()
        inside = ""
    for room in _ROOMS:
        module = f"{inside}{room}.{stem}"
        if importlib.util.find_spec(f"{inside}{room}") is None:
            continue
        if importlib.util.find_spec(module) is not None:
            return module
    return None
