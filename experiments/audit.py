"""Looks for leaks in a model: does anything reach its scores that must not?

Example: python -m experiments.audit --model=mgnm

Trains the model on small made data and runs the checks of docs/audit.md. A model of
one's own: --model=package.module:Class, with --set=name=value for its constructor.
The exit code is 0 if no leak was found, 1 if one was, 2 if nothing could be audited.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import NoReturn

from absl import flags, logging

from data import command_line, sentences
from harness import environment

if __name__ == "__main__":
    flags.DEFINE_string(
        "model",
        None,
        "A registered model, e.g. gru4rec; `all` of them, in one table; or "
        "package.module:Class, a class of your own that is found from this folder.",
        required=True,
    )
    flags.DEFINE_string(
        "variant",
        None,
        "`released` (of mgnm) audits what the released code computes, `no_times` (of "
        "sli_rec) the form without times.",
    )
    flags.DEFINE_enum(
        "recipe",
        "paper",
        ["paper", "strong"],
        "How the model is trained, see docs/recipe.md.",
    )
    flags.DEFINE_multi_string(
        "set",
        [],
        "An argument of the model's constructor, e.g. --set=num_interests=2; "
        "repeatable.",
    )
    flags.DEFINE_string(
        "output",
        None,
        "Also written there: Markdown (.md) or, with more, JSON (.json).",
    )
    flags.DEFINE_integer(
        "seed", 1, "Seeds the made data and the training.", lower_bound=0
    )

LEAKY, WRONG_USE = 1, 2


def main(argv: list[str]) -> None:
    values = flags.FLAGS
    if not values["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # Thirty trainings log much.
    if len(argv) > 1:
        _stop(f"error: Unexpected arguments: {argv[1:]}")
    try:
        command_line.check_given()
        environment.set_defaults()
        # Here, so that --help and a mistyped flag do not wait for TensorFlow.
        from experiments.studies.audit.audit_models import audit_models

        leaky = audit_models(
            values.model,
            variant=values.variant,
            recipe=values.recipe,
            assignments=values.set,
            output=Path(values.output) if values.output else None,
            seed=values.seed,
        )
    except Exception as error:
        sentence = sentences.of(error)
        if sentence is None:
            # Python itself would end with 1, which here means a leak.
            traceback.print_exc()
            sys.exit(WRONG_USE)
        _stop(f"error: {sentence}")
    except KeyboardInterrupt:
        _stop("Stopped before the end; nothing was written.")
    sys.exit(LEAKY if leaky else 0)


def _stop(message: str) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    sys.exit(WRONG_USE)


def _parse_flags(argv: list[str]) -> list[str]:
    """Absl's own parser ends in 1, which here means a leak."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _stop(f"error: {error}\nPass --help to see the flags.")


if __name__ == "__main__":
    command_line.start(main, flags_parser=_parse_flags)
