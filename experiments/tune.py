"""Searches a model's settings on validation; test instances are never ranked.

Example: python -m experiments.tune --model=gru4rec --dataset=toys --trials=8

Every model has the same number of trials and epochs. The first trial is the model's
default configuration, the others are drawn from `experiments.search_space` with a seed.
Training on that data set then uses the best trial's settings. A stopped search goes on
with the same command.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from data import command_line
from experiments import configs

if TYPE_CHECKING:
    from data.prepared import PreparedData

_MODEL = flags.DEFINE_enum(
    "model", None, sorted(configs.MODEL_SETTINGS), "Which model.", required=True
)
_DATASET = flags.DEFINE_string(
    "dataset", None, "Name under which `data.prepare` wrote the data.", required=True
)
_SPLIT = flags.DEFINE_string(
    "split", None, "Which of its splits; needed only if several are prepared."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "data/prepared", "Where `data.prepare` wrote."
)
_RECIPE = flags.DEFINE_enum(
    "recipe",
    configs.PAPER,
    list(configs.RECIPES),
    "Which recipe's settings to search; no other recipe uses them.",
)
_VARIANT = flags.DEFINE_string(
    "variant", None, f"`{configs.NO_TIMES}` for a model that has one, on such data."
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    str(configs.TUNED_DIR),
    "The log goes to <output_dir>/<dataset>/<model>.jsonl, of another recipe than the "
    "paper's to <output_dir>/<recipe>/<dataset>/...; training reads the default.",
)
_TRIALS = flags.DEFINE_integer("trials", 8, "How many, the first included.", 1)
_MAX_EPOCHS = flags.DEFINE_integer("max_epochs", 12, "Epochs of a trial.", 1)
_SEED = flags.DEFINE_integer("seed", 1, "Of the draws and of the training.", 0)


def main() -> None:
    from data import prepared

    best = search(
        prepared.load(Path(_DATA_DIR.value), _DATASET.value, _SPLIT.value),
        model=_MODEL.value,
        recipe=_RECIPE.value,
        variant=_VARIANT.value,
        output_dir=Path(_OUTPUT_DIR.value),
        trials=_TRIALS.value,
        max_epochs=_MAX_EPOCHS.value,
        seed=_SEED.value,
    )
    sys.stdout.write(f"best: {json.dumps(best)}\n")


def search(
    data: PreparedData,
    model: str,
    output_dir: Path,
    trials: int,
    max_epochs: int,
    seed: int,
    variant: str | None = None,
    recipe: str = configs.PAPER,
) -> dict[str, Any]:
    """Runs the trials that the log lacks.

    Returns:
        The log's best line: trial, settings, ndcg@5, gauc, best_epoch.

    Raises:
        ValueError: if the log is of another search.
        KeyboardInterrupt: on Ctrl-C; finished trials are kept.
    """
    from experiments import search_space

    log = configs.of_recipe(output_dir, recipe) / data.name / f"{model}.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    lines = log.read_text().splitlines() if log.exists() else []
    done = [json.loads(line) for line in lines]
    drawn = search_space.draw(model, trials, seed, recipe)
    for number, settings in enumerate(drawn):
        if number < len(done):
            if done[number]["settings"] != settings:
                raise ValueError(
                    f"{log}, line {number + 1} is of another search space or seed: "
                    "choose another --output_dir, or delete that file."
                )
            continue
        logging.info("Trial %d of %d: %s", number + 1, len(drawn), settings)
        config = configs.get_config(
            model,
            data.name,
            tuned=False,
            recipe=recipe,
            variant=variant,
            max_epochs=max_epochs,
            patience=max_epochs,
        )
        found = _try(data, configs.with_settings(config, settings), seed)
        done.append({"trial": number, "settings": settings, **found})
        with log.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
    return configs.best_trial(done)


def _try(data: PreparedData, config: configs.Config, seed: int) -> dict[str, Any]:
    """Validation metrics of the best epoch; none if the training diverged."""
    import tempfile

    from tensorflow import keras

    from experiments import runner, training

    keras.backend.clear_session()
    runner.set_up_tensorflow(config, seed)
    model = runner.build_model(config, data, seed)
    ranker = runner.make_ranker(model, data, config)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = training.train(model, data, config, ranker, Path(folder), seed)
        except training.Interrupted as stop:
            raise KeyboardInterrupt from stop
        except training.Diverged as error:
            logging.warning("%s", error)
            return {"ndcg@5": None, "gauc": None}
    values = found["valid_metrics"]
    return {
        "ndcg@5": round(values["ndcg@5"], 5),
        "gauc": round(values["gauc"], 5),
        "best_epoch": found["best_epoch"],
        "seconds": found["seconds"],
    }


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. The same command goes on from here.")
