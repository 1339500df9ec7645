"""What each table and figure needs: its runs, then its report."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path

from absl import logging

from data import sentences
from data.errors import UserError
from experiments.reproduction import grid, plan, profiles
from experiments.results import finished_runs
from experiments.results import variants as studies

Datasets = list[tuple[str, str]]


def _table1(options: grid.Options, datasets: Datasets) -> list[str]:
    from experiments.reports import table1

    _show(
        options,
        "table1",
        table1.write(options.reports_dir, options.prepared_dir, datasets),
    )
    return []


def _table2(options: grid.Options, datasets: Datasets) -> list[str]:
    failed = _make(
        options,
        table2_s_runs(options, datasets),
        after_each=lambda left: _grow_table2(options, datasets, left),
    )
    from experiments.reports import table2_text

    table = table2_text.write(
        *(options.reports_dir, options.runs_dir, datasets, options.about),
    )
    import tensorflow as tf

    folder = str(options.runs_dir / "table2")
    with tf.summary.create_file_writer(folder).as_default():
        tf.summary.text("table2", _without_html(table), step=0)
    _show(options, "table2", table)
    return failed


def _grow_table2(options: grid.Options, datasets: Datasets, left: int) -> None:
    """Writes the table of what is there, for whoever looks while the rest runs.

    Where it fails, this is said and the runs go on.
    """
    if not left:
        return
    try:
        _write_growing_table2(options, datasets, left)
    except Exception as error:  # Of any kind: the runs are worth more than this table.
        logging.warning(
            "The table so far was not written, and the runs go on: %s",
            error,
            exc_info=sentences.of(error) is None,  # A fault of the code shows where.
        )


def _write_growing_table2(options: grid.Options, datasets: Datasets, left: int) -> None:
    from experiments.reports import table2_text

    begun = [
        (name, split)
        for name, split in datasets
        if finished_runs.has_models_run(options.runs_dir, name, split)
    ]
    if not begun:
        return
    about = f"{options.about} This table grows: {left} runs are still to be made."
    table2_text.write(
        *(options.reports_dir, options.runs_dir, begun, about.strip()),
        skip_unfinished=True,
    )
    logging.info("The table so far: %s", options.reports_dir / "table2.html")


def _without_html(table: str) -> str:
    """TensorBoard's Markdown has no underline: italics take its place."""
    text = re.sub(r"</?u>", "_", table)
    return text.replace("underlined: second", "in italics: second")


def _table3(options: grid.Options, datasets: Datasets) -> list[str]:
    failed = _make(options, _table3_s_runs(options, datasets))
    from experiments.reports import table3

    text = table3.write(
        *(options.reports_dir, options.runs_dir, datasets, options.about),
    )
    _show(options, "table3", text)
    return failed


def _table4(options: grid.Options, datasets: Datasets) -> list[str]:
    # Its numbers are times: one run after the other, unless two are asked for.
    alone = dataclasses.replace(options, at_once=options.at_once or 1)
    failed = _make(alone, table2_s_runs(options, datasets))
    from experiments.reports import table4

    text = table4.write(options.reports_dir, options.runs_dir, datasets, options.about)
    _show(options, "table4", text)
    return failed


def _figures(options: grid.Options, datasets: Datasets) -> list[str]:
    failed = _make(options, _figures_runs(options, datasets))
    failed += _look_at_levels(options, datasets)
    from experiments.reproduction import figures

    written = figures.write(options.reports_dir, options.runs_dir, datasets)
    if not written:
        raise UserError(f"{options.runs_dir} holds no finished run of a figure.")
    sys.stdout.write(f"\nWritten: {', '.join(map(str, written))}\n")
    return failed


def _protocols(options: grid.Options, datasets: Datasets) -> list[str]:
    failed = _make(options, table2_s_runs(options, datasets))
    from experiments.reports.protocols import text as report_protocols

    text = report_protocols.write(
        options.reports_dir, options.runs_dir, datasets, options.about
    )
    _show(options, "protocols", text)
    return failed


def _fragility(options: grid.Options, datasets: Datasets) -> list[str]:
    runs = _fragility_s_runs(options, datasets)
    failed = _make(options, runs)
    from experiments.studies.fragility import measure, report

    failed += _look_into(
        options,
        runs,
        "experiments.fragility",
        lambda run_dir: measure.read_results(run_dir) is not None,
    )
    text = report.write(options.reports_dir, options.runs_dir, datasets, options.about)
    _show(options, "fragility", text)
    return failed


STAGES: dict[str, Callable[[grid.Options, Datasets], list[str]]] = {
    "table1": _table1,
    "table2": _table2,
    "table3": _table3,
    "table4": _table4,
    "figures": _figures,
    "protocols": _protocols,
    "fragility": _fragility,
}


# Rows that a reader looks for first; the others follow in the table's order.
_FIRST = ("mgnm", "popularity", "gru4rec")


def table2_s_runs(options: grid.Options, datasets: Datasets) -> list[grid.GridRun]:
    """The runs of Table 2 in the order in which they are made.

    Few models first, for a table soon; then the longest, so that of two runs at a time
    none is left alone for long at the end.
    """
    models = grid.chosen_models(options.models, options.readings)
    runs: list[grid.GridRun] = []
    for name, split in datasets:
        for seed in options.seeds:
            of_seed = [
                grid.GridRun(name, split, seed, model, variant)
                for model, variant in grid.with_variants(options, models, name, split)
            ]
            places = [(*_FIRST, run.model).index(run.model) for run in of_seed]
            shorter = [-seconds for seconds in plan.seconds(options, of_seed)]
            numbers = range(len(of_seed))  # Of equal ones the first stays first.
            runs += [of_seed[n] for _, _, n in sorted(zip(places, shorter, numbers))]
    return runs


def _table3_s_runs(options: grid.Options, datasets: Datasets) -> list[grid.GridRun]:
    return _studies_runs(
        options, datasets, lambda name: [*studies.table3(name).values()]
    )


def _figures_runs(options: grid.Options, datasets: Datasets) -> list[grid.GridRun]:
    profile = profiles.PROFILES[options.profile]

    def variants(name: str) -> list[studies.Variant]:
        by_layers = [studies.with_layers(name, count) for count in profile.layers]
        by_interests = [studies.with_interests(name, k) for k in profile.interests]
        return [studies.full(name), *by_layers, *by_interests]

    return _studies_runs(options, datasets, variants)


def _fragility_s_runs(options: grid.Options, datasets: Datasets) -> list[grid.GridRun]:
    if options.num_seeds is None:  # One seed of each model is enough.
        options = dataclasses.replace(options, num_seeds=1)
    return table2_s_runs(options, datasets)


def _no_runs(options: grid.Options, datasets: Datasets) -> list[grid.GridRun]:
    del options, datasets
    return []


# What each stage has to train, before it is trained.
RUNS: dict[str, Callable[[grid.Options, Datasets], list[grid.GridRun]]] = {
    "table1": _no_runs,
    "table2": table2_s_runs,
    "table3": _table3_s_runs,
    "table4": table2_s_runs,
    "figures": _figures_runs,
    "protocols": table2_s_runs,
    "fragility": _fragility_s_runs,
}


def _make(
    options: grid.Options,
    runs: list[grid.GridRun],
    after_each: Callable[[int], None] | None = None,
) -> list[str]:
    """As `grid.make`, with what each run is expected to take."""
    seconds = plan.seconds(options, runs)
    at_once = plan.at_once(options, runs)
    longer = plan.stretch(at_once)
    expected = {str(run.folder(options)): longer * s for run, s in zip(runs, seconds)}
    return grid.make(options, runs, expected, after_each, at_once)


def _studies_runs(
    options: grid.Options,
    datasets: Datasets,
    variants: Callable[[str], list[studies.Variant]],
) -> list[grid.GridRun]:
    return [
        grid.GridRun(name, split, seed, "mgnm", variant.name, variant.arguments)
        for name, split in datasets
        for seed in options.seeds
        for variant in variants(name)
    ]


def _look_at_levels(options: grid.Options, datasets: Datasets) -> list[str]:
    """Figures 5 to 7 look into the full model's weights."""
    runs = [
        grid.GridRun(name, split, seed, "mgnm", studies.full(name).name)
        for name, split in datasets
        for seed in options.seeds
    ]
    return _look_into(
        options,
        runs,
        "experiments.levels",
        lambda run_dir: (run_dir / "levels").exists(),
    )


def _look_into(
    options: grid.Options,
    runs: list[grid.GridRun],
    module: str,
    is_done: Callable[[Path], bool],
) -> list[str]:
    """Calls a command for finished runs that lack what it leaves in their folder.

    Args:
        options: of the grid.
        runs: those that are not finished have failed, which is said.
        module: of the command; what it leaves has the name's last part.
        is_done: whether a run's folder has it.
    """
    name = module.rsplit(".", 1)[-1]
    commands: dict[str, list[str]] = {}
    for run in runs:
        folder = run.folder(options)
        if run.is_finished(options) and not is_done(folder):
            flags = [f"--run_dir={folder}", f"--data_dir={options.prepared_dir}"]
            commands[f"{folder}/{name}"] = [module, *flags]
    return grid.run_commands(commands)


def _show(options: grid.Options, name: str, text: str) -> None:
    paths = sorted(options.reports_dir.glob(f"{name}.*"))
    sys.stdout.write(f"\n{text}\nWritten: {', '.join(map(str, paths))}\n")
