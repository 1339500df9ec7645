"""What each table and figure needs: its runs, then its report."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path

from data.errors import UserError
from experiments.reproduction import grid, profiles
from experiments.results import variants as studies
from harness import run_folder

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
    failed = _make_table2_s_runs(options, datasets)
    from experiments.reports import table2_text

    table = table2_text.write(
        options.reports_dir, options.runs_dir, datasets, options.about
    )
    import tensorflow as tf

    folder = str(options.runs_dir / "table2")
    with tf.summary.create_file_writer(folder).as_default():
        tf.summary.text("table2", _without_html(table), step=0)
    _show(options, "table2", table)
    return failed


def _without_html(table: str) -> str:
    """TensorBoard's Markdown has no underline: italics take its place."""
    text = re.sub(r"</?u>", "_", table)
    return text.replace("underlined: second", "in italics: second")


def _table3(options: grid.Options, datasets: Datasets) -> list[str]:
    failed = _make_studies(
        options, datasets, lambda name: [*studies.table3(name).values()]
    )
    from experiments.reports import table3

    text = table3.write(options.reports_dir, options.runs_dir, datasets, options.about)
    _show(options, "table3", text)
    return failed


def _table4(options: grid.Options, datasets: Datasets) -> list[str]:
    failed = _make_table2_s_runs(options, datasets)
    from experiments.reports import table4

    text = table4.write(options.reports_dir, options.runs_dir, datasets, options.about)
    _show(options, "table4", text)
    return failed


def _figures(options: grid.Options, datasets: Datasets) -> list[str]:
    profile = profiles.PROFILES[options.profile]

    def variants(name: str) -> list[studies.Variant]:
        by_layers = [studies.with_layers(name, count) for count in profile.layers]
        by_interests = [studies.with_interests(name, k) for k in profile.interests]
        return [studies.full(name), *by_layers, *by_interests]

    failed = _make_studies(options, datasets, variants)
    failed += _look_at_levels(options, datasets)
    from experiments.reproduction import figures

    written = figures.write(options.reports_dir, options.runs_dir, datasets)
    if not written:
        raise UserError(f"{options.runs_dir} holds no finished run of a figure.")
    sys.stdout.write(f"\nWritten: {', '.join(map(str, written))}\n")
    return failed


def _protocols(options: grid.Options, datasets: Datasets) -> list[str]:
    failed = _make_table2_s_runs(options, datasets)
    from experiments.reports.protocols import text as report_protocols

    text = report_protocols.write(
        options.reports_dir, options.runs_dir, datasets, options.about
    )
    _show(options, "protocols", text)
    return failed


def _fragility(options: grid.Options, datasets: Datasets) -> list[str]:
    if options.num_seeds is None:  # One seed of each model is enough.
        options = dataclasses.replace(options, num_seeds=1)
    failed = _make_table2_s_runs(options, datasets)
    from experiments.studies.fragility import measure, report

    runs = _table2_s_runs(options, datasets)
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


def _make_table2_s_runs(options: grid.Options, datasets: Datasets) -> list[str]:
    return grid.make(options, _table2_s_runs(options, datasets))


def _table2_s_runs(options: grid.Options, datasets: Datasets) -> list[grid.GridRun]:
    models = grid.chosen_models(options.models, options.readings)
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
    commands: dict[str, list[str] | None] = {}
    for run in runs:
        folder = run.folder(options)
        if not (folder / run_folder.PASSPORT).exists():
            continue
        line = [sys.executable, "-m", module]
        line += [f"--run_dir={folder}", f"--data_dir={options.prepared_dir}"]
        name = module.rsplit(".", 1)[-1]
        commands[f"{folder}/{name}"] = None if is_done(folder) else line
    return grid.run_commands(commands)


def _show(options: grid.Options, name: str, text: str) -> None:
    paths = sorted(options.reports_dir.glob(f"{name}.*"))
    sys.stdout.write(f"\n{text}\nWritten: {', '.join(map(str, paths))}\n")
