"""Which model a log is worth, and what that model recommends to everyone in it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from absl import logging

from data import atomic, log_file, names, prepared
from data.build import is_made_of, write
from data.describe import describe
from data.errors import UserError
from data.filters import Filters
from data.log_options import LogOptions
from data.pipeline import targets
from data.prepared import PreparedData
from data.request import Request
from experiments.reports.text import counted
from experiments.results import significance
from harness import estimate, run_manifest, runner, sampling
from harness.config import STRONG, Config, file_name
from harness.defaults import get_config
from harness.estimate import spell
from harness.passport import Passport
from harness.ranker import protocol_rows
from harness.refit import refit
from harness.reopen import open_run
from harness.run_folder import RANKS
from serving.answer import answer
from serving.recommender import Recommender

SIMPLE = ("popularity", "item_knn")
NAMES = {"popularity": "popularity", "item_knn": "item-kNN"}
REPORT, RECOMMENDATIONS = "report.txt", "recommendations.parquet"
# The folder of the model that was trained on all events, beside `runs`.
ALL_EVENTS = "all_events"
# Validation instances that choose the model, each ranked among the whole catalogue.
_CHOOSING = 2_000
_CUTOFF = 10
# Below so many, intervals of the bootstrap are too narrow.
_FEW_USERS = 30
# The estimate has the rates of the paper's recipe. Most stored runs of the strong one
# took 0.9 to 3.1 times as long (docs/passports/*-strong.jsonl).
_STRONG_AT_MOST = 3
_LONG = 300.0  # seconds from which on a faster choice is named
_FAST = "sasrec"


@dataclasses.dataclass(frozen=True)
class Options:
    """What the flags of `experiments.from_log` say."""

    log: LogOptions
    filters: Filters
    models: list[str]  # Beside popularity and item-kNN.
    k: int  # Recommendations a user.
    max_epochs: int
    rating_above: float | None  # None: all events.
    keeps_past: bool
    seed: int
    refits: bool = True  # The chosen model is trained again, on all events.


def recommend(source: Path, folder: Path, options: Options) -> str:
    """Prepares the log, trains the models, chooses one, and writes what it recommends.

    Args:
        source: a log of any form that `data.prepare` reads.
        folder: where all is written; what it has is gone on with.
        options: what is tried, and for how long.

    Returns:
        The name of the chosen model.

    Raises:
        UserError: if the folder was made from another log, or no model trains.
    """
    data = _prepared(source, folder, options)
    configs = {
        model: _config(model, data, options) for model in [*SIMPLE, *options.models]
    }
    left = [m for m in configs if not run_manifest.is_finished(run_dir_of(folder, m))]
    if left:
        logging.info("%s", expected(left, data, options))
    passports, chances, left_out = {}, {}, {}
    for model, config in configs.items():
        logging.info("%s", model)
        run_dir = run_dir_of(folder, model)
        try:
            passports[model] = runner.run(config, data, run_dir, options.seed)
            chances[model] = _chance_of_a_hit(run_dir, folder)
        except UserError as error:  # It needs times, say; the others go on.
            left_out[model] = str(error)
    if not chances:
        raise UserError(f"No model could be trained: {'; '.join(left_out.values())}")
    best = max(chances, key=lambda model: chances[model])
    rows = protocol_rows(data, "test", "full")
    repeats = _not_recommended_again(data, "test", rows)
    text = report(
        folder, {name: passports[name] for name in chances}, chances, repeats, best
    )
    text += "".join(f"{name} is left out: {why}\n" for name, why in left_out.items())
    text += _what_recommends(passports[best], data, options.refits)
    sys.stdout.write(text)
    atomic.write_text(folder / REPORT, text)
    chosen = run_dir_of(folder, best)
    if options.refits:
        chosen = folder / ALL_EVENTS / file_name(best)
        refit(run_dir_of(folder, best), folder / "prepared", chosen)
    _write_recommendations(folder, chosen, options.k)
    return best


def _what_recommends(passport: Passport, data: PreparedData, refits: bool) -> str:
    """Which events the model knows that makes the recommendations."""
    if not refits:
        return (
            "The model knows the training events. Items that came later are new to it, "
            "and are seldom recommended until it is trained again on a longer log.\n"
        )
    epochs = passport["training"]["best_epoch"]
    how = f", {counted(epochs, 'epoch')} as validation chose" if epochs else ""
    model = NAMES.get(passport["model"], passport["model"])
    return (
        f"{model} is now made again from all {len(data.store.items):,} events{how}: "
        "that model makes the recommendations, and nothing is left to test it by. "
        "--norefit leaves this out.\n"
    )


def expected(models: list[str], data: PreparedData, options: Options) -> str:
    """Says how long the trainings take, and names a faster choice if that is long.

    Args:
        models: those that are to be trained.
        data: what they are trained on.
        options: the budget of epochs, and the models that were asked for.
    """
    seconds = {model: _seconds(model, data, options) for model in models}
    known = {model: taken for model, taken in seconds.items() if taken is not None}
    each = ", ".join(
        f"{model} {'unknown' if taken is None else spell(taken)}"
        for model, taken in seconds.items()
    )
    total = sum(known.values())
    text = (
        f"Training takes about {spell(total)} on idle cores, up to "
        f"{_STRONG_AT_MOST} times that, if every model uses its "
        f"{counted(options.max_epochs, 'epoch')} ({each})."
    )
    if options.refits:
        text += " The chosen one is then trained once more, on all events."
    slowest = max(known, key=lambda model: known[model], default=_FAST)
    if _STRONG_AT_MOST * total < _LONG or slowest in (*SIMPLE, _FAST):
        return text
    faster = [model for model in options.models if model != slowest] or [_FAST]
    shorter = total - known[slowest]
    if faster == [_FAST] and _FAST not in known:
        shorter += _seconds(_FAST, data, options) or 0.0
    return (
        f"{text} Faster: --models={','.join(faster)} (ARGS=--models=... of make), "
        f"about {spell(shorter)}."
    )


def _seconds(model: str, data: PreparedData, options: Options) -> float | None:
    cost = estimate.of_run(_config(model, data, options), estimate.Size.of(data))
    return None if cost is None else cost.seconds


def _config(model: str, data: PreparedData, options: Options) -> Config:
    return get_config(model, data.name, recipe=STRONG, max_epochs=options.max_epochs)


def name_of(source: Path) -> str:
    """The data set's name, made of the file's."""
    return names.from_file(source.name.split(".")[0])


def run_dir_of(folder: Path, model: str) -> Path:
    return folder / "runs" / file_name(model)


def report(
    folder: Path,
    passports: dict[str, Passport],
    chances: dict[str, float],
    repeats: np.ndarray,
    best: str,
) -> str:
    """Says in plain words which model is best, and whether it is worth its cost.

    Args:
        folder: what `recommend` writes to.
        passports: of the finished runs, by model.
        chances: by model, the share of validation events that would be hit.
        repeats: bool [n], test events of items that are not recommended again.
        best: the model that validation prefers.
    """
    data = next(iter(passports.values()))["data"]
    hits, users = {}, np.zeros(0, int)
    for model in passports:
        ranks = _full_ranks(run_dir_of(folder, model))
        hits[model] = (ranks["rank_pessimistic"] < _CUTOFF).to_numpy() & ~repeats
        users = ranks["user"].to_numpy()
    lines = [
        f"{data['users']:,} users, {data['items']:,} items, {data['interactions']:,} "
        f"events; {data['train']:,} of them train the models.",
        f"Test: {len(repeats):,} later events. How often is the item that a user took "
        f"among the {_CUTOFF} recommended, out of all {data['items']:,}?",
    ]
    if repeats.any():
        lines.append(
            f"{repeats.mean():.0%} of these events are of an item that the user had "
            "before. Such an item is not recommended again, so that it is a miss for "
            "every model. Where people take items again, --keep_past recommends them."
        )
    lines.append("")
    for model, of_model in hits.items():
        lines.append(
            f"  {NAMES.get(model, model):<12} {of_model.mean():6.2%} of the test events"
            f" ({chances[model]:.2%} in validation)"
        )
    lines += ["", f"Validation prefers {NAMES.get(best, best)}."]
    if best in SIMPLE:
        lines.append(
            f"Nothing that was trained beats {NAMES[best]} on this log, so "
            f"{NAMES[best]} makes the recommendations."
        )
    lines += [
        _compared(best, other, hits, users)
        for other in SIMPLE
        if other in hits and other != best
    ]
    return "\n".join(lines) + "\n"


def _compared(
    best: str, other: str, hits: dict[str, np.ndarray], users: np.ndarray
) -> str:
    """One sentence: by how much, and whether that may be chance."""
    gained = hits[best].astype(float) - hits[other]
    mine, theirs = NAMES.get(best, best), NAMES[other]
    count = len(np.unique(users))
    if count < _FEW_USERS:
        return (
            f"{mine} against {theirs}: {100 * gained.mean():+.2f} hits in 100 test "
            f"events. {counted(count, 'test user')}: too few to tell "
            "whether that is chance."
        )
    (difference,) = significance.paired_bootstraps(gained[:, None], users)
    span = (
        f"{100 * difference.mean:+.2f} hits in 100 test events, 95% interval "
        f"{100 * difference.low:+.2f} to {100 * difference.high:+.2f}"
    )
    if difference.low > 0:
        return f"{mine} beats {theirs}: {span}."
    if difference.high < 0:
        return (
            f"{theirs} beats {mine} on the test events ({span}), though validation "
            "preferred the latter: take the simpler one if this stays so."
        )
    return f"{mine} against {theirs}: {span}; this may be chance."


def _prepared(source: Path, folder: Path, options: Options) -> PreparedData:
    """The log, prepared anew if it is not the file that was prepared."""
    request = Request(
        "csv",
        folder / "prepared",
        source=source,
        name=name_of(source),
        split=log_file.split_of(source, options.log),
        rating_above=options.rating_above,
        options=options.log,
        filters=options.filters,
        keeps_past=options.keeps_past,
    )
    if (request.folder / "meta.json").exists():
        data = prepared.load(request.data_dir, request.result, request.rule)
        if is_made_of(data.meta, request):
            return data
        raise UserError(
            f"{folder} was made from another log, or with other flags for reading it. "
            "Choose another --output_dir, or delete that folder."
        )
    data = write(request)
    sys.stdout.write(describe(data) + "\n\n")
    return data


def _chance_of_a_hit(run_dir: Path, folder: Path) -> float:
    """The validation metric that chooses, over the whole catalogue."""
    opened = open_run(run_dir, folder / "prepared")
    count = len(opened.data.instances["valid"])
    rows = sampling.sample_rows(count, _CHOOSING, sampling.VALID_SEED)
    ranks = opened.ranker.rank("valid", "full", rows=rows).ranks
    hits = ranks.pessimistic < _CUTOFF
    return float((hits & ~_not_recommended_again(opened.data, "valid", rows)).mean())


def _not_recommended_again(
    data: PreparedData, part: str, rows: np.ndarray
) -> np.ndarray:
    """Which instances' targets the user had before, and is not offered: bool [n].

    The harness ranks a target whatever the past; recommendations leave the past out.
    """
    if data.keeps_past:
        return np.zeros(len(rows), bool)
    users, ends = data.instances[part][rows].T
    return data.store.was_seen(users, ends, targets(data, data.instances[part][rows]))


def _full_ranks(run_dir: Path) -> pd.DataFrame:
    """Ranks of the test instances among the whole catalogue, alike in all runs."""
    table = pd.read_parquet(run_dir / RANKS)
    return table[table["protocol"] == "full"].reset_index(drop=True)


def _write_recommendations(folder: Path, chosen: Path, k: int) -> None:
    recommender = Recommender.load(chosen, folder / "prepared")
    k = min(k, recommender.vocabulary.num_items - 1)
    answer(recommender, recommender.everyone(), folder / RECOMMENDATIONS, k)
    logging.info("Written: %s, by %s", folder / RECOMMENDATIONS, chosen)
