"""Ranks the test instances of a finished run under another protocol.

Example: python -m experiments.evaluate --run_dir=runs/toys-1 --candidates=full
"""

from __future__ import annotations

from pathlib import Path

from absl import flags, logging

from harness import command_line

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
    from harness import metrics, passport, rankings, reopen, run_folder

    opened = reopen.open_run(run_dir, data_dir)
    opened.record_look(protocol)
    ranking = opened.ranker.rank("test", protocol, group_users=protocol != "full")
    counts = not opened.model.trainable_variables  # Counts may tie.
    found = rankings.summarise(ranking, may_tie=counts)
    opened.run.passport["metrics"]["test"][protocol] = found
    opened.run.passport.setdefault("ties", {})[protocol] = metrics.tie_gap(
        ranking.ranks
    )
    table = rankings.ranks_table(opened.data, ranking, protocol)
    run_folder.write_ranks(run_dir, table)
    passport.write(opened.run)
    for grouping, values in found.items():
        shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        logging.info("test %s, by %s: %s", protocol, grouping, shown)
    return found


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. The same command ranks again.")
