"""How every command ends: with its output, or with one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable

from absl import app, flags, logging

from data import sentences
from data.errors import UserError


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
            sys.exit(
                f"error: Unexpected arguments: {argv[1:]}. Flags are written "
                "--name=value; --help lists them."
            )
        logging.set_verbosity(logging.INFO)
        call(command, stopped)

    app.run(main)


def check_given() -> None:
    """Refuses flags that are given without a value, as in `--data_dir=$UNSET`.

    An empty path would be the current folder, or count as not given.

    Raises:
        UserError: naming the first of them.
    """
    for name in flags.FLAGS:
        flag = flags.FLAGS[name]
        defined_by = str(flags.FLAGS.find_module_defining_flag(name))
        is_ours = not defined_by.startswith("absl.")
        if is_ours and flag.present and flag.value in ("", []):
            raise UserError(
                f"--{name} is given without a value. Give one, or leave the flag out."
            )


def call(command: Callable[[], None], stopped: str) -> None:
    """What `run` does once the flags are parsed."""
    try:
        check_given()
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
