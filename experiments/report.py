"""Every table and figure but Table 1 again, as far as stored runs go.

Example: python -m experiments.report --runs_dir=runs --output_dir=reports

Table 2 comes as Markdown, CSV, LaTeX and a page with charts; the passports behind all
of it, one a line, as passports-<data set>-<split>.jsonl. Reads passports, ranks, and
what `experiments.levels` and `experiments.fragility` left; no model is loaded and
nothing is trained.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from experiments.reproduction.stored import write_all
from harness import command_line

_RUNS_DIR = flags.DEFINE_string("runs_dir", "runs", "Where the runs are.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "reports", "Where the tables go.")


def main() -> None:
    sys.stdout.write(write_all(Path(_OUTPUT_DIR.value), Path(_RUNS_DIR.value)))


if __name__ == "__main__":
    command_line.run(
        main,
        stopped="Stopped. What was written stays; the same command writes all of it.",
    )
