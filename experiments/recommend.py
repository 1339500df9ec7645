"""Recommends with the model of a finished run, or of an exported bundle.

Example: python -m experiments.recommend --run_dir=runs/shop-mgnm --history=a,b --k=10
         python -m experiments.recommend --run_dir=runs/shop-mgnm --all_users
             --output=all.parquet
"""

from __future__ import annotations

from pathlib import Path

from absl import flags, logging

from data import log_flags
from data.errors import UserError
from harness import command_line

_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Folder of a finished run, or of a bundle.", required=True
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Where `data.prepare` wrote: the histories of the run's own users. Not needed for "
    "histories that are given, nor for a bundle that holds them.",
)
_USERS = flags.DEFINE_list("users", None, "Ids of users of the log, by comma.")
_USERS_FILE = flags.DEFINE_string("users_file", None, "A file with a user id a line.")
_ALL_USERS = flags.DEFINE_bool("all_users", False, "Everyone in the log.")
_HISTORY = flags.DEFINE_list(
    "history", None, "Ids of the items that one person has had, oldest first."
)
_TIMES = flags.DEFINE_list(
    "times", None, "When, in seconds since the epoch, for a model that reads times."
)
_HISTORIES_FILE = flags.DEFINE_string(
    "histories_file",
    None,
    "A log of any people, of any form that `data.prepare` reads, with user, item and "
    "timestamp or order; --columns and the like say what is what.",
)
_K = flags.DEFINE_integer("k", 10, "How many items each.", lower_bound=1)
_EXCLUDE_SEEN = flags.DEFINE_bool(
    "exclude_seen",
    None,
    "Leave out what a person has had. Default: as the run was measured, so yes unless "
    "its data were prepared with --keep_past.",
)
_CANDIDATES = flags.DEFINE_string(
    "candidates", None, "A file with an item id a line: choose from these alone."
)
_AT = flags.DEFINE_float(
    "at",
    None,
    "When it is asked, in seconds since the epoch, for a model that reads times. "
    "Default: the newest time of the log, or of the history if it is later.",
)
_EXPLAIN = flags.DEFINE_bool(
    "explain", False, "Add the interest that won, and three items that it holds."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "A .parquet, .csv or .jsonl file. Default: CSV on standard output."
)


_INDEX = flags.DEFINE_enum(
    "index",
    None,
    ["flat", "ivf", "hnsw"],
    "Retrieve with faiss, then score exactly what was found; says how many answers are "
    "proven to be the exact ones, and recall on a sample. Default: exact search.",
)
_DEPTH = flags.DEFINE_integer("depth", 50, "With --index: items an interest.", 1)
_PROBES = flags.DEFINE_integer(
    "probes", None, "With --index=ivf: cells visited. Default: by --recall.", 1
)
_RECALL = flags.DEFINE_float(
    "recall",
    0.95,
    "With --index=ivf: as few cells are visited as find this share of the exact "
    "answers of a sample.",
    lower_bound=0.0,
    upper_bound=1.0,
)
flags.adopt_module_key_flags(log_flags)  # Of --histories_file.


def main() -> None:
    given = {
        "--users": _USERS.value,
        "--users_file": _USERS_FILE.value,
        "--all_users": _ALL_USERS.value,
        "--history": _HISTORY.value,
        "--histories_file": _HISTORIES_FILE.value,
    }
    chosen = [flag for flag, value in given.items() if value]
    if len(chosen) != 1:
        raise UserError(
            f"Say for whom, by one of {', '.join(given)}. Received: "
            f"{', '.join(chosen) or 'none'}"
        )
    if log_flags.given() and not _HISTORIES_FILE.value:
        raise UserError(
            f"{log_flags.given()[0]} says how histories are read: it goes with "
            "--histories_file."
        )
    output = Path(_OUTPUT.value) if _OUTPUT.value else None
    # What can be said before TensorFlow is there is said.
    from serving import files

    if output:
        files.check_output(output)
    candidates = files.read_ids(_CANDIDATES.value) if _CANDIDATES.value else None
    users = files.read_ids(_USERS_FILE.value) if _USERS_FILE.value else _USERS.value
    history = _HISTORY.value
    if _HISTORIES_FILE.value:
        history = files.read_histories(_HISTORIES_FILE.value, log_flags.options())
    from serving.answer import answer
    from serving.recommender import Recommender

    recommender = Recommender.load(_RUN_DIR.value, _DATA_DIR.value)
    if _ALL_USERS.value:
        asked = recommender.everyone()
    else:
        asked = recommender.requests(history, users or None, _TIMES.value)
    index = None
    if _INDEX.value:
        from serving.index import Index

        index = Index(recommender.model, _INDEX.value, depth=_DEPTH.value)
        if _PROBES.value:
            index.probe(_PROBES.value)
        elif _INDEX.value == "ivf":
            from serving.sample import Sample

            sample = Sample(recommender, asked, _K.value, _EXCLUDE_SEEN.value)
            sample.tune(index, _RECALL.value)
            logging.info("%d of %d cells are visited.", index.probes, index.cells)
    answer(
        recommender,
        asked,
        output,
        k=_K.value,
        exclude_seen=_EXCLUDE_SEEN.value,
        candidates=candidates,
        at=_AT.value,
        explain=_EXPLAIN.value,
        index=index,
    )
    if output:
        logging.info("Written: %s", output)


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. Nothing was written.")
