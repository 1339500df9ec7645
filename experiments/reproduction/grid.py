"""A profile's data sets, and its runs, each in a process of its own."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import logging

from data.errors import UserError
from data.filters import Filters
from data.log_options import LogOptions
from experiments.reports.text import counted
from experiments.reproduction import forks, profiles
from harness import config, defaults, estimate, run_folder, run_manifest

if TYPE_CHECKING:
    from data.request import Request

# Seconds for which the estimates of a grid's runs count as if they had been kept: what
# the first short runs take says little of the others.
_TRUSTED = 60.0


@dataclasses.dataclass(frozen=True)
class Options:
    """What the commands that reproduce something have in common.

    Attributes:
        profile: a name of `profiles.PROFILES`.
        csv_dir: folder of CSV files, for the profile `folder`.
        prepared_dir, runs_dir, reports_dir: where data, runs and tables go.
        datasets: which of the profile's; None takes all.
        models: which of Table 2's; None takes all.
        num_seeds, max_epochs: instead of the profile's; None leaves them.
        recipe: of the runs; `runs_dir` and `reports_dir` are its own.
        at_once: how many runs are made at a time; None: `plan.at_once` decides.
        log, filters: how each log of the profile `folder` is read, and what is dropped.
        log_arguments: the flags that say so, as they were typed.
    """

    profile: str
    csv_dir: str | None
    prepared_dir: Path
    runs_dir: Path
    reports_dir: Path
    datasets: list[str] | None = None
    models: list[str] | None = None
    num_seeds: int | None = None
    max_epochs: int | None = None
    recipe: str = config.PAPER
    at_once: int | None = None
    log: LogOptions = dataclasses.field(default_factory=LogOptions)
    filters: Filters = dataclasses.field(default_factory=Filters)
    log_arguments: tuple[str, ...] = ()

    @property
    def readings(self) -> tuple[str, ...]:
        """Of MGNM, beside all models; the strong recipe has MGNM+ instead."""
        if self.recipe != config.PAPER:
            return ()
        return profiles.PROFILES[self.profile].readings

    @property
    def seeds(self) -> Iterable[int]:
        if self.num_seeds:
            return range(1, self.num_seeds + 1)
        return profiles.PROFILES[self.profile].seeds

    @property
    def about(self) -> str:
        """What a table says of its runs, and of what its numbers are for."""
        return profiles.about(
            self.profile, self.recipe, self.max_epochs, len([*self.seeds])
        )


@dataclasses.dataclass(frozen=True)
class GridRun:
    """One run of a grid; `arguments` are of the model's constructor."""

    dataset: str
    split: str
    seed: int
    model: str
    variant: str = "paper"
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)

    def folder(self, options: Options) -> Path:
        return Path(
            run_folder.run_dir(
                str(options.runs_dir),
                self.dataset,
                self.split,
                self.model,
                self.variant,
                self.seed,
            )
        )

    def command(self, options: Options) -> list[str]:
        """The module that makes the run, and its flags."""
        given: dict[str, Any] = {
            "model": self.model,
            "dataset": self.dataset,
            "split": self.split,
            "seed": self.seed,
            "run_dir": self.folder(options),
            "data_dir": options.prepared_dir,
            **self._changes(options),
        }
        flags = [f"--{key}={value}" for key, value in given.items()]
        flags += [f"--set={assignment}" for assignment in self._assignments()]
        return ["experiments.train", *flags]

    def is_finished(self, options: Options) -> bool:
        return run_manifest.is_finished(self.folder(options))

    def config(self, options: Options, data_sha256: str | None) -> config.Config:
        """That command's configuration, on data of this hash if it is known."""
        recipe_config = defaults.get_config(
            self.model,
            self.dataset,
            data_sha256=data_sha256,
            **self._changes(options),
        )
        return config.with_arguments(recipe_config, self._assignments())

    def identity(self, options: Options, data_sha256: str) -> dict[str, Any]:
        """What that command's run is known by, on data of this hash."""
        own = self.config(options, data_sha256)
        return run_folder.identity(own, self.seed, data_sha256)

    def _changes(self, options: Options) -> dict[str, Any]:
        changes = {**profiles.PROFILES[options.profile].changes}
        if options.max_epochs:
            changes["max_epochs"] = options.max_epochs
        if options.recipe != config.PAPER:
            changes["recipe"] = options.recipe
        if self.variant != "paper":
            changes["variant"] = self.variant
        return changes

    def _assignments(self) -> list[str]:
        return [f"{key}={value}" for key, value in self.arguments.items()]


def chosen(wanted: list[str] | None, known: list[str], flag: str) -> list[str]:
    """Those of the known names that a flag asks for, in their own order.

    Raises:
        UserError: if it asks for others.
    """
    unknown = sorted({*(wanted or [])} - {*known})
    if unknown:
        raise UserError(f"`--{flag}`: no {unknown}; there are {known}.")
    return [name for name in known if wanted is None or name in wanted]


def chosen_models(
    wanted: list[str] | None, readings: tuple[str, ...] = ()
) -> list[str]:
    """Registered models in their own order, then classes of one's own as asked for.

    Args:
        wanted: names; a reading of MGNM is `mgnm-<reading>`. None takes all models.
        readings: of MGNM, which stand beside all models.

    Raises:
        UserError: if a model is asked for that there is not.
    """
    own = [model for model in dict.fromkeys(wanted or []) if config.is_own(model)]
    for model in own:
        defaults.check_model(model)
    registered = [model for model in wanted or [] if model not in own]
    if wanted is not None:
        readings = tuple(defaults.READINGS)
    known = [*defaults.MODEL_SETTINGS, *(f"mgnm-{reading}" for reading in readings)]
    return [*chosen(None if wanted is None else registered, known, "models"), *own]


def wanted_data(
    options: Options,
) -> tuple[list[tuple[str, str]], dict[str, Path]]:
    """(name, split) of the data that the options ask for, and the logs among them.

    Raises:
        UserError: if an option names what there is not.
    """
    files: dict[str, Path] = {}
    wanted = list(profiles.PROFILES[options.profile].datasets)
    if profiles.PROFILES[options.profile].reads_folder:
        files = profiles.log_files(options.csv_dir)
        wanted = [
            (name, profiles.folder_split(name, files[name], options.log))
            for name in files
        ]
    names = chosen(options.datasets, [name for name, _ in wanted], "datasets")
    return [pair for pair in wanted if pair[0] in names], files


def prepare(options: Options) -> list[tuple[str, str]]:
    """Prepares what is not prepared yet; (name, split) of what is there then.

    Raises:
        UserError: if nothing is.
    """
    wanted, files = wanted_data(options)
    ready = []
    for name, split in wanted:
        if _is_prepared(options, name, split, files.get(name)):
            ready.append((name, split))
    if not ready:
        raise UserError("None of the profile's data sets could be prepared.")
    return ready


def asked_of(name: str, split: str, source: Path | None) -> dict[str, Any]:
    """What is asked of `data.prepare` for a data set, by the names of its flags.

    Args:
        name: of the result.
        split: its rule.
        source: a log of the profile `folder`; None where the data are known by name.
    """
    if source is None:
        return {"dataset": name, "split": split}
    known = defaults.KNOWN_FILES.get(name, {})
    own = {"source": source, "name": name, "split": split}
    return {"dataset": "csv", **known, **own}


def is_current(options: Options, name: str, split: str, source: Path | None) -> bool:
    """Whether what is prepared is what would be prepared now."""
    from data import build

    return build.is_current(_request(options, name, split, source))


def _request(options: Options, name: str, split: str, source: Path | None) -> Request:
    from data.request import Request

    return Request(
        **asked_of(name, split, source),
        data_dir=options.prepared_dir,
        options=options.log,
        filters=options.filters,
    )


def _is_prepared(options: Options, name: str, split: str, source: Path | None) -> bool:
    from data import build

    request = _request(options, name, split, source)
    if build.is_current(request):
        return True
    try:
        build.write(request)
    except UserError as error:
        if len(profiles.PROFILES[options.profile].datasets) == 1 or source is not None:
            raise
        logging.warning("%s is left out of the table: %s", name, error)
        return False
    return True


def is_prepared(options: Options, name: str, split: str) -> bool:
    return (options.prepared_dir / name / split / "meta.json").exists()


def with_variants(
    options: Options, models: list[str], name: str, split: str
) -> list[tuple[str, str]]:
    """The models that can run on a data set, with variants; the others are said.

    All of them, where the data are not prepared yet.
    """
    from data import prepared

    has_times = True
    if is_prepared(options, name, split):
        has_times = prepared.load(options.prepared_dir, name, split).has_times
    runs, left_out = [], []
    for model in models:
        base, _, reading = model.partition("-")
        if reading in defaults.READINGS:
            runs.append((base, reading))
        elif has_times or not _needs_times(model):
            runs.append((model, "paper"))
        elif model in defaults.WITHOUT_TIMES:
            runs.append((model, defaults.NO_TIMES))
        else:
            left_out.append(model)
    if left_out:
        logging.warning(
            "%s has no times, which %s needs: left out of its table.",
            name,
            ", ".join(left_out),
        )
    return runs


def _needs_times(model: str) -> bool:
    from harness.models import model_class  # Late, since it imports TensorFlow.

    return model_class(model, "paper").needs_times


def make(
    options: Options,
    runs: list[GridRun],
    expected: dict[str, float] | None = None,
    after_each: Callable[[int], None] | None = None,
    at_once: int = 1,
) -> list[str]:
    """Makes the runs that are not finished; returns the folders that failed.

    Args:
        options: of the grid.
        runs: in the order in which they are made.
        expected: seconds by which each makes the whole longer, by its folder, as
            estimated.
        after_each: is told, after a run that ended well, how many are left.
        at_once: how many are made at a time.

    Raises:
        UserError: if a folder holds a run of other data, or with other settings.
    """
    check_current(options, runs)
    commands = {
        str(run.folder(options)): run.command(options)
        for run in runs
        if not run.is_finished(options)
    }
    if len(commands) < len(runs):
        logging.info(
            "%d of %d runs are finished already.",
            len(runs) - len(commands),
            len(runs),
        )
    return run_commands(commands, expected, after_each, at_once)


def check_current(options: Options, runs: list[GridRun]) -> None:
    """Refuses folders whose runs are not those that are asked for.

    Raises:
        UserError: naming the first, and what is another in it.
    """
    from data import prepared

    hashes: dict[tuple[str, str], str] = {}
    others: dict[Path, list[str]] = {}
    for run in runs:
        folder, pair = run.folder(options), (run.dataset, run.split)
        if not (folder / run_folder.CONFIG).exists():
            continue
        if pair not in hashes:
            hashes[pair] = prepared.load(options.prepared_dir, *pair).meta["sha256"]
        wanted = run.identity(options, hashes[pair])
        names = run_folder.differences(folder, wanted)
        if names:
            others[folder] = names
    if others:
        folder, names = next(iter(others.items()))
        raise UserError(
            "Of other data or settings than are asked for: "
            f"{counted(len(others), 'run')} in {options.runs_dir}, such as {folder}, "
            f"which differs in {', '.join(names)}. Choose another --runs_dir "
            "(RUNS_DIR of make), or move or delete what is in the way; nothing was run."
        )


def run_commands(
    commands: dict[str, list[str]],
    expected: dict[str, float] | None = None,
    after_each: Callable[[int], None] | None = None,
    at_once: int = 1,
) -> list[str]:
    """Runs commands in their order, and says how far it has come.

    Args:
        commands: module and flags, by the name that is shown.
        expected: seconds by which each makes the whole longer, as estimated. None:
            all take as long.
        after_each: is told, after a command that ended well, how many are left.
        at_once: how many run at a time.

    Returns:
        The names of those that failed.
    """
    failed: list[str] = []
    names = [*commands]
    clock = Clock(
        {name: (expected or {}).get(name, 1.0) for name in names},
        at_once,
        _TRUSTED if expected else 0.0,
    )

    def started(name: str) -> None:
        number = names.index(name) + 1
        logging.info("Run %d of %d, %s: %s", number, len(names), clock.text(), name)
        clock.start(name)

    def ended(name: str, code: int) -> None:
        clock.end(name)
        if code:
            failed.append(name)
        elif after_each is not None:
            after_each(clock.num_left)

    forks.run_all(commands, at_once, started, ended)
    return failed


class Clock:
    """How long commands have taken, and what is left.

    What is left is estimated from the first command on, and corrected by how long
    those took that have ended or are under way.

    Args:
        expected: seconds by which each makes the whole longer, as estimated, by name.
        at_once: how many run at a time.
        trusted: seconds for which the estimates count as if they had been kept; 0
            where they are none, and nothing is said before one command has ended.
    """

    def __init__(
        self,
        expected: dict[str, float],
        at_once: int = 1,
        trusted: float = _TRUSTED,
    ) -> None:
        self._left = {**expected}
        self._at_once = at_once
        self._trusted = trusted
        self._done = 0.0  # seconds, as estimated
        self._began = time.monotonic()
        self._begun: dict[str, float] = {}  # of each that is under way

    @property
    def num_left(self) -> int:
        """How many have not ended."""
        return len(self._left)

    def start(self, name: str) -> None:
        self._begun[name] = time.monotonic()

    def end(self, name: str) -> None:
        self._done += self._left.pop(name)
        self._begun.pop(name, None)

    def text(self) -> str:
        """E.g. "2.5 min elapsed, about 7 min left"."""
        now = time.monotonic()
        elapsed = now - self._began
        text = f"{elapsed / 60:.1f} min elapsed"
        if not self._done + self._trusted:
            return text
        under_way = 0.0
        if self._trusted:
            under_way = sum(
                min(self._left[name], (now - begun) / self._at_once)
                for name, begun in self._begun.items()
            )
        pace = elapsed + self._trusted
        pace /= self._done + under_way + self._trusted
        left = pace * (sum(self._left.values()) - under_way)
        return f"{text}, about {estimate.spell(left)} left"
