"""Runs a grid of models, data sets and seeds, then writes Table 2.

Example: python -m experiments.reproduce_table2 --profile=quick

Finished runs are kept, so that the same command goes on after a stop, and adds to a
table what it lacks.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from experiments import configs

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
_MODELS = flags.DEFINE_list(
    "models", None, "Which models, by comma. Default: all of them."
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


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    logging.set_verbosity(logging.INFO)
    profile = configs.PROFILES[_PROFILE.value]
    try:
        models = _chosen(_MODELS.value, list(configs.MODEL_SETTINGS), "models")
        datasets = _prepare(profile)
        failed = _run_grid(profile, models, datasets)
        _write_table(datasets)
    except ValueError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped. The same command goes on from here.")
    if failed:
        sys.exit(f"error: {len(failed)} runs failed: {', '.join(failed)}")


def _chosen(wanted: list[str] | None, known: list[str], flag: str) -> list[str]:
    unknown = sorted({*(wanted or [])} - {*known})
    if unknown:
        raise ValueError(f"`--{flag}`: no {unknown}; there are {known}.")
    return [name for name in known if wanted is None or name in wanted]


def _prepare(profile: configs.Profile) -> list[tuple[str, str]]:
    """Prepares what is not prepared yet; (name, split) of what is there then."""
    files: dict[str, Path] = {}
    wanted = list(profile.datasets)
    if _PROFILE.value == "public":
        files = configs.csv_files(_DATA_DIR.value)
        wanted = [(name, configs.public_split(path)) for name, path in files.items()]
    names = _chosen(_DATASETS.value, [name for name, _ in wanted], "datasets")
    ready = []
    for name, split in wanted:
        if name in names and _is_prepared(name, split, files.get(name)):
            ready.append((name, split))
    if not ready:
        raise ValueError("None of the profile's data sets could be prepared.")
    return ready


def _is_prepared(name: str, split: str, source: Path | None) -> bool:
    if (Path(_PREPARED_DIR.value) / name / split / "meta.json").exists():
        return True
    from data.build import prepare

    arguments: dict[str, Any] = {"dataset": name, "split": split}
    if source is not None:
        known = configs.KNOWN_FILES.get(name, {})
        arguments = {"dataset": "csv", **known, "source": source, "name": name}
        arguments["split"] = split
    try:
        prepare(**arguments, data_dir=Path(_PREPARED_DIR.value))
    except ValueError as error:
        if len(configs.PROFILES[_PROFILE.value].datasets) == 1 or source is not None:
            raise
        logging.warning("%s is left out of the table: %s", name, error)
        return False
    return True


def _run_grid(
    profile: configs.Profile, models: list[str], datasets: list[tuple[str, str]]
) -> list[str]:
    """Makes every run in a process of its own; returns the folders that failed."""
    seeds = range(1, _SEEDS.value + 1) if _SEEDS.value else profile.seeds
    grid = [
        (name, split, seed, model, variant)
        for name, split in datasets
        for seed in seeds
        for model, variant in _with_variants(models, name, split)
    ]
    failed = []
    started = time.monotonic()
    for number, (name, split, seed, model, variant) in enumerate(grid, start=1):
        folder = configs.run_dir(_RUNS_DIR.value, name, split, model, variant, seed)
        minutes = (time.monotonic() - started) / 60
        logging.info("[%d/%d, %.1f min] %s", number, len(grid), minutes, folder)
        if (Path(folder) / "passport.json").exists():
            continue
        command = _command(profile, name, split, model, variant, seed, folder)
        if _run_to_end(command):
            failed.append(folder)
    return failed


def _with_variants(models: list[str], name: str, split: str) -> list[tuple[str, str]]:
    """The models that can run on a data set, with variants; the others are said."""
    from data import prepared
    from experiments.models import MODELS

    has_times = prepared.load(Path(_PREPARED_DIR.value), name, split).has_times
    runs, left_out = [], []
    for model in models:
        if has_times or not MODELS[model].needs_times:
            runs.append((model, "paper"))
        elif model in configs.WITHOUT_TIMES:
            runs.append((model, configs.NO_TIMES))
        else:
            left_out.append(model)
    if left_out:
        logging.warning(
            "%s has no times, which %s needs: left out of its table.",
            name,
            ", ".join(left_out),
        )
    return runs


def _run_to_end(command: list[str]) -> int:
    """The command's exit code. Ctrl-C reaches it too: it is given time to save."""
    with subprocess.Popen(command) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.wait()
            raise


def _command(
    profile: configs.Profile,
    name: str,
    split: str,
    model: str,
    variant: str,
    seed: int,
    folder: str,
) -> list[str]:
    """The command of one run: a process each, so that memory and seeds are its own."""
    changes = dict(profile.changes)
    if _MAX_EPOCHS.value:
        changes["max_epochs"] = _MAX_EPOCHS.value
    given = {
        "model": model,
        "dataset": name,
        "split": split,
        "seed": seed,
        "run_dir": folder,
        "data_dir": _PREPARED_DIR.value,
        **changes,
    }
    if variant == configs.NO_TIMES:
        given["variant"] = variant
    command = [sys.executable, "-m", "experiments.train"]
    return command + [f"--{key}={value}" for key, value in given.items()]


def _write_table(datasets: list[tuple[str, str]]) -> None:
    from experiments import report

    runs_dir, reports_dir = Path(_RUNS_DIR.value), Path(_REPORTS_DIR.value)
    table = report.write_report(reports_dir, runs_dir, datasets)
    import tensorflow as tf

    with tf.summary.create_file_writer(str(runs_dir / "table2")).as_default():
        tf.summary.text("table2", table, step=0)
    names = ", ".join(str(path) for path in sorted(reports_dir.glob("table2.*")))
    sys.stdout.write(f"\n{table}\nWritten: {names}\n")


if __name__ == "__main__":
    app.run(main)
