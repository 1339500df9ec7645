"""Runs a grid of models, data sets and seeds, then writes Table 2.

Example: python -m experiments.reproduce_table2 --profile=quick

The same as `python -m experiments.reproduce --what=table2`.
"""

from __future__ import annotations

from absl import flags

from experiments import reproduce
from harness import command_line


def main() -> None:
    reproduce.reproduce("table2")


if __name__ == "__main__":
    flags.adopt_module_key_flags(reproduce)
    command_line.run(main, stopped=reproduce.STOPPED)
