"""How every command ends: with its output, or with one sentence."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging

from data import sentences
from data.errors import UserError

_LARGEST = 2**31 - 1


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

    start(main)


def start(main: Callable[[list[str]], None], **parsing: Any) -> None:
    """Parses the flags, and calls `main`; asking for help is no error."""
    asks = {"-h", "-help", "--help", "-helpfull", "--helpfull"} & {*sys.argv[1:]}
    try:
        app.run(main, **parsing)
    except SystemExit as end:
        if asks and end.code == 1:  # With which absl ends its help.
            sys.exit(0)
        raise


def check_given() -> None:
    """Refuses values that absl lets pass, and that nothing can be made of.

    These are no value at all, as in `--data_dir=$UNSET`, where the path would be the
    current folder or count as not given; NaN and infinity, which no bound catches; and
    whole numbers that no array can count to.

    Raises:
        UserError: naming the first of them.
    """
    for name in flags.FLAGS:
        flag = flags.FLAGS[name]
        defined_by = str(flags.FLAGS.find_module_defining_flag(name))
        if not flag.present or defined_by.startswith("absl."):
            continue
        value = flag.value
        if value in ("", [], [""]):
            raise UserError(
                f"--{name} is given without a value. Give one, or leave the flag out."
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{name} takes a number. Received: {value}")
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise UserError(
                f"--{name} takes a whole number up to {_LARGEST:,}. Received: {value}"
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
