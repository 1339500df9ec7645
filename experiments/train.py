"""Trains one model on one data set and writes its test metrics.

Example: python -m experiments.train --model=mgnm --dataset=toys --run_dir=runs/toys-1
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from harness import cluster, command_line, defaults, run_folder
from harness.config import (
    OBJECTIVES,
    PAPER,
    RECIPES,
    SCHEDULES,
    STRATEGIES,
    Config,
    with_arguments,
)

if TYPE_CHECKING:
    from data.prepared import PreparedData
    from harness.passport import Passport

_MODEL = flags.DEFINE_string("model", None, defaults.MODEL_HELP, required=True)
_DATASET = flags.DEFINE_string(
    "dataset", None, "Name under which `data.prepare` wrote the data.", required=True
)
_SPLIT = flags.DEFINE_string(
    "split", None, "Which of its splits; needed only if several are prepared."
)
_RUN_DIR = flags.DEFINE_string(
    "run_dir",
    None,
    "Folder of the run. Default: runs/<dataset>/<split>/<model>/seed-<n>, of another "
    "recipe than the paper's runs/<recipe>/<dataset>/.... An unfinished run there goes "
    "on; a finished one is left as it is.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "data/prepared", "Where `data.prepare` wrote."
)
_VERIFY = flags.DEFINE_bool(
    "verify",
    False,
    "Check the hashes of the prepared data again; else once a machine.",
)
_SEED = flags.DEFINE_integer(
    "seed", 1, "Seeds initialisation, order and negatives.", lower_bound=0
)
_RECIPE = flags.DEFINE_enum(
    "recipe",
    PAPER,
    list(RECIPES),
    "How to train: as the paper says, or as the field does today (docs/recipe.md).",
)
_VARIANT = flags.DEFINE_string(
    "variant",
    None,
    "Name of a departure, kept in the passport. `released` (of mgnm) trains what the "
    "released code computes, see docs/released_code.md. Default: paper.",
)
_MAX_EPOCHS = flags.DEFINE_integer(
    "max_epochs", None, "Most passes over the training instances.", lower_bound=1
)
_PATIENCE = flags.DEFINE_integer(
    "patience", None, "Epochs without a better validation metric.", lower_bound=1
)
_LEARNING_RATE = flags.DEFINE_float(
    "learning_rate",
    None,
    "The learning rate of LazyAdam at the first step.",
    lower_bound=1e-9,
)
_SCHEDULE = flags.DEFINE_enum(
    "schedule",
    None,
    list(SCHEDULES),
    "Of the learning rate: to zero along half a cosine over --max_epochs, or constant.",
)
_L2 = flags.DEFINE_float("l2", None, "Weight of the L2 penalty.", lower_bound=0.0)
_OBJECTIVE = flags.DEFINE_enum(
    "objective",
    None,
    list(OBJECTIVES),
    "What is minimised. All but cross_entropy have negatives that a batch shares.",
)
_NUM_NEGATIVES = flags.DEFINE_integer(
    "num_negatives", None, "Of each positive, or shared by a batch.", lower_bound=1
)
_CALIBRATION = flags.DEFINE_float(
    "calibration", None, "t of the objective gbce.", lower_bound=0.0, upper_bound=1.0
)
_PRIOR_SHIFT = flags.DEFINE_bool(
    "prior_shift", None, "Rank with what has been popular lately, if there are times."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "Positives a batch.", 1)
_MAX_HISTORY = flags.DEFINE_integer(
    "max_history", None, "Newest events that a model is shown.", lower_bound=1
)
_VALID_INSTANCES = flags.DEFINE_integer(
    "valid_instances",
    None,
    "Most validation instances ranked after an epoch, a seeded sample.",
    lower_bound=1,
)
_SET = flags.DEFINE_multi_string(
    "set",
    [],
    "An argument of the model's constructor, e.g. --set=num_interests=2; repeatable.",
)
_TEST_INSTANCES = flags.DEFINE_integer(
    "test_instances",
    None,
    "Most test instances that the final metrics are of, a seeded sample, the same for "
    "all models. Default: all.",
    lower_bound=1,
)
_MIXED_PRECISION = flags.DEFINE_bool(
    "mixed_precision", None, "Compute in float16, for GPUs."
)
_JIT_COMPILE = flags.DEFINE_bool("jit_compile", None, "Train step through XLA.")
_DETERMINISTIC = flags.DEFINE_bool(
    "deterministic", None, "Only deterministic kernels; matters on GPUs."
)
_STRATEGY = flags.DEFINE_enum(
    "strategy",
    None,
    list(STRATEGIES),
    "Share each batch among this machine's GPUs (mirrored) or the workers that "
    "TF_CONFIG names (multi_worker). Default: none.",
)
_PEER_TIMEOUT = flags.DEFINE_float(
    "peer_timeout",
    120.0,
    "Seconds that workers of --strategy=multi_worker wait for each other, and for a "
    "sign of life later.",
    lower_bound=1.0,
)
_INIT_FROM = flags.DEFINE_string(
    "init_from",
    None,
    "Start from the weights of this finished run, whose log may have had other users "
    "and items: rows are matched by raw id. Default: start anew.",
)


def main() -> None:
    changes: dict[str, Any] = {
        "recipe": _RECIPE.value,
        "variant": _VARIANT.value,
        "max_epochs": _MAX_EPOCHS.value,
        "patience": _PATIENCE.value,
        "learning_rate": _LEARNING_RATE.value,
        "schedule": _SCHEDULE.value,
        "l2": _L2.value,
        "objective": _OBJECTIVE.value,
        "num_negatives": _NUM_NEGATIVES.value,
        "calibration": _CALIBRATION.value,
        "prior_shift": _PRIOR_SHIFT.value,
        "batch_size": _BATCH_SIZE.value,
        "max_history": _MAX_HISTORY.value,
        "valid_instances": _VALID_INSTANCES.value,
        "test_instances": _TEST_INSTANCES.value,
        "mixed_precision": _MIXED_PRECISION.value,
        "jit_compile": _JIT_COMPILE.value,
        "deterministic": _DETERMINISTIC.value,
        "strategy": _STRATEGY.value,
        "init_from": _INIT_FROM.value,
    }
    from data import names, prepared

    if _VARIANT.value is not None:
        names.check(_VARIANT.value, "--variant")
    # What the flags have wrong is said before the data are looked for, of the class
    # of one's own as well.
    with_arguments(
        defaults.get_config(_MODEL.value, _DATASET.value, **changes), _SET.value
    )
    data = prepared.load(
        Path(_DATA_DIR.value), _DATASET.value, _SPLIT.value, _VERIFY.value
    )
    config = defaults.get_config(
        _MODEL.value, data.name, data_sha256=data.meta["sha256"], **changes
    )
    _run(with_arguments(config, _SET.value), data)


def _run(config: Config, data: PreparedData) -> None:
    workers = cluster.from_environment() if _is_shared(config) else None
    run_dir = Path(
        _RUN_DIR.value
        or run_folder.run_dir(
            str(defaults.of_recipe(Path("runs"), config.recipe)),
            data.name,
            data.split,
            config.model,
            config.variant,
            _SEED.value,
        )
    )
    with contextlib.ExitStack() as stack:
        if workers:
            claims = {
                **run_folder.identity(config, _SEED.value, data.meta["sha256"]),
                "code": cluster.hash_of_code(),
            }
            stack.enter_context(cluster.joined(workers, claims, _PEER_TIMEOUT.value))
        passport = _train(config, data, run_dir)
    if passport is None:
        # Where to is known here alone.
        sys.exit(f"Stopped. The same command goes on from {run_dir}.")
    for grouping, metrics in passport["metrics"]["test"]["uni1000"].items():
        shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        where = " (as in Table 2)" if grouping == "instance" else ""
        logging.info("test uni1000, by %s%s: %s", grouping, where, shown)
    logging.info("Written: %s", run_dir)


def _is_shared(config: Config) -> bool:
    return config.strategy == "multi_worker"


def _train(config: Config, data: PreparedData, run_dir: Path) -> Passport | None:
    """The passport; None if it was stopped."""
    from harness import runner

    try:
        return runner.run(config, data, run_dir, _SEED.value)
    except KeyboardInterrupt:
        return None


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped before the training.")
