"""How a command that trains or ranks begins and ends."""

from __future__ import annotations

from collections.abc import Callable

from data import command_line
from harness import environment


def run(command: Callable[[], None], stopped: str) -> None:
    """Does what `data.command_line.run` does, with TensorFlow's environment set.

    Args:
        command: reads its flags, and imports TensorFlow late.
        stopped: the sentence after Ctrl-C, which says what that leaves.
    """
    environment.set_defaults()
    command_line.run(command, stopped)
