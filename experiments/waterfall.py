"""From the released computation to the paper's, one switch at a time, measured.

Example: python -m experiments.waterfall --dataset=noise --seeds=3

Each step is trained with each seed and kept as JSON; finished ones are not repeated.
Then a table (Markdown, CSV) and a picture (PNG, SVG) are written. What the steps are,
what they show and what they do not: docs/released_code.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from harness import command_line

_DATASET = flags.DEFINE_string(
    "dataset",
    None,
    "Name under which `data.prepare` wrote the data; or `noise`, which is made here: "
    "items drawn uniformly, so that only a leak can rank above chance.",
    required=True,
)
_SPLIT = flags.DEFINE_string(
    "split", None, "Which of its splits; needed only if several are prepared."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "data/prepared", "Where `data.prepare` wrote."
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "reports/waterfall", "Where runs, tables and pictures go."
)
_STEPS = flags.DEFINE_list(
    "steps",
    None,
    "Which steps to train, by comma, e.g. released,row_order,reshape. Default: all. "
    "Tables hold whatever steps are stored.",
)
_SEEDS = flags.DEFINE_integer(
    "seeds",
    3,
    "How many times each step is trained, with the seeds 1, 2, ...",
    lower_bound=1,
)
_EPOCHS = flags.DEFINE_integer(
    "epochs", 1, "Passes over the training instances.", lower_bound=1
)
_TRAIN_INSTANCES = flags.DEFINE_integer(
    "train_instances", None, "Most training instances, a fixed sample.", lower_bound=1
)
_MAX_HISTORY = flags.DEFINE_integer(
    "max_history", 20, "T, the newest events that the model is shown.", lower_bound=1
)
_CHECKS = flags.DEFINE_integer(
    "checks", 4, "Evenly spaced; the best of them is evaluated.", lower_bound=1
)
_INSTANCES = flags.DEFINE_integer(
    "instances",
    300,
    "Test instances (and validation instances) ranked, at least; all those of users "
    "drawn with a fixed seed. The first steps read 1,001 rows for each.",
    lower_bound=1,
)


def main() -> None:
    from data import places, prepared
    from experiments.studies.waterfall import report
    from experiments.studies.waterfall import runs as waterfall_runs
    from experiments.studies.waterfall.steps import Budget, chosen_steps

    data_dir = Path(_DATA_DIR.value)
    if _DATASET.value == waterfall_runs.NOISE:
        data = waterfall_runs.noise(data_dir)
    else:
        data = prepared.load(data_dir, _DATASET.value, _SPLIT.value)
    budget = Budget(
        epochs=_EPOCHS.value,
        train_instances=_TRAIN_INSTANCES.value,
        max_history=_MAX_HISTORY.value,
        checks=_CHECKS.value,
        instances=_INSTANCES.value,
    )
    folder = Path(_OUTPUT_DIR.value) / data.name
    steps = chosen_steps(_STEPS.value)
    places.check_writable(folder, "--output_dir")
    for seed in range(1, _SEEDS.value + 1):
        for step in steps:
            path = waterfall_runs.run_path(folder, step, seed)
            waterfall_runs.run_step(step, data, budget, seed, path)
    runs = waterfall_runs.stored_runs(folder)
    popularity = waterfall_runs.popularity(data, budget)
    text = report.write(folder, runs, popularity)
    kinds = ".md, .csv, .jsonl, .png, .svg"
    sys.stdout.write(f"{text}\nWritten: {folder}/waterfall{kinds}\n")


if __name__ == "__main__":
    command_line.run(
        main,
        stopped="Stopped. The same command goes on with the step that was under way.",
    )
