"""How a finished run's test metrics change with other pasts than the stored ones.

Example: python -m experiments.fragility --run_dir=runs/toys/global_time/mgnm/seed-1

The order of simultaneous events is drawn anew, histories are shuffled, and those of
other users are shown; weights stay as they are. `fragility.md` is written from the
folder that this leaves in the run's.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags, logging

from experiments.studies.fragility.measure import measure
from harness import command_line


def main() -> None:
    folder = measure(Path(flags.FLAGS.run_dir), Path(flags.FLAGS.data_dir))
    logging.info("Written: %s", folder)


if __name__ == "__main__":
    # Here, since other commands import this module and have flags of these names.
    flags.DEFINE_string("run_dir", None, "Folder of a finished run.", required=True)
    flags.DEFINE_string("data_dir", "data/prepared", "Where `data.prepare` wrote.")
    command_line.run(
        main,
        stopped="Stopped. No result was written; the ledger keeps what was begun.",
    )
