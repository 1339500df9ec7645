"""Runs what a table or a figure needs and lacks, then writes it.

Example: python -m experiments.reproduce --what=table3 --profile=quick

Finished runs are kept, so that the same command goes on after a stop, and adds to a
table what it lacks. What several tables need is run once.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from data.errors import UserError
from experiments.reproduction import grid, plan, profiles
from experiments.reproduction.stages import RUNS, STAGES
from harness import command_line, config, defaults

_PROFILE = flags.DEFINE_enum(
    "profile",
    "quick",
    sorted(profiles.PROFILES),
    "quick: MovieLens-100K, bounded work. paper: the paper's data sets, 5 seeds, full "
    "budget. toys-5core: the data of our Toys tables, 2 seeds. folder: every log of "
    "--data_dir, 5 seeds; `public` is its old name.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder of logs, for --profile=folder."
)
_PREPARED_DIR = flags.DEFINE_string(
    "prepared_dir", "data/prepared", "Where prepared data are written."
)
_RUNS_DIR = flags.DEFINE_string("runs_dir", "runs", "Where runs are written.")
_REPORTS_DIR = flags.DEFINE_string("reports_dir", "reports", "Where tables go.")
_RECIPE = flags.DEFINE_enum(
    "recipe",
    config.PAPER,
    list(config.RECIPES),
    "How models are trained. What another recipe than the paper's makes goes to "
    "<runs_dir>/<recipe> and <reports_dir>/<recipe>.",
)
_MODELS = flags.DEFINE_list(
    "models",
    None,
    "Which of Table 2's models, by comma, and classes of your own as "
    "package.module:Class (docs/your_model.md). Default: all registered.",
)
_DATASETS = flags.DEFINE_list(
    "datasets", None, "Which of the profile's data sets, by comma. Default: all."
)
_SEEDS = flags.DEFINE_integer(
    "seeds", None, "How many seeds: 1, 2, ... Default: the profile's.", lower_bound=1
)
_MAX_EPOCHS = flags.DEFINE_integer(
    "max_epochs", None, "Most epochs a run. Default: the profile's.", lower_bound=1
)

_DRY_RUN = flags.DEFINE_bool(
    "dry_run",
    False,
    "Only list the runs, which of them are finished, and what the others are to take "
    "in time, memory and disk.",
)

STOPPED = "Stopped. The same command goes on from here."


def reproduce(*wanted: str) -> None:
    """Reproduces the named tables and figures with the options of the flags.

    Raises:
        UserError: if an option names what there is not.
    """
    recipe = _RECIPE.value
    papers_own = sorted({*wanted} & {*_OF_THE_PAPER})
    if recipe != config.PAPER and papers_own:
        raise UserError(
            f"{', '.join(papers_own)}: of the paper's recipe alone. Leave out "
            f"--recipe={recipe}, or ask for one of "
            f"{', '.join(sorted({*STAGES} - {*_OF_THE_PAPER}))}."
        )
    options = grid.Options(
        profile=_PROFILE.value,
        csv_dir=_DATA_DIR.value,
        prepared_dir=Path(_PREPARED_DIR.value),
        runs_dir=defaults.of_recipe(Path(_RUNS_DIR.value), recipe),
        reports_dir=defaults.of_recipe(Path(_REPORTS_DIR.value), recipe),
        recipe=recipe,
        datasets=_DATASETS.value,
        models=_MODELS.value,
        num_seeds=_SEEDS.value,
        max_epochs=_MAX_EPOCHS.value,
    )
    failed: list[str] = []
    for model in grid.chosen_models(_MODELS.value):
        if config.is_own(model):  # Before the hours that the others take.
            defaults.get_config(model, "any", recipe=recipe)
    if _DRY_RUN.value:
        datasets, _ = grid.wanted_data(options)
        runs = [run for name in wanted for run in RUNS[name](options, datasets)]
        sys.stdout.write(plan.text(options, runs))
        return
    datasets = grid.prepare(options)
    for name in wanted:
        failed += STAGES[name](options, datasets)
    if failed:
        sys.exit(f"error: {len(failed)} runs failed: {', '.join(failed)}")


# Looks into MGNM as the paper trains it.
_OF_THE_PAPER = ("table3", "figures")


def main() -> None:
    what = flags.FLAGS.what
    if what != "all":
        reproduce(what)
    elif _RECIPE.value == config.PAPER:
        reproduce(*STAGES)
    else:
        reproduce(*(name for name in STAGES if name not in _OF_THE_PAPER))


if __name__ == "__main__":
    # Here, since `reproduce_table2` has the other flags and not this one.
    flags.DEFINE_enum(
        "what", None, [*STAGES, "all"], "What to reproduce.", required=True
    )
    command_line.run(main, stopped=STOPPED)
