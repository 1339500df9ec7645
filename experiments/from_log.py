"""From a shop's log to recommendations for everyone in it, in one command.

Example: python -m experiments.from_log --source=log.csv --output_dir=shop

`make recommend SOURCE=log.csv` does the same, its environment included.

Prepares the log, trains a short list of models, takes the one that the validation
events prefer, says whether it beats popularity and item-kNN, and writes
recommendations for all users. The same command goes on where it was stopped.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from data import filter_flags, log_flags
from harness import command_line

_SOURCE = flags.DEFINE_string(
    "source",
    None,
    "A log of any form that `data.prepare` reads, e.g. csv or csv.gz with the columns "
    "user,item[,rating],timestamp|order; --columns and the like say what is what.",
    required=True,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Where all is written. Default: recommended/<name of the log>, with -keep_past "
    "behind it where that is given.",
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
_REFIT = flags.DEFINE_bool(
    "refit",
    True,
    "Trains the chosen model again on all events, those that tested it too, before "
    "it recommends.",
)
_SEED = flags.DEFINE_integer("seed", 1, "Of the training.", lower_bound=0)
flags.adopt_module_key_flags(log_flags)
flags.adopt_module_key_flags(filter_flags)


def main() -> None:
    from harness.defaults import check_model

    source = Path(_SOURCE.value)
    for model in _MODELS.value:
        check_model(model)
    # A log that is not there, or whose columns are not told, waits for no TensorFlow.
    from data import log_file

    log = log_flags.options()
    log_file.form_of(source, log)
    # Here, so that --help and a mistyped flag do not wait for TensorFlow.
    from experiments.studies import own_log

    name = own_log.name_of(source) + ("-keep_past" if _KEEP_PAST.value else "")
    own_log.recommend(
        source,
        Path(_OUTPUT_DIR.value or f"recommended/{name}"),
        own_log.Options(
            log=log,
            filters=filter_flags.filters(),
            models=_MODELS.value,
            k=_K.value,
            max_epochs=_MAX_EPOCHS.value,
            rating_above=_RATING_ABOVE.value,
            keeps_past=_KEEP_PAST.value,
            seed=_SEED.value,
            refits=_REFIT.value,
        ),
    )


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. The same command goes on from there.")
