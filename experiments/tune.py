"""Searches a model's settings on validation; test instances are never ranked.

Example: python -m experiments.tune --model=gru4rec --dataset=toys --trials=8

Every model has the same number of trials and epochs. The first trial is the model's
default configuration, the others are drawn from `harness.search_space` with a seed.
Training on that data set then uses the best trial's settings. A stopped search goes on
with the same command.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from absl import flags

from harness import command_line, defaults
from harness.config import PAPER, RECIPES
from harness.search import search

_MODEL = flags.DEFINE_string("model", None, defaults.MODEL_HELP, required=True)
_DATASET = flags.DEFINE_string(
    "dataset", None, "Name under which `data.prepare` wrote the data.", required=True
)
_SPLIT = flags.DEFINE_string(
    "split", None, "Which of its splits; needed only if several are prepared."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "data/prepared", "Where `data.prepare` wrote."
)
_RECIPE = flags.DEFINE_enum(
    "recipe",
    PAPER,
    list(RECIPES),
    "Which recipe's settings to search; no other recipe uses them.",
)
_VARIANT = flags.DEFINE_string(
    "variant",
    None,
    f"`{defaults.NO_TIMES}` for a model that has one, on such data; of mgnm, a reading "
    f"({', '.join(defaults.READINGS)}), whose search is used for that reading alone.",
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    str(defaults.OWN_SEARCHES),
    "The log goes to <output_dir>/<dataset>-<hash of the data>/<model>.jsonl, of "
    "another recipe than the paper's to <output_dir>/<recipe>/...; training on those "
    "data reads the default.",
)
_TRIALS = flags.DEFINE_integer(
    "trials", 8, "How many configurations are tried, the default one included.", 1
)
_MAX_EPOCHS = flags.DEFINE_integer(
    "max_epochs", 12, "Most epochs that a configuration is trained for.", 1
)
_SEED = flags.DEFINE_integer(
    "seed", 1, "Seeds the draw of the configurations, and their training.", 0
)


def main() -> None:
    from data import prepared

    defaults.check_model(_MODEL.value)
    best = search(
        prepared.load(Path(_DATA_DIR.value), _DATASET.value, _SPLIT.value),
        model=_MODEL.value,
        recipe=_RECIPE.value,
        variant=_VARIANT.value,
        output_dir=Path(_OUTPUT_DIR.value),
        trials=_TRIALS.value,
        max_epochs=_MAX_EPOCHS.value,
        seed=_SEED.value,
    )
    sys.stdout.write(f"best: {json.dumps(best)}\n")


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. The same command goes on from here.")
