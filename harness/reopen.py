"""Opens a finished run again: the model with its weights, and its data."""

from __future__ import annotations

from pathlib import Path

from data import prepared
from data.prepared import PreparedData
from harness.build import build_model, set_up_tensorflow
from harness.run_folder import (
    WEIGHTS,
    read_run,
)
from mgnm_tf.recommender import SequentialRecommender


def load_model(
    run_dir: Path, data_dir: Path
) -> tuple[SequentialRecommender, PreparedData]:
    """The model of a finished run, with its weights, and its data.

    Raises:
        ValueError: if there is no finished run, or its data are not the ones prepared.
    """
    config, passport = read_run(run_dir)
    data = prepared.load(data_dir, passport["dataset"], passport["split"])
    if data.meta["sha256"] != passport["data"]["sha256"]:
        raise ValueError(
            f"The data prepared in {data.folder} are not those of the run {run_dir}."
        )
    set_up_tensorflow(config, passport["seed"])
    model = build_model(config, data, passport["seed"])
    model.load_weights(run_dir / WEIGHTS)
    return model, data
