"""What the levels of a finished MGNM do: which wins the maximum, what their sum ranks.

Example: python -m experiments.levels --run_dir=runs/toys/global_time/mgnm/seed-1

Figures 5 to 7 are drawn from the folder `levels` that this leaves in the run's. Nothing
is trained: the run's weights are read.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags, logging

from experiments.studies.levels.look import look
from harness import command_line


def main() -> None:
    folder = look(Path(flags.FLAGS.run_dir), Path(flags.FLAGS.data_dir))
    logging.info("Written: %s", folder)


if __name__ == "__main__":
    # Here, since other commands import this module and have flags of these names.
    flags.DEFINE_string("run_dir", None, "Folder of a finished run.", required=True)
    flags.DEFINE_string("data_dir", "data/prepared", "Where `data.prepare` wrote.")
    command_line.run(
        main,
        stopped="Stopped. No result was written; the ledger keeps what was begun.",
    )
