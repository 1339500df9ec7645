"""From a folder of runs to the finished ones' passports, and what to know of them."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from experiments.results import variants
from experiments.results.model_names import display_name, ordered
from harness import ledger
from harness.config import PAPER
from harness.defaults import NO_TIMES, RELEASED


def read_passports(
    runs_dir: Path, dataset: str, split: str
) -> dict[str, list[dict[str, Any]]]:
    """The finished runs of a data set by the name of their folder, one a seed.

    Each has its own folder under "folder".

    Raises:
        ValueError: if they were made from several data or candidates, or by several
            recipes.
    """
    found = defaultdict(list)
    for path in sorted((runs_dir / dataset / split).glob("*/seed-*/passport.json")):
        passport = json.loads(path.read_text())
        if passport["status"] == "complete":
            found[path.parent.parent.name].append({**passport, "folder": path.parent})
    every = [passport for runs in found.values() for passport in runs]
    for what, values in {
        "prepared data": {passport["data"]["sha256"] for passport in every},
        "candidate seeds": {passport["candidates"]["seed"] for passport in every},
        "recipes": {passport.get("recipe", PAPER) for passport in every},
    }.items():
        if len(values) > 1:
            raise ValueError(
                f"The runs in {runs_dir}/{dataset}/{split} have different {what}; they "
                "cannot share a table. Delete the ones that are out of date."
            )
    return {
        model: sorted(runs, key=lambda run: run["seed"])
        for model, runs in found.items()
    }


def models_passports(
    runs_dir: Path, dataset: str, split: str
) -> dict[str, list[dict[str, Any]]]:
    """Those of `read_passports` that belong in Table 2.

    All but the studies', and those that see labels through the batch.

    Raises:
        ValueError: if there is none.
    """
    found = read_passports(runs_dir, dataset, split)
    kept = {
        folder: runs
        for folder, runs in found.items()
        if not (variants.is_study(folder) or any(map(is_leaky, runs)))
    }
    if not kept:
        raise ValueError(f"{runs_dir}/{dataset}/{split} holds no finished run.")
    return kept


def is_leaky(run: dict[str, Any]) -> bool:
    """Whether a row's place in its batch, and so its label, reaches the network."""
    return run.get("leaky", False) or run.get("variant", "").startswith(RELEASED)


def left_out(runs_dir: Path, dataset: str, split: str) -> list[str]:
    """A sentence for each model of the data set that no table of results takes."""
    found = read_passports(runs_dir, dataset, split)
    return [
        f"{display_name(folder)} is left out: in the released computation a row's "
        "place in its batch, and so its label, reaches the network "
        "(docs/released_code.md). `python -m experiments.waterfall` measures it."
        for folder, runs in found.items()
        if any(map(is_leaky, runs))
    ]


def run_warnings(passports: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What a reader of these runs has to know."""
    every = [run for runs in passports.values() for run in runs]
    found = []
    commits = sorted({run["commit"][:12] for run in every})
    if len(commits) > 1:
        found.append(f"The runs come from several commits: {', '.join(commits)}.")
    machines = {json.dumps(run["machine"], sort_keys=True) for run in every}
    if len(machines) > 1:
        found.append("The runs come from several machines; costs do not compare.")
    seeds = {run["seed"] for run in every}
    for model in ordered(passports):
        missing = sorted(seeds - {run["seed"] for run in passports[model]})
        if missing:
            names = ", ".join(map(str, missing))
            found.append(f"{display_name(model)} lacks the seeds {names}.")
        looks = ledger.looks(passports[model][0]["folder"].parent)
        for run in passports[model]:
            trained_by = run["training"].get("commits", [])
            if len(trained_by) > 1:
                found.append(
                    f"{display_name(model)}, seed {run['seed']}: stopped and gone on "
                    "with by other code; the commits of its training: "
                    f"{', '.join(commit[:12] for commit in trained_by)}."
                )
            own = [look for look in looks if look["run"] == run["folder"].name]
            trainings = {look["weights_sha256"] for look in own}
            if len(trainings) > 1:
                found.append(
                    f"{display_name(model)}, seed {run['seed']}: the ledger says that "
                    f"the test instances were ranked for {len(trainings)} trainings."
                )
        if model.endswith(f"-{NO_TIMES}"):
            found.append(
                f"{display_name(model)}: the data has no times, which this model is "
                "made for; it runs with all of them zero."
            )
    return found


def to_jsonl(runs_dir: Path, dataset: str, split: str) -> str:
    """The passports of a data set, one a line: what its tables can be traced to."""
    found = read_passports(runs_dir, dataset, split)
    return "".join(
        json.dumps({key: value for key, value in run.items() if key != "folder"}) + "\n"
        for _, runs in sorted(found.items())
        for run in runs
    )
