"""What the paper's printed tables say about each other, by arithmetic alone.

Example: python -m experiments.paper_consistency

Prints the tables of docs/REPRODUCTION.md, Section 6. No run and no data are read: only
`experiments/results/paper.py`, the numbers as printed.
"""

from __future__ import annotations

import sys

from experiments.studies.consistency import to_markdown
from harness import command_line


def main() -> None:
    sys.stdout.write(to_markdown())


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped.")
