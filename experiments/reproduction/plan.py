"""What a grid has to do before it does it: its runs, and what they are to take."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from data import prepared
from data.errors import UserError
from data.registry import DATASETS
from experiments.reports.text import counted
from experiments.reproduction import grid
from harness import estimate, provenance
from harness.config import PAPER
from harness.estimate import Cost, Size

# Sizes of the profiles' data that are known before they are there. As released: the
# paper's Table 1, and the instances that Table 4's iterations of 42 positives amount to
# (docs/REPRODUCTION.md); the others were counted.
_PAPERS = 42 / 0.7
_KNOWN = {
    ("ml-100k", "global_time"): Size(943, 1_574, 57_102, 8_159, 16_316, 60.0),
    ("toys-5core", "leave_one_out"): Size(19_412, 11_924, 109_361, 19_412, 19_412, 4.8),
    ("toys", "as_released"): Size(313_557, 241_657, 554_484, 79_212, 158_424, 6.6),
    ("instruments", "as_released"): Size(60_739, 56_301, 99_540, 14_220, 28_440, 5.0),
    ("micro_video", "by_date"): Size(60_813, 292_286, 643_062, 91_866, 183_732, 100.0),
}
# Of NVIDIA and of AMD, where Linux has a driver for one.
_GPUS = ("/dev/nvidia0", "/dev/kfd")
# Of the machine's, for the runs that are made at a time.
_MEMORY_SHARE = 0.7
# A grid that makes two runs at a time takes this many times the sum of what its runs
# are estimated to take alone. Measured: the quick profile took 360 s for 281 at commit
# ec0d79a, and 518 s for 337 at ea496bf (docs/performance_history.md). Two runs share
# the cores, and a short run does more beside its steps than the bench does.
_SIDE_BY_SIDE_STRETCH = 1.4
# Of the two candidate sets that are kept beside prepared data: 1,000 ids of 4 bytes.
_CANDIDATES_MB = 2 * 1_000 * 4e-6


def size_of(options: grid.Options, name: str, split: str) -> Size | None:
    """The size of a data set, counted where it is prepared; None if nobody knows."""
    if not grid.is_prepared(options, name, split):
        return _KNOWN.get((name, split))
    return Size.of(prepared.load(options.prepared_dir, name, split))


def costs(options: grid.Options, runs: list[grid.GridRun]) -> list[Cost | None]:
    """What each run is to take; None on data whose size nobody knows."""
    sizes = {
        pair: size_of(options, *pair)
        for pair in {(run.dataset, run.split) for run in runs}
    }
    estimates: list[Cost | None] = []
    for run in runs:
        size = sizes[run.dataset, run.split]
        config = run.config(options, data_sha256=None)
        estimates.append(None if size is None else estimate.of_run(config, size))
    return estimates


def seconds(options: grid.Options, runs: list[grid.GridRun]) -> list[float]:
    """Of each run alone; the same for all that cannot be estimated."""
    return [cost.seconds if cost else 60.0 for cost in costs(options, runs)]


def stretch(count: int) -> float:
    """By how much a run that takes a second alone makes its grid longer, in seconds.

    `count` is how many runs are made at a time.
    """
    return 1.0 if count == 1 else _SIDE_BY_SIDE_STRETCH


def at_once(options: grid.Options, runs: list[grid.GridRun]) -> int:
    """How many runs are made at a time, unless the options say it.

    Two, where there are two cores or more and memory for the two largest: a run alone
    leaves a part of the cores idle (docs/performance.md). One, where runs share a GPU
    or the memory that one takes is not known.
    """
    if options.at_once is not None:
        return options.at_once
    has_gpu = any(Path(name).exists() for name in _GPUS)
    if has_gpu or provenance.cores() < provenance.SIDE_BY_SIDE:
        return 1
    found = costs(options, runs)
    known = [cost for cost in found if cost is not None]
    if len(known) < len(found):
        return 1
    needed = memory_mb(known, provenance.SIDE_BY_SIDE)
    fits = needed <= _MEMORY_SHARE * provenance.memory_mb()
    return provenance.SIDE_BY_SIDE if fits else 1


def memory_mb(runs: list[Cost], count: int) -> float:
    """What the largest runs take together, of which so many are made at a time."""
    return sum(sorted(run.memory_mb for run in runs)[-count:])


def text(options: grid.Options, runs: list[grid.GridRun]) -> str:
    """The runs, which of them are finished, and what the others are to take."""
    datasets, files = grid.wanted_data(options)
    lines = ["A plan: nothing is downloaded, prepared or trained.", "", "Data:"]
    for name, split in datasets:
        lines.append(f"  {name}, {split}: {_state(options, name, split, files)}")
    absent = {pair for pair in datasets if _cannot_be_had(options, *pair, files)}
    runs = [run for run in runs if (run.dataset, run.split) not in absent]
    by_folder = {str(run.folder(options)): run for run in runs}  # A study's may repeat.
    cost_of = dict(zip(by_folder, costs(options, [*by_folder.values()])))
    left = []
    lines += ["", "Runs:"]
    for folder, run in by_folder.items():
        if run.is_finished(options):
            lines.append(f"  {folder}: finished")
            continue
        left.append(cost_of[folder])
        lines.append(f"  {folder}: {_spelled(cost_of[folder])}")
    done = len(by_folder) - len(left)
    lines += ["", f"{len(by_folder)} runs: {done} finished, {len(left)} left."]
    if absent:
        names = ", ".join(name for name, _ in sorted(absent))
        lines.append(f"No runs of {names}: there are no data, and no table of them.")
    here = [pair for pair in datasets if pair not in absent]
    for name, split in here:
        if size_of(options, name, split) is None:
            lines.append(_how_to_size(options, name, split, files))
    lines += _totals(options, left, here, runs)
    ready = {pair for pair in here if grid.is_prepared(options, *pair)}
    try:
        grid.check_current(
            options, [run for run in runs if (run.dataset, run.split) in ready]
        )
    except UserError as error:
        lines += ["", f"As it is, the command will stop. {error}"]
    return "\n".join(lines) + "\n"


def _cannot_be_had(
    options: grid.Options, name: str, split: str, files: dict[str, Path]
) -> bool:
    if grid.is_prepared(options, name, split) or name in files:
        return False
    return DATASETS[name].fetch is None and DATASETS[name].release is None


def _state(options: grid.Options, name: str, split: str, files: dict[str, Path]) -> str:
    if grid.is_prepared(options, name, split):
        state = "prepared"
        if name in files and not grid.is_current(options, name, split, files[name]):
            state = f"to be prepared again from {files[name]}; as it is"
    elif name in files:
        state = f"to be prepared from {files[name]}"
    elif _cannot_be_had(options, name, split, files):
        state = "not published: prepare it from a file of your own"
    else:
        state = "to be downloaded and prepared"
    size = size_of(options, name, split)
    if size is None:
        return f"{state}; its size is not known before"
    return (
        f"{state}; {size.users:,} users, {size.items:,} items, "
        f"{size.train:,} training and {size.test:,} test instances"
    )


def _how_to_size(
    options: grid.Options, name: str, split: str, files: dict[str, Path]
) -> str:
    asked = grid.asked_of(name, split, files.get(name))
    given = [f"--{flag}={value}" for flag, value in asked.items()]
    given += [*options.log_arguments, f"--data_dir={options.prepared_dir}"]
    return (
        f"Runs of {name} can be estimated when its size is known. This prepares it: "
        f"{shlex.join(['python', '-m', 'data.prepare', *given])}"
    )


def _spelled(cost: Cost | None) -> str:
    if cost is None:
        return "no estimate"
    return (
        f"about {estimate.spell(cost.seconds)}, {_spell_mb(cost.memory_mb)} of memory, "
        f"{_spell_mb(cost.disk_mb)} on disk"
    )


def _totals(
    options: grid.Options,
    left: list[Cost | None],
    datasets: list[tuple[str, str]],
    runs: list[grid.GridRun],
) -> list[str]:
    """Sentences on all that is left."""
    known = [cost for cost in left if cost is not None]
    if not known:
        return []
    sizes = [size_of(options, *pair) for pair in datasets]
    drawn = sum(_CANDIDATES_MB * (size.test + size.valid) for size in sizes if size)
    disk = sum(cost.disk_mb for cost in known) + drawn
    root = next(
        path for path in (options.runs_dir, *options.runs_dir.parents) if path.exists()
    )
    free = shutil.disk_usage(root).free / 1e6
    count = at_once(options, [run for run in runs if not run.is_finished(options)])
    total = estimate.spell(stretch(count) * sum(cost.seconds for cost in known))
    lines = [
        f"What is left takes about {total} on idle cores, if every run uses its whole "
        f"budget of epochs, {_spell_mb(memory_mb(known, count))} of "
        f"memory, and {_spell_mb(disk)} on disk ({_spell_mb(drawn)} of it candidates; "
        f"{_spell_mb(free)} are free).",
        f"These are estimates from rates measured on {estimate.machine()} "
        "(docs/performance.md); a run of another length or width is interpolated.",
    ]
    if count > 1:
        lines.append(
            f"{count} runs are made at a time (--at_once), each on its share of the "
            f"cores: {stretch(count)} times the time of the runs alone, which stands "
            "above, as measured on the quick profile."
        )
    if len(known) < len(left):
        lines.append(
            f"{counted(len(left) - len(known), 'run')} without an estimate: not in it."
        )
    if options.recipe != PAPER:
        lines.append(
            f"The rates are of the paper's recipe: with --recipe={options.recipe} a "
            "step has more negatives and takes longer."
        )
    if disk > free:
        lines.append("The disk is too small for all of it.")
    return lines


def _spell_mb(megabytes: float) -> str:
    if megabytes >= 1_000:
        return f"{megabytes / 1_000:.1f} GB"
    return f"{megabytes:.0f} MB"
