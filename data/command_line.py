"""How every command ends: with its output, or with one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable

from absl import app, logging

from data import sentences


def run(command: Callable[[], None], stopped: str) -> None:
    """Parses the flags and runs a command.

    What a user can mend (`data.sentences`) and Ctrl-C end in a sentence on standard
    error, and in the exit code 1. Every other error is a fault of the code, and shows
    where it came from.

    Args:
        command: reads its flags.
        stopped: the sentence after Ctrl-C, which says what that leaves.
    """

    def main(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
        logging.set_verbosity(logging.INFO)
        call(command, stopped)

    app.run(main)


def call(command: Callable[[], None], stopped: str) -> None:
    """What `run` does once the flags are parsed."""
    try:
        command()
    except ImportError as error:
        if error.name != "mgnm_tf.keras2":
            raise
        # Another TensorFlow than this runs with, which a user can mend.
        sys.exit(f"error: {error}")
    except Exception as error:
        sentence = sentences.of(error)
        if sentence is None:
            raise
        sys.exit(f"error: {sentence}")
    except KeyboardInterrupt:
        sys.exit(stopped)
