"""How a peer's script answers `benchmarks.peers`, under a Python without our packages.

The scripts beside this one import it by its own name: they are run by their path.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TextIO


def answer(answers: TextIO, actions: dict[str, Callable[[int], float]]) -> None:
    """Writes "ready", then a line for each line of standard input, until it ends.

    Args:
        answers: where to; standard output itself takes what the peer's library prints.
        actions: by the first word of a line, what makes a speed of the count after it.
    """

    def say(text: str) -> None:
        answers.write(text + "\n")
        answers.flush()

    say("ready")
    for line in sys.stdin:
        action, count = line.split()
        say(json.dumps(actions[action](int(count))))
