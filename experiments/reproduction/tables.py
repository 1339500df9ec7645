"""From the name of a table or a figure to the runs that it needs, and to the file."""

from __future__ import annotations

import sys

from data import places
from data.errors import UserError
from experiments.reproduction import grid, plan
from experiments.reproduction.stages import RUNS, STAGES
from harness import config, defaults

ALL = "all"
# Looks into MGNM as the paper trains it.
_OF_THE_PAPER = ("table3", "figures")


def reproduce(what: str, options: grid.Options, dry_run: bool = False) -> None:
    """Runs what is lacking, and writes; or, for a dry run, says what would be run.

    Args:
        what: a name of `STAGES`, or `ALL` for those that the recipe has.
        options: which data, models and seeds, and where to.
        dry_run: write nothing but the plan, to standard output.

    Raises:
        UserError: if an option names what there is not.
        SystemExit: if a run failed; the others were made, and what they give.
    """
    wanted = _stages(what, options.recipe)
    for model in grid.chosen_models(options.models):
        if config.is_own(model):  # Before the hours that the others take.
            defaults.get_config(model, "any", recipe=options.recipe)
    if dry_run:
        datasets, _ = grid.wanted_data(options)
        runs = [run for name in wanted for run in RUNS[name](options, datasets)]
        sys.stdout.write(plan.text(options, runs))
        return
    # Before the hours of training, not after them.
    places.check_writable(options.runs_dir, "--runs_dir")
    places.check_writable(options.reports_dir, "--reports_dir")
    datasets = grid.prepare(options)
    failed: list[str] = []
    for name in wanted:
        failed += STAGES[name](options, datasets)
    if failed:
        sys.exit(f"error: {len(failed)} runs failed: {', '.join(failed)}")


def _stages(what: str, recipe: str) -> list[str]:
    """The stages of a name, those alone that the recipe has."""
    of_the_recipe = [
        name for name in STAGES if recipe == config.PAPER or name not in _OF_THE_PAPER
    ]
    if what == ALL:
        return of_the_recipe
    if what not in of_the_recipe:
        raise UserError(
            f"{what}: of the paper's recipe alone. Leave out --recipe={recipe}, or ask "
            f"for one of {', '.join(sorted(of_the_recipe))}."
        )
    return [what]
