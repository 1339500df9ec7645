"""Which model a log is worth, and what that model recommends to everyone in it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from absl import logging

from data import atomic, log_file, names, prepared
from data.build import prepare
from data.describe import describe
from data.errors import UserError
from data.manifest import file_hash
from data.prepared import PreparedData
from experiments.results import significance
from harness import metrics, runner, sampling
from harness.config import STRONG, file_name
from harness.defaults import get_config
from harness.passport import Passport
from harness.reopen import open_run
from harness.run_folder import RANKS
from serving.answer import answer
from serving.recommender import Recommender

SIMPLE = ("popularity", "item_knn")
NAMES = {"popularity": "popularity", "item_knn": "item-kNN"}
REPORT, RECOMMENDATIONS = "report.txt", "recommendations.parquet"
# Validation instances that choose the model, each ranked among the whole catalogue.
_CHOOSING = 2_000
_METRIC, _CUTOFF = "hit@10", 10


@dataclasses.dataclass(frozen=True)
class Options:
    """What the flags of `experiments.from_log` say."""

    models: list[str]  # Beside popularity and item-kNN.
    k: int  # Recommendations a user.
    max_epochs: int
    rating_above: float | None  # None: all events.
    keeps_past: bool
    seed: int


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
        model: get_config(
            model, data.name, recipe=STRONG, max_epochs=options.max_epochs
        )
        for model in [*SIMPLE, *options.models]
    }
    passports, chances, left_out = {}, {}, {}
    for model, config in configs.items():
        logging.info("%s", model)
        run_dir = run_dir_of(folder, model)
        try:
            passports[model] = runner.run(config, data, run_dir, options.seed)
            chances[model] = _chance_of_a_hit(run_dir, folder)
        except ValueError as error:  # It needs times, say; the others go on.
            left_out[model] = str(error)
    if not chances:
        raise UserError(f"No model could be trained: {'; '.join(left_out.values())}")
    best = max(chances, key=lambda model: chances[model])
    text = report(folder, {name: passports[name] for name in chances}, chances, best)
    text += "".join(f"{name} is left out: {why}\n" for name, why in left_out.items())
    sys.stdout.write(text)
    atomic.write_text(folder / REPORT, text)
    _write_recommendations(folder, best, options.k)
    return best


def name_of(source: Path) -> str:
    """The data set's name, made of the file's."""
    return names.from_file(source.name.split(".")[0])


def run_dir_of(folder: Path, model: str) -> Path:
    return folder / "runs" / file_name(model)


def report(
    folder: Path,
    passports: dict[str, Passport],
    chances: dict[str, float],
    best: str,
) -> str:
    """Says in plain words which model is best, and whether it is worth its cost."""
    data = next(iter(passports.values()))["data"]
    ranks = {model: _full_ranks(run_dir_of(folder, model)) for model in passports}
    count = len(next(iter(ranks.values())))
    lines = [
        f"{data['users']:,} users, {data['items']:,} items, {data['interactions']:,} "
        f"events; {data['train']:,} of them train the models.",
        f"Test: {count:,} later events. How often is the item that a user took among "
        f"the {_CUTOFF} recommended, out of all {data['items']:,}?",
        "",
    ]
    for model, model_ranks in ranks.items():
        hits = (model_ranks["rank_pessimistic"] < _CUTOFF).mean()
        lines.append(
            f"  {NAMES.get(model, model):<12} {hits:6.2%} of the test events"
            f" ({chances[model]:.2%} in validation)"
        )
    lines += ["", f"Validation prefers {NAMES.get(best, best)}."]
    if best in SIMPLE:
        lines.append(
            f"Nothing that was trained beats {NAMES[best]} on this log, so "
            f"{NAMES[best]} makes the recommendations."
        )
    lines += [
        _compared(best, other, ranks)
        for other in SIMPLE
        if other in ranks and other != best
    ]
    lines.append(
        "The model knows the training events. Items that came later are new to it, and "
        "are seldom recommended until it is trained again on a longer log."
    )
    return "\n".join(lines) + "\n"


def _compared(best: str, other: str, ranks: dict[str, pd.DataFrame]) -> str:
    """One sentence: by how much, and whether that may be chance."""
    hits = [
        (ranks[model]["rank_pessimistic"] < _CUTOFF).to_numpy(dtype=float)
        for model in (best, other)
    ]
    users = ranks[best]["user"].to_numpy()
    (difference,) = significance.paired_bootstraps(np.subtract(*hits)[:, None], users)
    mine, theirs = NAMES.get(best, best), NAMES[other]
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
    columns = log_file.form_of(source).columns
    split = "global_time" if "timestamp" in columns else "leave_one_out"
    name, place = name_of(source), folder / "prepared"
    if (place / name / split / "meta.json").exists():
        data = prepared.load(place, name, split)
        same = data.meta["source"]["sha256"] == file_hash(source)
        same &= data.meta["rating_above"] == options.rating_above
        if same and data.keeps_past == options.keeps_past:
            return data
        raise UserError(
            f"{folder} was made from another log, or with another --rating_above or "
            "--keep_past. Choose another --output_dir, or delete that folder."
        )
    data = prepare(
        "csv",
        data_dir=place,
        source=source,
        name=name,
        split=split,
        rating_above=options.rating_above,
        keeps_past=options.keeps_past,
    )
    sys.stdout.write(describe(data) + "\n\n")
    return data


def _chance_of_a_hit(run_dir: Path, folder: Path) -> float:
    """The validation metric that chooses, over the whole catalogue."""
    opened = open_run(run_dir, folder / "prepared")
    count = len(opened.data.instances["valid"])
    rows = sampling.sample_rows(count, _CHOOSING, sampling.VALID_SEED)
    ranking = opened.ranker.rank("valid", "full", rows=rows)
    return metrics.instance_metrics(ranking.ranks)[_METRIC]


def _full_ranks(run_dir: Path) -> pd.DataFrame:
    """Ranks of the test instances among the whole catalogue, alike in all runs."""
    table = pd.read_parquet(run_dir / RANKS)
    return table[table["protocol"] == "full"].reset_index(drop=True)


def _write_recommendations(folder: Path, best: str, k: int) -> None:
    recommender = Recommender.load(run_dir_of(folder, best), folder / "prepared")
    k = min(k, recommender.vocabulary.num_items - 1)
    answer(recommender, recommender.everyone(), folder / RECOMMENDATIONS, k)
    logging.info("Written: %s", folder / RECOMMENDATIONS)
