"""From a shop's log to recommendations for everyone in it, in one command.

Example: python -m experiments.from_log --source=log.csv --output_dir=shop

`make recommend SOURCE=log.csv` does the same, its environment included.

Prepares the log, trains a short list of models, takes the one that the validation
events prefer, says whether it beats popularity and item-kNN, and writes
recommendations for all users. The same command goes on where it was stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from data.errors import UserError
from harness import command_line
from harness.config import file_name

if TYPE_CHECKING:
    from data.prepared import PreparedData
    from harness.passport import Passport

_SOURCE = flags.DEFINE_string(
    "source",
    None,
    "A log of any form that `data.prepare` reads, e.g. csv or csv.gz with the columns "
    "user,item[,rating],timestamp|order.",
    required=True,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Where all is written. Default: recommended/<name of the log>."
)
_MODELS = flags.DEFINE_list(
    "models",
    ["sasrec", "mgnm_plus"],
    "What is tried beside popularity and item_knn; classes of your own as "
    "package.module:Class.",
)
_K = flags.DEFINE_integer("k", 10, "Recommendations a user.", lower_bound=1)
_MAX_EPOCHS = flags.DEFINE_integer(
    "max_epochs", 10, "Most passes over the training events.", lower_bound=1
)
_RATING_ABOVE = flags.DEFINE_float(
    "rating_above", None, "Keep ratings above this. Default: all."
)
_KEEP_PAST = flags.DEFINE_bool(
    "keep_past",
    False,
    "People take an item again, as in music: what they have had stays among what is "
    "ranked and recommended.",
)
_SEED = flags.DEFINE_integer("seed", 1, "Of the training.", lower_bound=0)

SIMPLE = ("popularity", "item_knn")
NAMES = {"popularity": "popularity", "item_knn": "item-kNN"}
REPORT, RECOMMENDATIONS = "report.txt", "recommendations.parquet"
# Validation instances that choose the model, each ranked among the whole catalogue.
_CHOOSING = 2_000
_METRIC, _CUTOFF = "hit@10", 10


def main() -> None:
    source = Path(_SOURCE.value)
    folder = Path(_OUTPUT_DIR.value or f"recommended/{_name(source)}")
    from harness.defaults import check_model

    for model in _MODELS.value:
        check_model(model)
    recommend_from_log(source, folder)


def recommend_from_log(source: Path, folder: Path) -> str:
    """Does all of it.

    Returns:
        The name of the chosen model.
    """
    from data import atomic
    from harness import runner
    from harness.config import STRONG
    from harness.defaults import get_config

    data = _prepared(source, folder)
    configs = {
        model: get_config(model, data.name, recipe=STRONG, max_epochs=_MAX_EPOCHS.value)
        for model in [*SIMPLE, *_MODELS.value]
    }
    passports, chances, left_out = {}, {}, {}
    for model, config in configs.items():
        logging.info("%s", model)
        run_dir = _run_dir(folder, model)
        try:
            passports[model] = runner.run(config, data, run_dir, _SEED.value)
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
    _write_recommendations(folder, best)
    return best


def _run_dir(folder: Path, model: str) -> Path:
    return folder / "runs" / file_name(model)


def report(
    folder: Path,
    passports: dict[str, Passport],
    chances: dict[str, float],
    best: str,
) -> str:
    """In plain words: which model, and whether it is worth it."""
    data = next(iter(passports.values()))["data"]
    ranks = {model: _full_ranks(_run_dir(folder, model)) for model in passports}
    count = len(next(iter(ranks.values())))
    lines = [
        f"{data['users']:,} users, {data['items']:,} items, {data['interactions']:,} "
        f"events; {data['train']:,} of them train the models.",
        f"Test: {count:,} later events. How often is the item that a user took among "
        f"the {_CUTOFF} recommended, out of all {data['items']:,}?",
        "",
    ]
    for model, found in ranks.items():
        hits = (found["rank_pessimistic"] < _CUTOFF).mean()
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


def _compared(best: str, other: str, ranks: dict[str, Any]) -> str:
    """One sentence: by how much, and whether that may be chance."""
    import numpy as np

    from experiments.results import significance

    hits = [
        (ranks[model]["rank_pessimistic"] < _CUTOFF).to_numpy(dtype=float)
        for model in (best, other)
    ]
    users = ranks[best]["user"].to_numpy()
    (found,) = significance.paired_bootstraps(np.subtract(*hits)[:, None], users)
    mine, theirs = NAMES.get(best, best), NAMES[other]
    span = (
        f"{100 * found.mean:+.2f} hits in 100 test events, 95% interval "
        f"{100 * found.low:+.2f} to {100 * found.high:+.2f}"
    )
    if found.low > 0:
        return f"{mine} beats {theirs}: {span}."
    if found.high < 0:
        return (
            f"{theirs} beats {mine} on the test events ({span}), though validation "
            "preferred the latter: take the simpler one if this stays so."
        )
    return f"{mine} against {theirs}: {span}; this may be chance."


def _prepared(source: Path, folder: Path) -> PreparedData:
    """The log, prepared anew if it is not the file that was prepared."""
    from data import log_file, prepared
    from data.build import prepare
    from data.describe import describe
    from data.manifest import file_hash

    columns = log_file.form_of(source).columns
    split = "global_time" if "timestamp" in columns else "leave_one_out"
    name, place = _name(source), folder / "prepared"
    if (place / name / split / "meta.json").exists():
        data = prepared.load(place, name, split)
        same = data.meta["source"]["sha256"] == file_hash(source)
        same &= data.meta["rating_above"] == _RATING_ABOVE.value
        if same and data.keeps_past == _KEEP_PAST.value:
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
        rating_above=_RATING_ABOVE.value,
        keeps_past=_KEEP_PAST.value,
    )
    sys.stdout.write(describe(data) + "\n\n")
    return data


def _chance_of_a_hit(run_dir: Path, folder: Path) -> float:
    """The validation metric that chooses, over the whole catalogue."""
    from harness import metrics, training
    from harness.reopen import open_run

    opened = open_run(run_dir, folder / "prepared")
    rows = training.validation_rows(len(opened.data.instances["valid"]), _CHOOSING)
    ranking = opened.ranker.rank("valid", "full", rows=rows)
    return metrics.instance_metrics(ranking.ranks)[_METRIC]


def _full_ranks(run_dir: Path) -> Any:
    """Ranks of the test instances among the whole catalogue, alike in all runs."""
    import pandas as pd

    from harness.run_folder import RANKS

    table = pd.read_parquet(run_dir / RANKS)
    return table[table["protocol"] == "full"].reset_index(drop=True)


def _write_recommendations(folder: Path, best: str) -> None:
    from serving.answer import answer
    from serving.recommender import Recommender

    recommender = Recommender.load(_run_dir(folder, best), folder / "prepared")
    k = min(_K.value, recommender.vocabulary.num_items - 1)
    answer(recommender, recommender.everyone(), folder / RECOMMENDATIONS, k)
    logging.info("Written: %s", folder / RECOMMENDATIONS)


def _name(source: Path) -> str:
    from data import names

    return names.from_file(source.name.split(".")[0])


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. The same command goes on from there.")
