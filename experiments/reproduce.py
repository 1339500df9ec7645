"""Runs what a table or a figure needs and lacks, then writes it.

Example: python -m experiments.reproduce --what=table3 --profile=quick

Finished runs are kept, so that the same command goes on after a stop, and adds to a
table what it lacks. What several tables need is run once.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

from absl import flags

from data import command_line
from experiments import configs, grid, studies

_PROFILE = flags.DEFINE_enum(
    "profile",
    "quick",
    sorted(configs.PROFILES),
    "quick: MovieLens-100K, bounded work. paper: the paper's data sets, 5 seeds, full "
    "budget. public: every CSV file of --data_dir.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder of CSV files, for --profile=public."
)
_PREPARED_DIR = flags.DEFINE_string(
    "prepared_dir", "data/prepared", "Where prepared data are written."
)
_RUNS_DIR = flags.DEFINE_string("runs_dir", "runs", "Where runs are written.")
_REPORTS_DIR = flags.DEFINE_string("reports_dir", "reports", "Where tables go.")
_RECIPE = flags.DEFINE_enum(
    "recipe",
    configs.PAPER,
    list(configs.RECIPES),
    "How models are trained. What another recipe than the paper's makes goes to "
    "<runs_dir>/<recipe> and <reports_dir>/<recipe>.",
)
_MODELS = flags.DEFINE_list(
    "models", None, "Which of Table 2's models, by comma. Default: all."
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

STOPPED = "Stopped. The same command goes on from here."

Datasets = list[tuple[str, str]]


def reproduce(*wanted: str) -> None:
    """Reproduces the named tables and figures with the options of the flags.

    Raises:
        ValueError: if an option names what there is not.
    """
    recipe = _RECIPE.value
    papers_own = sorted({*wanted} & {*_OF_THE_PAPER})
    if recipe != configs.PAPER and papers_own:
        raise ValueError(
            f"{', '.join(papers_own)}: of the paper's recipe alone. Leave out "
            f"--recipe={recipe}, or ask for one of "
            f"{', '.join(sorted({*_STAGES} - {*_OF_THE_PAPER}))}."
        )
    options = grid.Options(
        profile=_PROFILE.value,
        csv_dir=_DATA_DIR.value,
        prepared_dir=Path(_PREPARED_DIR.value),
        runs_dir=configs.of_recipe(Path(_RUNS_DIR.value), recipe),
        reports_dir=configs.of_recipe(Path(_REPORTS_DIR.value), recipe),
        recipe=recipe,
        datasets=_DATASETS.value,
        num_seeds=_SEEDS.value,
        max_epochs=_MAX_EPOCHS.value,
    )
    failed: list[str] = []
    grid.chosen(_MODELS.value, list(configs.MODEL_SETTINGS), "models")
    datasets = grid.prepare(options)
    for name in wanted:
        failed += _STAGES[name](options, datasets)
    if failed:
        sys.exit(f"error: {len(failed)} runs failed: {', '.join(failed)}")


def _table1(options: grid.Options, datasets: Datasets) -> list[str]:
    from experiments import report_table1

    _show(options, "table1", report_table1.write(options, datasets))
    return []


def _table2(options: grid.Options, datasets: Datasets) -> list[str]:
    failed = _make_table2_s_runs(options, datasets)
    from experiments import report_table2

    table = report_table2.write(options.reports_dir, options.runs_dir, datasets)
    import tensorflow as tf

    folder = str(options.runs_dir / "table2")
    with tf.summary.create_file_writer(folder).as_default():
        tf.summary.text("table2", table, step=0)
    _show(options, "table2", table)
    return failed


def _table3(options: grid.Options, datasets: Datasets) -> list[str]:
    failed = _make_studies(
        options, datasets, lambda name: [*studies.table3(name).values()]
    )
    from experiments import report_table3

    text = report_table3.write(options.reports_dir, options.runs_dir, datasets)
    _show(options, "table3", text)
    return failed


def _table4(options: grid.Options, datasets: Datasets) -> list[str]:
    failed = _make_table2_s_runs(options, datasets)
    from experiments import report_table4

    text = report_table4.write(options.reports_dir, options.runs_dir, datasets)
    _show(options, "table4", text)
    return failed


def _figures(options: grid.Options, datasets: Datasets) -> list[str]:
    profile = configs.PROFILES[options.profile]

    def variants(name: str) -> list[studies.Variant]:
        by_layers = [studies.with_layers(name, count) for count in profile.layers]
        by_interests = [studies.with_interests(name, k) for k in profile.interests]
        return [studies.full(name), *by_layers, *by_interests]

    failed = _make_studies(options, datasets, variants)
    failed += _look_at_levels(options, datasets)
    from experiments import figures

    written = figures.write(options.reports_dir, options.runs_dir, datasets)
    if not written:
        raise ValueError(f"{options.runs_dir} holds no finished run of a figure.")
    sys.stdout.write(f"\nWritten: {', '.join(map(str, written))}\n")
    return failed


def _protocols(options: grid.Options, datasets: Datasets) -> list[str]:
    failed = _make_table2_s_runs(options, datasets)
    from experiments import report_protocols

    text = report_protocols.write(options.reports_dir, options.runs_dir, datasets)
    _show(options, "protocols", text)
    return failed


def _fragility(options: grid.Options, datasets: Datasets) -> list[str]:
    if options.num_seeds is None:  # One seed of each model is enough.
        options = dataclasses.replace(options, num_seeds=1)
    failed = _make_table2_s_runs(options, datasets)
    from experiments import fragility, report_fragility

    runs = _table2_s_runs(options, datasets)
    failed += _look_into(
        options,
        runs,
        "fragility",
        lambda run_dir: fragility.read_results(run_dir) is not None,
    )
    text = report_fragility.write(options.reports_dir, options.runs_dir, datasets)
    _show(options, "fragility", text)
    return failed


_STAGES: dict[str, Callable[[grid.Options, Datasets], list[str]]] = {
    "table1": _table1,
    "table2": _table2,
    "table3": _table3,
    "table4": _table4,
    "figures": _figures,
    "protocols": _protocols,
    "fragility": _fragility,
}

# Looks into MGNM as the paper trains it.
_OF_THE_PAPER = ("table3", "figures")


def _make_table2_s_runs(options: grid.Options, datasets: Datasets) -> list[str]:
    return grid.make(options, _table2_s_runs(options, datasets))


def _table2_s_runs(options: grid.Options, datasets: Datasets) -> list[grid.GridRun]:
    models = grid.chosen(_MODELS.value, list(configs.MODEL_SETTINGS), "models")
    return [
        grid.GridRun(name, split, seed, model, variant)
        for name, split in datasets
        for seed in options.seeds
        for model, variant in grid.with_variants(options, models, name, split)
    ]


def _make_studies(
    options: grid.Options,
    datasets: Datasets,
    variants: Callable[[str], list[studies.Variant]],
) -> list[str]:
    runs = [
        grid.GridRun(name, split, seed, "mgnm", variant.name, variant.arguments)
        for name, split in datasets
        for seed in options.seeds
        for variant in variants(name)
    ]
    return grid.make(options, runs)


def _look_at_levels(options: grid.Options, datasets: Datasets) -> list[str]:
    """Figures 5 to 7 look into the full model's weights."""
    runs = [
        grid.GridRun(name, split, seed, "mgnm", studies.full(name).name)
        for name, split in datasets
        for seed in options.seeds
    ]
    return _look_into(
        options, runs, "levels", lambda run_dir: (run_dir / "levels").exists()
    )


def _look_into(
    options: grid.Options,
    runs: list[grid.GridRun],
    command: str,
    is_done: Callable[[Path], bool],
) -> list[str]:
    """Calls a command for finished runs that lack what it leaves in their folder.

    Args:
        options: of the grid.
        runs: those that are not finished have failed, which is said.
        command: of `experiments`; what it leaves has its name.
        is_done: whether a run's folder has it.
    """
    commands: dict[str, list[str] | None] = {}
    for run in runs:
        folder = run.folder(options)
        if not (folder / "passport.json").exists():
            continue
        line = [sys.executable, "-m", f"experiments.{command}"]
        line += [f"--run_dir={folder}", f"--data_dir={options.prepared_dir}"]
        commands[f"{folder}/{command}"] = None if is_done(folder) else line
    return grid.run_commands(commands)


def _show(options: grid.Options, name: str, text: str) -> None:
    paths = sorted(options.reports_dir.glob(f"{name}.*"))
    sys.stdout.write(f"\n{text}\nWritten: {', '.join(map(str, paths))}\n")


def main() -> None:
    what = flags.FLAGS.what
    if what != "all":
        reproduce(what)
    elif _RECIPE.value == configs.PAPER:
        reproduce(*_STAGES)
    else:
        reproduce(*(name for name in _STAGES if name not in _OF_THE_PAPER))


if __name__ == "__main__":
    # Here, since `reproduce_table2` has the other flags and not this one.
    flags.DEFINE_enum(
        "what", None, [*_STAGES, "all"], "What to reproduce.", required=True
    )
    command_line.run(main, stopped=STOPPED)
