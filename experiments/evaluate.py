"""Ranks the test instances of a finished run under another protocol.

Example: python -m experiments.evaluate --run_dir=runs/toys-1 --candidates=full
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags, logging

from harness import command_line

if TYPE_CHECKING:
    from harness.reopen import OpenedRun

_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Folder of a finished run.", required=True
)
_CANDIDATES = flags.DEFINE_enum(
    "candidates",
    "uni1000",
    ["uni1000", "pop1000", "full"],
    "Rank against 1,000 items drawn uniformly, 1,000 drawn by popularity, or all.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "data/prepared", "Where `data.prepare` wrote."
)


def main() -> None:
    evaluate(Path(_RUN_DIR.value), Path(_DATA_DIR.value), _CANDIDATES.value)


def evaluate(
    run_dir: Path, data_dir: Path, protocol: str
) -> dict[str, dict[str, float]]:
    """Adds a protocol's metrics to the run's passport and its ranks to the table.

    Returns:
        The metrics by grouping.

    Raises:
        ValueError: if there is no finished run, or its data are not the ones prepared.
    """
    from data import locks
    from harness import passport, reopen

    passport.read(run_dir)  # Without one there is nothing to hold.
    with locks.writing(run_dir, "evaluated"):
        return _evaluate(reopen.open_run(run_dir, data_dir), protocol)


def _evaluate(opened: OpenedRun, protocol: str) -> dict[str, dict[str, float]]:
    from harness import metrics, passport, rankings, run_folder, run_manifest

    run_dir = opened.run.folder
    opened.record_look(protocol)
    ranking = opened.ranker.rank("test", protocol, group_users=protocol != "full")
    counts = not opened.model.trainable_variables  # Counts may tie.
    found = rankings.summarise(ranking, may_tie=counts)
    opened.run.passport["metrics"]["test"][protocol] = found
    opened.run.passport.setdefault("ties", {})[protocol] = metrics.tie_gap(
        ranking.ranks
    )
    table = rankings.ranks_table(opened.data, ranking, protocol)
    with run_manifest.replacing(
        run_dir, (run_folder.RANKS, run_folder.PASSPORT)
    ) as partials:
        table = run_folder.merged_ranks(run_dir, table)
        table.to_parquet(partials[run_folder.RANKS], index=False)
        passport.write(opened.run, partials[run_folder.PASSPORT])
    for grouping, values in found.items():
        shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        logging.info("test %s, by %s: %s", protocol, grouping, shown)
    return found


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. The same command ranks again.")
