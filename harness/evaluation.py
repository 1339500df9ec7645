"""Ranks the test instances of a finished run under one more protocol."""

from __future__ import annotations

from pathlib import Path

from absl import logging

from data import locks
from harness import (
    metrics,
    passport,
    rankings,
    reopen,
    run_folder,
    run_manifest,
)


def evaluate(
    run_dir: Path, data_dir: Path, protocol: str
) -> dict[str, dict[str, float]]:
    """Adds a protocol's metrics to the run's passport and its ranks to the table.

    Returns:
        The metrics by grouping.

    Raises:
        ValueError: if there is no finished run, or its data are not the ones prepared.
    """
    passport.read(run_dir)  # Without one there is nothing to hold.
    with locks.writing(run_dir, "evaluated"):
        return _evaluate(reopen.open_run(run_dir, data_dir), protocol)


def _evaluate(opened: reopen.OpenedRun, protocol: str) -> dict[str, dict[str, float]]:
    run_dir = opened.run.folder
    opened.record_look(protocol)
    ranking = opened.ranker.rank(
        "test",
        protocol,
        group_users=protocol != "full",
        rows=opened.test_rows(protocol),
    )
    counts = not opened.model.trainable_variables  # Counts may tie.
    metrics_by_grouping = rankings.summarise(ranking, may_tie=counts)
    opened.run.passport["metrics"]["test"][protocol] = metrics_by_grouping
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
    for grouping, values in metrics_by_grouping.items():
        shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        logging.info("test %s, by %s: %s", protocol, grouping, shown)
    return metrics_by_grouping
