"""Runs a grid of models, data sets and seeds, then writes Table 2.

Example: python -m experiments.reproduce_table2 --profile=quick

The same as `python -m experiments.reproduce --what=table2`.
"""

from __future__ import annotations

from absl import app, flags

from experiments import reproduce


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    reproduce.reproduce("table2")


if __name__ == "__main__":
    flags.adopt_module_key_flags(reproduce)
    app.run(main)
