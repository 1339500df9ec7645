"""From a folder of runs to the finished ones, and what to know of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data import locks
from data.errors import UserError
from experiments.results import variants
from experiments.results.model_names import display_name, ordered
from harness import ledger, passport, provenance, run_folder, run_manifest
from harness.config import PAPER
from harness.defaults import NO_TIMES, RELEASED
from harness.metrics import TIE_LIMIT
from harness.passport import Run, Runs


def read_runs(
    runs_dir: Path, dataset: str, split: str, skip_unfinished: bool = False
) -> Runs:
    """The finished runs of a data set by the name of their folder, one a seed.

    Args:
        runs_dir: where the runs are.
        dataset: the name of the data set.
        split: its split.
        skip_unfinished: whether a run that has a passport, but no manifest is skipped
            instead of refused. While a grid is being trained, a run stands so for a
            moment before it is finished.

    Raises:
        UserError: if they were made from several data or candidates, or by several
            recipes, or one of them is damaged.
    """
    by_model = defaultdict(list)
    for folder in run_manifest.folders(runs_dir / dataset / split, "*/seed-*"):
        if not run_manifest.is_finished(folder):
            if skip_unfinished:
                continue
            raise UserError(
                f"{folder} has a passport, but no manifest: it was stopped while it "
                "was being finished, or is damaged. The command that trained it "
                "finishes it."
            )
        run_manifest.check(folder, run_manifest.OF_REPORTS)
        run = passport.read(folder)
        # Of a model that was trained on the test instances too there is no metric.
        if run.passport["status"] == "complete" and not passport.is_refit(run):
            by_model[folder.parent.name].append(run)
    every = [run.passport for runs in by_model.values() for run in runs]
    differing: dict[str, set[Any]] = {
        "prepared data": {one["data"]["sha256"] for one in every},
        "candidate seeds": {one["candidates"]["seed"] for one in every},
        "recipes": {one.get("recipe", PAPER) for one in every},
    }
    for what, values in differing.items():
        if len(values) > 1:
            raise UserError(
                f"The runs in {runs_dir}/{dataset}/{split} have different {what}; they "
                "cannot share a table. Delete the ones that are out of date."
            )
    return {
        model: sorted(runs, key=lambda run: run.seed)
        for model, runs in by_model.items()
    }


def models_runs(runs_dir: Path, dataset: str, split: str) -> Runs:
    """The runs of `read_runs` that belong in Table 2, see `of_models`."""
    return of_models(read_runs(runs_dir, dataset, split), runs_dir / dataset / split)


def of_models(every: Runs, folder: Path) -> Runs:
    """Those of a folder's runs that belong in Table 2.

    Left out are the studies' runs, and models that see labels through the batch.

    Raises:
        UserError: if there is none.
    """
    kept = {model: runs for model, runs in every.items() if _is_of_table2(model, runs)}
    if not kept:
        raise UserError(f"{folder} holds no finished run.")
    return kept


def has_models_run(runs_dir: Path, dataset: str, split: str) -> bool:
    """Whether one run of Table 2 is finished; others may still be trained."""
    every = read_runs(runs_dir, dataset, split, skip_unfinished=True)
    return any(_is_of_table2(model, runs) for model, runs in every.items())


def _is_of_table2(folder: str, runs: Sequence[Run]) -> bool:
    return not (variants.is_study(folder) or any(map(is_leaky, runs)))


def is_leaky(run: Run) -> bool:
    """Whether a row's place in its batch, and so its label, reaches the network."""
    variant = run.passport["variant"]
    return run.passport.get("leaky", False) or variant.startswith(RELEASED)


def left_out(every: Runs) -> list[str]:
    """A sentence for each model of `read_runs` that no table of results takes."""
    return [
        f"{display_name(folder)} is left out: in the released computation a row's "
        "place in its batch, and so its label, reaches the network "
        "(docs/released_code.md). `python -m experiments.waterfall` measures it."
        for folder, runs in every.items()
        if any(map(is_leaky, runs))
    ]


_HARDWARE = ("cpu", "memory_gb", "gpu")


def run_warnings(by_model: Mapping[str, Sequence[Run]]) -> list[str]:
    """What a reader of these runs has to know."""
    every = [run for runs in by_model.values() for run in runs]
    warnings = []
    edited = sum(run.passport["commit"].endswith(provenance.DIRTY) for run in every)
    if edited:
        warnings.append(
            f"{edited} of {len(every)} runs were made by code that differs from its "
            f'commit, marked "{provenance.DIRTY}".'
        )
    unknown = sum(not run_manifest.can_check(run.folder) for run in every)
    if unknown:
        warnings.append(
            f"{unknown} of {len(every)} runs are of a version without manifests: "
            "whether their passports and ranks are as they were written cannot be told."
        )
    commits = sorted({provenance.short(run.passport["commit"]) for run in every})
    if len(commits) > 1:
        warnings.append(f"The runs come from several commits: {', '.join(commits)}.")
    machines = [run.passport["machine"] for run in every]
    if len({tuple(machine[key] for key in _HARDWARE) for machine in machines}) > 1:
        warnings.append("The runs come from several machines; costs do not compare.")
    elif len({json.dumps(machine, sort_keys=True) for machine in machines}) > 1:
        warnings.append(
            "The runs had unlike shares of one machine (cores, threads, runs at a "
            "time); costs do not compare."
        )
    budgets = sorted({run.passport["training"]["max_epochs"] for run in every} - {0})
    if len(budgets) > 1:
        warnings.append(
            f"The runs have several budgets: {', '.join(map(str, budgets))} epochs."
        )
    warnings += _unfinished(every)
    seeds = {run.seed for run in every}
    for model in ordered(by_model):
        missing = sorted(seeds - {run.seed for run in by_model[model]})
        if missing:
            names = ", ".join(map(str, missing))
            warnings.append(f"{display_name(model)} lacks the seeds {names}.")
        looks = ledger.looks(by_model[model][0].folder.parent)
        for run in by_model[model]:
            warnings += _of_run(model, run, looks)
        warnings += _ties(model, by_model[model])
        if model.endswith(f"-{NO_TIMES}"):
            warnings.append(
                f"{display_name(model)}: the data has no times, which this model is "
                "made for; it runs with all of them zero."
            )
    return warnings


def _of_run(model: str, run: Run, looks: list[dict[str, Any]]) -> list[str]:
    """What a reader has to know of one run.

    Args:
        model: the name of the folder that holds the model's runs.
        run: one of them.
        looks: the ledger's lines on all of them.
    """
    name = f"{display_name(model)}, seed {run.seed}"
    warnings = []
    trained_by = run.passport["training"].get("commits", [])
    if len(trained_by) > 1:
        warnings.append(
            f"{name}: stopped and gone on with by other code; the commits of its "
            f"training: {', '.join(map(provenance.short, trained_by))}."
        )
    versions = run.passport["training"].get("tensorflow", [])
    if len(versions) > 1:
        warnings.append(
            f"{name}: stopped and gone on with under another TensorFlow; its versions: "
            f"{', '.join(versions)}."
        )
    if run_manifest.lacks_look(run.folder):
        warnings.append(
            f"{name}: lines of the ledger that were there when the run was finished "
            "are gone, so that how often its test instances were ranked cannot be told."
        )
    own = [look for look in looks if look["run"] == run.folder.name]
    trainings = {look["weights_sha256"] for look in own}
    if len(trainings) > 1:
        warnings.append(
            f"{name}: the ledger says that the test instances were ranked for "
            f"{len(trainings)} trainings."
        )
    return warnings


def _unfinished(runs: list[Run]) -> list[str]:
    """A sentence for each run beside these that has begun and not ended."""
    root = runs[0].folder.parents[1]
    return [
        f"{display_name(path.parents[1].name)}, {path.parent.name}: "
        f"{_why_not(path.parent)}, and so not in this table."
        for path in sorted(root.glob(f"*/seed-*/{run_folder.CONFIG}"))
        if not run_manifest.is_finished(path.parent)
        and not variants.is_study(path.parents[1].name)
    ]


def _why_not(run_dir: Path) -> str:
    return "still under way" if locks.is_being_written(run_dir) else "failed or stopped"


def _ties(model: str, runs: Sequence[Run]) -> list[str]:
    """A sentence where ties of a model that counts decide its ranks."""
    gaps: dict[str, float] = {}
    for run in runs:
        for protocol, gap in run.passport.get("ties", {}).items():
            gaps[protocol] = max(gap, gaps.get(protocol, 0.0))
    worst = max(gaps, key=lambda name: gaps[name], default="")
    if not worst or gaps[worst] <= TIE_LIMIT:
        return []
    return [
        f"{display_name(model)}: its scores tie, as counts do, and ties count against "
        f"it. NDCG@5 under {worst} would be up to {gaps[worst]:.4f} higher if they "
        "went its way; ranks.parquet has both ranks."
    ]


def to_jsonl(runs_dir: Path, dataset: str, split: str) -> str:
    """The passports of a data set's runs, one a line: its tables trace to them."""
    by_model = read_runs(runs_dir, dataset, split)
    return "".join(
        json.dumps(run.passport) + "\n"
        for _, runs in sorted(by_model.items())
        for run in runs
    )
