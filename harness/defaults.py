"""Hyper-parameters of every model, and the profiles of `make`. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from data import chain
from data.errors import UserError
from harness.config import (
    PAPER,
    STRONG,
    Config,
    file_name,
    is_own,
    with_settings,
)

# Logs of `experiments.tune` that come with the code, <data set>/<model>.jsonl, whose
# best trials are used on the data whose hashes data.json has.
TUNED_DIR = Path(__file__).parent / "tuned"
# A user's own, <data set>-<beginning of the data's hash>/<model>.jsonl.
OWN_SEARCHES = Path("runs/tuned")

# What the paper leaves open in MGNM. With drawn maps a score says nothing of how near
# an item is to the history for whole epochs (docs/mgnm_readings.md).
_IDENTITY = {"map_initialization": "identity", "routing_init": "learned"}

# What differs from the defaults of `Config`, and of the constructors, which are the
# papers' own.
MODEL_SETTINGS: dict[str, dict[str, Any]] = {
    "mgnm": _IDENTITY,
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
    # Its items start near their like, and the others' rate moves them far at once. Not
    # searched: MGNM+ is meant for the strong recipe.
    "mgnm_plus": {"learning_rate": 5e-3},
}


# Of flags.
MODEL_HELP = (
    f"A registered model, one of {', '.join(sorted(MODEL_SETTINGS))}; or "
    "package.module:Class, a class of your own that is found from the current folder "
    "(docs/your_model.md)."
)

# These two only count.
UNTRAINED = ("popularity", "item_knn")

# The strong recipe, in place of the above, of every model that trains.
STRONG_SETTINGS: dict[str, Any] = {
    "embedding_dim": 64,
    "objective": "sampled_softmax",
    # On Toys' validation better than 256 with every model tried (docs/recipe.md).
    "num_negatives": 1_024,
    # Where there are times: GAUC rises with every model tried, NDCG@5 with most
    # (docs/recipe.md).
    "prior_shift": True,
    "max_history": 50,
    "learning_rate": 4e-3,
    "l2": 1e-2,
    "max_epochs": 20,
    "patience": 6,
}
# Where states are large from the start, as LayerNorm makes them. Others never leave the
# origin with it: mean pooling has a GAUC of 0.53 after two epochs on Toys.
_MUCH_L2 = 0.4
# Their authors' own loss: ten negatives for each of 128 positives, shared by all.
_AUTHORS_LOSS = {"num_negatives": 1_280, "readout": "positive", "dropout": 0.2}
# These read the history again for each candidate: so many would take them days.
_FEW_NEGATIVES = {"num_negatives": 32}
STRONG_MODEL_SETTINGS: dict[str, dict[str, Any]] = {
    "mgnm": {**_IDENTITY, "dropout": 0.2},
    "caser": {},
    # Its perceptron scores each pair by itself.
    "a2svd": {"dropout": 0.2, "num_negatives": 256},
    "gru4rec": {"dropout": 0.2},
    "sli_rec": _FEW_NEGATIVES,
    "tgsrec": _FEW_NEGATIVES,
    "mimn": _FEW_NEGATIVES,
    "mind": _AUTHORS_LOSS,
    "comirec_dr": _AUTHORS_LOSS,
    "comirec_sa": _AUTHORS_LOSS,
    "surge": _FEW_NEGATIVES,
    "mean_pooling": {"dropout": 0.2},
    # One block and much dropout: a second is no better on validation (docs/recipe.md).
    "sasrec": {"num_blocks": 1, "dropout": 0.5, "l2": _MUCH_L2},
    # Its loss is a sum over two levels. With twice the epochs it over-fits before the
    # rate falls where the split is by time, and gains nothing elsewhere
    # (docs/recipe.md).
    "mgnm_plus": {
        "batch_size": 512,
        "learning_rate": 5e-3,
        "l2": 2 * _MUCH_L2,
        "max_epochs": 10,
    },
}


# How `data.prepare` reads well-known files of the profile `folder`; any other file is
# taken as it is, by global time if it has a timestamp.
KNOWN_FILES: dict[str, dict[str, Any]] = {
    "instruments_5core": {"dataset": "csv", "rating_above": 2.0},
    "kuairand_likes_hates": {"dataset": "micro_video", "allow_mismatch": True},
}


# Data that were searched under another name; the hash of both is the same
# (docs/datasets.md, Section 5).
SEARCHED_AS = {"toys-5core": "toys_5core_order"}

# Data whose users act within hours: a day is no unit of their times.
WITHIN_HOURS = (
    *("micro_video", "kuairand-pure", "kuairand-1k"),
    *("ml-100k", "ml-1m", "ml-20m"),
)

# What a model that needs times does on data without; other such models are left out.
NO_TIMES = "no_times"
WITHOUT_TIMES: dict[str, dict[str, Any]] = {"sli_rec": {"use_times": False}}


# Readings of MGNM by the variant under which they run, docs/mgnm_readings.md. `drawn`
# is what MGNM had before validation chose `_IDENTITY`. The others leave the text of
# Eq. 11, as the released code does, and of Eq. 7.
_LINEAR = {**_IDENTITY, "interest_activation": "linear"}
READINGS: dict[str, dict[str, Any]] = {
    "drawn": {"map_initialization": "glorot", "routing_init": "drawn"},
    "linear": _LINEAR,
    "linear_long": {**_LINEAR, "squash_last": False},
}
# The one that validation prefers; it has a row of its own in Table 2.
BEST_READING = "linear_long"


# The released code's computation, for measuring: `baselines/released/`. Its rows are
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


def check_model(model: str) -> None:
    """Refuses what is neither a registered model nor of the form of a class's path.

    Raises:
        UserError: with the names that there are.
    """
    module, _, name = model.partition(":")
    if model in MODEL_SETTINGS or (
        name.isidentifier() and all(map(str.isidentifier, module.split(".")))
    ):
        return
    raise UserError(
        f"There is no model {model}. Registered are "
        f"{', '.join(sorted(MODEL_SETTINGS))}; package.module:Class names a class of "
        "your own (docs/your_model.md)."
    )


def get_config(
    model: str,
    dataset: str,
    tuned: bool = True,
    recipe: str = PAPER,
    data_sha256: str | None = None,
    **changes: Any,
) -> Config:
    """The configuration of a model on a data set; a change to `None` is none.

    Where `experiments.tune` has searched this data set with this recipe, its best
    settings hold, unless `tuned` is false. Data are known by their hash; without one
    the searches that come with the code are taken by the data set's name.

    Raises:
        UserError: if there is no such model, or it has no variant `NO_TIMES` or
            `RELEASED` and that is asked for.
    """
    check_model(model)
    config = Config(model=model, arguments={}, recipe=recipe)
    known = KNOWN_FILES.get(dataset, {}).get("dataset", dataset)
    released = changes.get("variant") == RELEASED
    if is_own(model):
        config = with_settings(config, _own_settings(model, recipe, known))
    elif recipe == STRONG and model not in UNTRAINED:
        own = STRONG_MODEL_SETTINGS[model]
        config = with_settings(config, {**STRONG_SETTINGS, **own})
    elif recipe == PAPER:
        if not released:
            config = with_settings(config, MODEL_SETTINGS[model])
        if known == "micro_video" and model not in UNTRAINED:
            config = with_settings(config, _WIDER)
    if known in WITHIN_HOURS and model == "sli_rec":
        config = with_settings(config, {"time_unit": 60.0})
    if released and model != "mgnm":
        raise UserError(f"{model} has no variant {RELEASED}; mgnm has.")
    if released and recipe != PAPER:
        raise UserError(
            f"The variant {RELEASED} is the released code's own training: leave out "
            f"--recipe={recipe}."
        )
    if tuned and not released:
        config = with_settings(
            config,
            tuned_settings(model, dataset, recipe, data_sha256, changes.get("variant")),
        )
    if released:
        config = with_settings(config, RELEASED_SETTINGS)
    given = {key: value for key, value in changes.items() if value is not None}
    if given.get("variant") == NO_TIMES:
        if model not in WITHOUT_TIMES:
            raise UserError(f"{model} has no variant {NO_TIMES}.")
        config = with_settings(config, WITHOUT_TIMES[model])
    if model == "mgnm":
        config = with_settings(config, READINGS.get(given.get("variant", ""), {}))
    return dataclasses.replace(config, **given)


# Of Micro-video, Section 4.1; 16 elsewhere.
_WIDER = {"embedding_dim": 40}


def _own_settings(path: str, recipe: str, known: str) -> dict[str, Any]:
    """The recipe's, as far as a class of one's own takes them, and those it states."""
    from harness import own_model

    shared = STRONG_SETTINGS if recipe == STRONG else {}
    if recipe == PAPER and known == "micro_video":
        shared = _WIDER
    settings = {**shared}
    if not own_model.takes(path, "embedding_dim"):
        settings.pop("embedding_dim", None)
    return {**settings, **own_model.settings(path, recipe)}


def tuned_settings(
    model: str,
    dataset: str,
    recipe: str = PAPER,
    data_sha256: str | None = None,
    variant: str | None = None,
) -> dict[str, Any]:
    """The settings of the trial that validation prefers; none without a search."""
    model = search_name(model, variant)
    searched = SEARCHED_AS.get(dataset, dataset)
    shipped = of_recipe(TUNED_DIR, recipe) / searched / f"{file_name(model)}.jsonl"
    logs = [shipped]
    if data_sha256 is not None:
        own = search_log(OWN_SEARCHES, recipe, dataset, data_sha256, model)
        known = json.loads((TUNED_DIR / "data.json").read_text())
        logs = [own, shipped] if known.get(searched) == data_sha256 else [own]
    for log in logs:
        if log.exists():
            return best_trial(read_trials(log))["settings"]
    return {}


def search_name(model: str, variant: str | None) -> str:
    """Under which a search is logged: a reading of MGNM has one of its own."""
    return f"{model}-{variant}" if variant in READINGS else model


def search_log(
    folder: Path, recipe: str, dataset: str, data_sha256: str, model: str
) -> Path:
    """Where a search is logged: one file for each recipe, data and model."""
    name = f"{dataset}-{data_sha256[:12]}"
    return of_recipe(folder, recipe) / name / f"{file_name(model)}.jsonl"


_OF_TRIALS = ("settings", "ndcg@5")
_REMEDY = "Delete that line and those below it, and search again."


def read_trials(log: Path) -> list[dict[str, Any]]:
    """The lines of a search's log; none if it does not exist.

    Raises:
        UserError: naming the first line that is not as it was written. Of the lines of
            older versions only the form is checked.
    """
    trials = chain.read(log, _OF_TRIALS, _REMEDY)
    for number, trial in enumerate(trials, start=1):  # Some have no hashes.
        settings, ndcg = trial["settings"], trial["ndcg@5"]
        if not isinstance(settings, dict) or not isinstance(
            ndcg, (float, int, type(None))
        ):
            raise UserError(f"{log}, line {number} is no trial of a search. {_REMEDY}")
    return trials


def add_trial(log: Path, trial: dict[str, Any]) -> None:
    """Adds a line to a search's log, whole or not at all.

    Raises:
        UserError: as `read_trials`.
    """
    chain.append(log, trial, _OF_TRIALS, _REMEDY)


def best_trial(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """The first of the highest NDCG@5; trials that diverged have none."""
    return max(trials, key=lambda trial: trial["ndcg@5"] or 0.0)


def of_recipe(folder: Path, recipe: str) -> Path:
    """Where a recipe's runs, tables or searches are within a folder of all."""
    return folder if recipe == PAPER else folder / recipe
