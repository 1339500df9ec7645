"""Trains a finished run's model again on all events, those that tested it included.

Example: python -m experiments.refit --run_dir=runs/shop-mgnm --to=models/shop

For a model that is to serve: a run leaves the newest events out, to be measured by
them. The folder that is written recommends and is exported as a run is; it has no
metrics, and no table takes it.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags, logging

from harness import command_line

_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Folder of a finished run.", required=True
)
_TO = flags.DEFINE_string("to", None, "Folder of the new model.", required=True)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "data/prepared", "Where `data.prepare` wrote the run's data."
)


def main() -> None:
    from harness.refit import refit

    refit(Path(_RUN_DIR.value), Path(_DATA_DIR.value), Path(_TO.value))
    logging.info("Written: %s", _TO.value)


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. The same command goes on from there.")
