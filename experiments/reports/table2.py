"""From finished runs to Table 2: its cells, its caption, and what the runs took."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from experiments.reports.text import UNMARKED, counted, seeds_text, tested_text
from experiments.results import comparison, finished_runs
from experiments.results.comparison import Cell
from experiments.results.model_names import display_name, ordered
from harness import provenance
from harness.config import PAPER
from harness.passport import Data, Passport, Run, Runs

_SAMPLED = (
    "Ranking against sampled negatives is not ranking the catalogue, and can order "
    "models differently (Krichene & Rendle, KDD 2020): see `--candidates=full`."
)
_SAME_TIME = (
    "{:.0%} of the events have the time of the one before, as where times are whole "
    "days: which of them comes next is partly arbitrary."
)
_REPEATS = (
    "{:.0%} of the test targets are items that the user had before, and no other item "
    "of the past is a candidate: asking what a user had before goes far here. Where "
    "people take items again, prepare the data with `--keep_past`."
)
# From this share of events, or of test targets, on.
_MANY = 0.1
_SEES_LATER = "{} lets training see later events of other users (Ji et al., TOIS 2023)."
_SEE_LATER = ("leave_one_out", "per_user")
_FEW_SEEDS = (
    "A t-test over few seeds says nothing about other data, other splits or other "
    "tuning."
)


@dataclasses.dataclass(frozen=True)
class DatasetTable:
    """The rows of one data set; models in the paper's order, then ours.

    Attributes:
        dataset, split: which.
        by_model: the finished runs of each model, one run for each seed.
        cells: for each model and metric its mean, its spread and its marks.
        is_comparison: whether the runs are long enough to rank models by them; only
            then the cells are marked.
        is_papers_data: whether users and items are Table 1's.
        warnings: sentences that stand below the table, e.g. that seeds are missing.
    """

    dataset: str
    split: str
    by_model: Runs
    cells: dict[str, dict[str, Cell]]
    is_comparison: bool
    is_papers_data: bool
    warnings: list[str]


def make_table(
    runs_dir: Path, dataset: str, split: str, skip_unfinished: bool = False
) -> DatasetTable:
    """Reads the finished runs of a data set under `uni1000`, by instance.

    Args:
        runs_dir: where the runs are.
        dataset: the name of the data set.
        split: its split.
        skip_unfinished: as for `finished_runs.read_runs`.

    Raises:
        UserError: if there is none, or they were made from other data or candidates.
    """
    read = finished_runs.read_runs(runs_dir, dataset, split, skip_unfinished)
    by_model = finished_runs.of_models(read, runs_dir / dataset / split)
    every = [run for runs in by_model.values() for run in runs]
    is_comparison = comparison.is_comparison(by_model)
    return DatasetTable(
        dataset=dataset,
        split=split,
        by_model=by_model,
        cells=(comparison.compare if is_comparison else comparison.unmarked)(by_model),
        is_comparison=is_comparison,
        is_papers_data=every[0].passport["data"].get("matches_table1", False),
        warnings=[
            *finished_runs.run_warnings(by_model),
            *finished_runs.left_out(read),
        ],
    )


def weaknesses(table: DatasetTable) -> list[str]:
    """Sentences on what the protocol hides, those that apply to this table."""
    sentences = [_SAMPLED]
    same = _first(table)["data"].get("same_time_share") or 0.0
    if same >= _MANY:
        sentences.append(_SAME_TIME.format(same))
    repeats = _repeated_targets(_first(table)["data"])
    if repeats >= _MANY:
        sentences.append(_REPEATS.format(repeats))
    if table.split in _SEE_LATER:
        sentences.append(_SEES_LATER.format(table.split))
    if table.is_comparison and len(_seeds(table)) > 1:
        sentences.append(_FEW_SEEDS)
    return sentences


def _repeated_targets(data: Data) -> float:
    """The share of the test targets, 0 where data of an older version do not tell."""
    if data.get("keeps_past"):
        return 0.0
    log = data.get("log") or {}
    return log.get("repeated_test_targets", 0) / max(log.get("test_targets", 0), 1)


def _first(table: DatasetTable) -> Passport:
    return next(iter(table.by_model.values()))[0].passport


def _seeds(table: DatasetTable) -> set[int]:
    return {run.seed for runs in table.by_model.values() for run in runs}


def title(table: DatasetTable) -> str:
    return f"{table.dataset}, {table.split}, uni1000"


def caption(table: DatasetTable) -> str:
    """What was measured, on what, by which code."""
    first, seeds = _first(table), _seeds(table)
    data, machine = first["data"], first["machine"]
    text = (
        f"{data['users']:,} users, {data['items']:,} items, {data['interactions']:,} "
        f"interactions{_source_text(first)}; {tested_text(first)}, each ranked "
        f"against up to 1,000 uniformly drawn negatives; {seeds_text(seeds)}. Split: "
        f"{first['config']['split_rule']}. {_marks_text(table)} "
        f"Commit {provenance.short(first['commit'])}, {machine['cpu']}, "
        f"{counted(machine['cores'], 'core')}. {_recipe_text(first)}"
    )
    if not table.is_papers_data:
        text += (
            " These are not the paper's data: the numbers are not comparable with its "
            "Table 2."
        )
    return text


def _marks_text(table: DatasetTable) -> str:
    if not table.is_comparison:
        return UNMARKED
    marks = (
        "* the best is better by a paired t-test over seeds, † by a paired bootstrap "
        "over users (both p < 0.05, Holm-corrected over the models of the column)"
        if len(_seeds(table)) > 1
        else "† the best is better by a paired bootstrap over users (p < 0.05, "
        "Holm-corrected over the models of the column)"
    )
    return f"Bold: best, underlined: second. {marks}."


def _source_text(passport: Passport) -> str:
    source = passport["data"].get("source")
    return f", read from {source}" if source else ""


def _recipe_text(passport: Passport) -> str:
    recipe = passport.get("recipe", PAPER)
    whose = "the paper's own" if recipe == PAPER else "not the paper's"
    return f"Recipe: {recipe}, {whose} (docs/recipe.md)."


def costs(table: DatasetTable) -> list[list[str]]:
    """What each model took: means over seeds, a header row first."""
    heads = [
        "model",
        "parameters",
        "epochs (best) of budget",
        "stopped because",
        "s per epoch",
    ]
    rows = [[*heads, "positives/s", "ranked/s", "peak MB"]]
    for model in ordered(table.by_model):
        rows.append([display_name(model), *_cost(table.by_model[model])])
    return rows


def _cost(runs: list[Run]) -> list[str]:
    trained = [run.passport["training"] for run in runs]
    epochs = np.mean([one["epochs"] for one in trained])
    best = np.mean([one["best_epoch"] for one in trained])
    seconds = np.mean([one["seconds"] / max(one["epochs"], 1) for one in trained])
    speeds = [one["positives_per_s"] for one in trained if one["positives_per_s"]]
    ranked = np.mean([run.passport["evaluation"]["instances_per_s"] for run in runs])
    memory = np.max([run.passport["peak_memory_mb"] for run in runs])
    reasons = sorted({one["stopped_because"] for one in trained})
    budget = trained[0]["max_epochs"]
    return [
        f"{trained[0]['parameters']:,}",
        f"{epochs:.3g} ({best:.3g}) of {budget}" if budget else "–",
        "; ".join(reasons),
        f"{seconds:.1f}" if budget else "–",
        f"{np.mean(speeds):,.0f}" if speeds else "–",
        f"{ranked:,.0f}",
        f"{memory:,.0f}",
    ]
