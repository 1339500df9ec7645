"""Searches a model's settings on validation, with the same trials for every model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import logging

from data import locks, places
from data.errors import UserError
from harness import defaults
from harness.config import PAPER, Config, with_settings

if TYPE_CHECKING:
    from data.prepared import PreparedData


def search(
    data: PreparedData,
    model: str,
    output_dir: Path,
    trials: int,
    max_epochs: int,
    seed: int,
    variant: str | None = None,
    recipe: str = PAPER,
) -> dict[str, Any]:
    """Runs the trials that the log lacks.

    Returns:
        The log's best line: trial, settings, ndcg@5, gauc, best_epoch.

    Raises:
        UserError: if the log is of another search.
        KeyboardInterrupt: on Ctrl-C; finished trials are kept.
    """
    sha256 = data.meta["sha256"]
    searched = defaults.search_name(model, variant)
    log = defaults.search_log(output_dir, recipe, data.name, sha256, searched)
    places.check_writable(log.parent, "--output_dir")
    with locks.writing(log, "searched"):
        return _search(data, log, model, trials, max_epochs, seed, variant, recipe)


def _search(
    data: PreparedData,
    log: Path,
    model: str,
    trials: int,
    max_epochs: int,
    seed: int,
    variant: str | None,
    recipe: str,
) -> dict[str, Any]:
    from harness import search_space

    sha256 = data.meta["sha256"]
    done = defaults.read_trials(log)
    drawn = search_space.draw(model, trials, seed, recipe)
    belongs = {"data": sha256, "max_epochs": max_epochs}
    for key, value in belongs.items():
        before = done[0].get(key) if done else value
        if before != value:
            raise UserError(
                f"{log} is of a search with {key} {before}, and {value} is asked for: "
                "choose another --output_dir, or delete that file."
            )
    for number, settings in enumerate(drawn):
        if number < len(done):
            if done[number]["settings"] != settings:
                raise UserError(
                    f"{log}, line {number + 1} is of another search space or seed: "
                    "choose another --output_dir, or delete that file."
                )
            continue
        logging.info("Trial %d of %d: %s", number + 1, len(drawn), settings)
        config = defaults.get_config(
            model,
            data.name,
            tuned=False,
            recipe=recipe,
            variant=variant,
            max_epochs=max_epochs,
            patience=max_epochs,
        )
        trial_metrics = _try(data, with_settings(config, settings), seed)
        done.append({"trial": number, "settings": settings, **trial_metrics, **belongs})
        defaults.add_trial(log, done[-1])
    return defaults.best_trial(done)


def _try(data: PreparedData, config: Config, seed: int) -> dict[str, Any]:
    """Validation metrics of the best epoch; none if the training diverged."""
    import tempfile

    from harness import build, epoch, scoring, training
    from mgnm_tf.keras2 import keras

    keras.backend.clear_session()
    build.set_up_tensorflow(config, seed)
    model = build.build_model(config, data, seed)
    ranker = build.make_ranker(model, data, config)
    with tempfile.TemporaryDirectory() as folder:
        try:
            trained, valid = training.train(
                model, data, config, ranker, Path(folder), seed
            )
        except (epoch.Diverged, scoring.NotFinite) as error:
            logging.warning("%s", error)
            return {"ndcg@5": None, "gauc": None}
    return {
        "ndcg@5": round(valid["ndcg@5"], 5),
        "gauc": round(valid["gauc"], 5),
        "best_epoch": trained["best_epoch"],
        "seconds": trained["seconds"],
    }
