"""Runs what a table or a figure needs and lacks, then writes it.

Example: python -m experiments.reproduce --what=table3 --profile=quick

Finished runs are kept, so that the same command goes on after a stop, and adds to a
table what it lacks. What several tables need is run once.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from data import filter_flags, log_flags
from data.errors import UserError
from experiments.reproduction import grid, profiles, tables
from experiments.reproduction.stages import STAGES
from harness import command_line, config, defaults


class _ProfileParser(flags.EnumParser):
    """Takes an old name too, of which its error does not speak."""

    def parse(self, argument: str) -> str:
        return argument if argument in profiles.PROFILES else super().parse(argument)


_PROFILE = flags.DEFINE(
    _ProfileParser(profiles.NAMES),
    "profile",
    "quick",
    "quick: MovieLens-100K, bounded work. paper: the paper's data sets, 5 seeds, full "
    "budget. toys-5core: the data of our Toys tables, 2 seeds. folder: every log of "
    "--data_dir, 5 seeds.",
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
_AT_ONCE = flags.DEFINE_integer(
    "at_once",
    None,
    "How many runs are made at a time; no metric depends on it. Default: two where "
    "cores and memory allow it and there is no GPU; for Table 4, whose numbers are "
    "times, one.",
    lower_bound=1,
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run",
    False,
    "Only list the runs, which of them are finished, and what the others are to take "
    "in time, memory and disk.",
)
# Of every log of the profile `folder`.
flags.adopt_module_key_flags(log_flags)
flags.adopt_module_key_flags(filter_flags)

STOPPED = "Stopped. The same command goes on from here."


def main() -> None:
    reproduce(flags.FLAGS.what)


def reproduce(what: str) -> None:
    """Reproduces a table, a figure, or all, with the options of the flags."""
    recipe = _RECIPE.value
    given = [*log_flags.given(), *filter_flags.given()]
    if given and not profiles.PROFILES[_PROFILE.value].reads_folder:
        raise UserError(
            f"{given[0]} says how a log of yours is read: it goes with "
            f"--profile=folder. Received: --profile={_PROFILE.value}"
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
        at_once=_AT_ONCE.value,
        log=log_flags.options(),
        filters=filter_flags.filters(),
        log_arguments=tuple(given),
    )
    tables.reproduce(what, options, dry_run=_DRY_RUN.value)


if __name__ == "__main__":
    # Here, since `reproduce_table2` has the other flags and not this one.
    flags.DEFINE_enum(
        "what", None, [*STAGES, tables.ALL], "What to reproduce.", required=True
    )
    command_line.run(main, stopped=STOPPED)
