"""Ranks the test instances of a finished run under another protocol.

Example: python -m experiments.evaluate --run_dir=runs/toys-1 --candidates=full
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

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
    # Here, so that --help and a mistyped flag do not wait for TensorFlow.
    from harness.evaluation import evaluate

    evaluate(Path(_RUN_DIR.value), Path(_DATA_DIR.value), _CANDIDATES.value)


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. The same command ranks again.")
