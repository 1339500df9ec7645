"""Hyper-parameters of every model, and the profiles of `make`. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

# Logs of `experiments.tune`, <data set>/<model>.jsonl, whose best trials are used.
TUNED_DIR = Path(__file__).parent / "tuned"

# Candidate sets are drawn once for a table: every model and seed ranks the same.
CANDIDATE_SEED = 2022


# How models are trained: "paper" as the paper says, with all that it leaves open chosen
# by validation; "strong" as the field trains today. docs/recipe.md describes both.
PAPER, STRONG = RECIPES = ("paper", "strong")

SCHEDULES = ("cosine", "constant")
STRATEGIES = ("none", "mirrored", "multi_worker")


@dataclasses.dataclass(frozen=True)
class Config:
    """One run, but for its data and its seed.

    Attributes:
        model: a name of `MODEL_SETTINGS`.
        arguments: of the model's constructor, beyond vocabularies and history.
        recipe: of `RECIPES`; runs of several never share a folder or a table.
        variant: "paper", or the name under which departures are kept apart.
        max_history: m; older events are not shown to the model.
        batch_size: positives a batch.
        num_negatives: in training; of each positive by itself under the objective
            "cross_entropy", shared by the positives of a batch under the others.
        objective: a name of `mgnm_tf.objectives.OBJECTIVES`.
        calibration: t of the objective "gbce".
        learning_rate: of LazyAdam, at the start.
        schedule: of the learning rate; "cosine" takes it to zero along half a cosine
            over the budget, "constant" keeps it.
        l2: weight of the L2 penalty, the paper's theta_2, in the sum of Eq. 16.
        max_epochs: the budget.
        patience: epochs without a better validation metric before stopping.
        selection_metric: of validation, under uni1000; the best epoch is kept.
        valid_instances: a seeded sample of validation instances ranked after each
            epoch; None ranks all. Final metrics are always over all.
        candidate_seed: of the candidate sets.
        mixed_precision: float16 compute, float32 weights; for GPUs.
        jit_compile: the train step through XLA.
        deterministic: deterministic kernels where TensorFlow has others.
        strategy: of `tf.distribute`; a batch is shared among the replicas.
    """

    model: str
    arguments: dict[str, Any]
    recipe: str = PAPER
    variant: str = "paper"
    max_history: int = 100
    batch_size: int = 256
    num_negatives: int = 5
    objective: str = "cross_entropy"
    calibration: float = 0.75
    learning_rate: float = 2e-2
    schedule: str = "cosine"
    l2: float = 2e-2
    max_epochs: int = 30
    patience: int = 8
    selection_metric: str = "ndcg@5"
    valid_instances: int | None = 5_000
    candidate_seed: int = CANDIDATE_SEED
    mixed_precision: bool = False
    jit_compile: bool = False
    deterministic: bool = False
    strategy: str = "none"

    @property
    def share_negatives(self) -> bool:
        """Whether a batch has one set of negatives for all its positives."""
        return self.objective != "cross_entropy"


# What differs from the defaults of `Config`, and of the constructors, which are the
# papers' own.
MODEL_SETTINGS: dict[str, dict[str, Any]] = {
    "mgnm": {},
    "caser": {},
    "a2svd": {},
    "gru4rec": {},
    "sli_rec": {},
    # At the rate of the others its loss on Instruments stays at 0.69 for epochs.
    "tgsrec": {"learning_rate": 1e-2, "l2": 3e-2},
    "mimn": {},
    # The hard readout can collapse under pointwise cross-entropy with five negatives a
    # positive: the maximum is pushed to zero, where the squash has no gradient. On Toys
    # validation GAUC then stays at 0.50, at a constant rate and l2 = 1e-5 for every
    # embedding_stddev from 0.1 to 1. The search tries both.
    "mind": {"readout": "soft"},
    "comirec_dr": {},
    "comirec_sa": {},
    "surge": {},
    "popularity": {},
    "item_knn": {},
    "mean_pooling": {},
    "sasrec": {},
}


# These two only count.
UNTRAINED = ("popularity", "item_knn")

# The strong recipe, in place of the above, of every model that trains.
STRONG_SETTINGS: dict[str, Any] = {
    "embedding_dim": 64,
    "objective": "sampled_softmax",
    "num_negatives": 256,
    "max_history": 50,
    "learning_rate": 4e-3,
    "l2": 1e-4,
    "max_epochs": 30,
    "patience": 8,
}
# These read the history again for each candidate: so many would take them days.
_FEW_NEGATIVES = {"num_negatives": 32}
STRONG_MODEL_SETTINGS: dict[str, dict[str, Any]] = {
    "mgnm": {},
    "caser": {},
    "a2svd": {},
    "gru4rec": {},
    "sli_rec": _FEW_NEGATIVES,
    "tgsrec": _FEW_NEGATIVES,
    "mimn": _FEW_NEGATIVES,
    "mind": {},
    "comirec_dr": {},
    "comirec_sa": {},
    "surge": _FEW_NEGATIVES,
    "mean_pooling": {},
    "sasrec": {},
}


@dataclasses.dataclass(frozen=True)
class Profile:
    """What `make reproduce-... PROFILE=...` runs.

    Attributes:
        datasets: (name, split) of prepared data.
        seeds: of the runs.
        changes: of `Config`, to bound the work.
        layers: values of L in Figure 3.
        interests: values of K in Figure 4.
    """

    datasets: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    layers: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    interests: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)


PROFILES: dict[str, Profile] = {
    # Real data within 20 minutes on two cores; untuned, few epochs.
    "quick": Profile(
        datasets=(("ml-100k", "global_time"),),
        seeds=(1,),
        changes={"max_epochs": 4, "max_history": 20, "valid_instances": 1_000},
        layers=(0, 1, 3, 5),
        interests=(1, 2, 4, 8),
    ),
    "paper": Profile(
        datasets=(
            ("micro_video", "by_date"),
            ("toys", "global_time"),
            ("instruments", "global_time"),
        ),
        seeds=(1, 2, 3, 4, 5),
    ),
    # Data sets come from DATA_DIR.
    "public": Profile(datasets=(), seeds=(1, 2, 3, 4, 5)),
}


# How `data.prepare` reads well-known files of the public profile; any other file is
# taken as it is, by global time if it has a timestamp.
KNOWN_FILES: dict[str, dict[str, Any]] = {
    "instruments_5core": {"dataset": "csv", "rating_above": 2.0},
    "kuairand_likes_hates": {"dataset": "micro_video", "allow_mismatch": True},
}


# Data whose users act within hours: a day is no unit of their times.
WITHIN_HOURS = ("micro_video", "ml-100k")

# What a model that needs times does on data without; other such models are left out.
NO_TIMES = "no_times"
WITHOUT_TIMES: dict[str, dict[str, Any]] = {"sli_rec": {"use_times": False}}


# The released code's computation, for measuring: `mgnm_tf/released.py`. Its rows are
# read one by one, so that few validation instances are ranked after an epoch.
RELEASED = "released"
RELEASED_SETTINGS: dict[str, Any] = {
    "batch_size": 42,
    "learning_rate": 1e-3,
    "schedule": "constant",
    "l2": 1e-5,
    "max_epochs": 50,
    "valid_instances": 200,
}


def csv_files(folder: str | None) -> dict[str, Path]:
    """The CSV files of a folder by name, for the public profile.

    Raises:
        ValueError: if there is none.
    """
    if not folder:
        raise ValueError(
            "The public profile reads CSV files: give their folder as DATA_DIR=... to "
            "make, or as --data_dir=... to this command."
        )
    paths = sorted(
        path
        for path in Path(folder).glob("*")
        if path.name.endswith((".csv", ".csv.gz"))
    )
    if not paths:
        raise ValueError(f"There is no .csv or .csv.gz file in {folder}.")
    return {path.name.split(".csv")[0]: path for path in paths}


def public_split(path: Path) -> str:
    """By date for micro-video logs, by global time with times, else leave-one-out."""
    if KNOWN_FILES.get(path.name.split(".csv")[0], {}).get("dataset") == "micro_video":
        return "by_date"
    from data import csv_file

    header = csv_file.fields(csv_file.first_line(path))
    return "global_time" if "timestamp" in header else "leave_one_out"


def get_config(
    model: str,
    dataset: str,
    tuned: bool = True,
    recipe: str = PAPER,
    **changes: Any,
) -> Config:
    """The configuration of a model on a data set; a change to `None` is none.

    Where `experiments.tune` has searched this data set with this recipe, its best
    settings hold, unless `tuned` is false.

    Raises:
        ValueError: if the model has no variant `NO_TIMES` or `RELEASED` and that is
            asked for.
    """
    config = Config(model=model, arguments={}, recipe=recipe)
    known = KNOWN_FILES.get(dataset, {}).get("dataset", dataset)
    if recipe == STRONG and model not in UNTRAINED:
        own = STRONG_MODEL_SETTINGS[model]
        config = with_settings(config, {**STRONG_SETTINGS, **own})
    elif recipe == PAPER:
        config = with_settings(config, MODEL_SETTINGS[model])
        if known == "micro_video" and model not in UNTRAINED:
            # Section 4.1; 16 elsewhere.
            config = with_settings(config, {"embedding_dim": 40})
    if known in WITHIN_HOURS and model == "sli_rec":
        config = with_settings(config, {"time_unit": 60.0})
    released = changes.get("variant") == RELEASED
    if released and model != "mgnm":
        raise ValueError(f"{model} has no variant {RELEASED}; mgnm has.")
    if released and recipe != PAPER:
        raise ValueError(
            f"The variant {RELEASED} is the released code's own training: leave out "
            f"--recipe={recipe}."
        )
    if tuned and not released:
        config = with_settings(config, tuned_settings(model, dataset, recipe))
    if released:
        config = with_settings(config, RELEASED_SETTINGS)
    given = {key: value for key, value in changes.items() if value is not None}
    if given.get("variant") == NO_TIMES:
        if model not in WITHOUT_TIMES:
            raise ValueError(f"{model} has no variant {NO_TIMES}.")
        config = with_settings(config, WITHOUT_TIMES[model])
    return dataclasses.replace(config, **given)


def tuned_settings(model: str, dataset: str, recipe: str = PAPER) -> dict[str, Any]:
    """Those of the trial that validation prefers; none without a search."""
    log = of_recipe(TUNED_DIR, recipe) / dataset / f"{model}.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    trials = [json.loads(line) for line in lines]
    return best_trial(trials)["settings"] if trials else {}


def best_trial(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """The first of the highest NDCG@5; trials that diverged have none."""
    return max(trials, key=lambda trial: trial["ndcg@5"] or 0.0)


def with_settings(config: Config, settings: dict[str, Any]) -> Config:
    """The configuration with these fields and constructor arguments in place."""
    fields = {field.name for field in dataclasses.fields(Config)}
    changes = {key: value for key, value in settings.items() if key in fields}
    arguments = {key: value for key, value in settings.items() if key not in fields}
    return dataclasses.replace(
        config, **changes, arguments={**config.arguments, **arguments}
    )


def with_arguments(config: Config, assignments: list[str]) -> Config:
    """Adds constructor arguments written as "name=value".

    Raises:
        ValueError: if one is not of that form.
    """
    arguments = dict(config.arguments)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not (name and equals):
            raise ValueError(f"`--set` takes name=value. Received: {assignment}")
        arguments[name] = _parse(text)
    return dataclasses.replace(config, arguments=arguments)


def run_dir(
    runs_dir: str, dataset: str, split: str, model: str, variant: str, seed: int
) -> str:
    """Where a run belongs; a variant of a model has a folder of its own."""
    return f"{runs_dir}/{dataset}/{split}/{run_folder(model, variant)}/seed-{seed}"


def of_recipe(folder: Path, recipe: str) -> Path:
    """Where a recipe's runs, tables or searches are within a folder of all."""
    return folder if recipe == PAPER else folder / recipe


def run_folder(model: str, variant: str) -> str:
    return model if variant == "paper" else f"{model}-{variant}"


def _parse(text: str) -> Any:
    """A JSON value (2, 0.1, true) if it is one, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
