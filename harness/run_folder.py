"""Where a run stands, the names of its files, and how they are read and written."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from harness import ledger, provenance
from harness.config import Config


def run_dir(
    runs_dir: str, dataset: str, split: str, model: str, variant: str, seed: int
) -> str:
    """Where a run belongs; a variant of a model has a folder of its own."""
    return f"{runs_dir}/{dataset}/{split}/{run_folder(model, variant)}/seed-{seed}"


def run_folder(model: str, variant: str) -> str:
    return model if variant == "paper" else f"{model}-{variant}"


PASSPORT, CONFIG, RANKS, WEIGHTS = (
    "passport.json",
    "config.json",
    "ranks.parquet",
    "model.weights.h5",
)


def record_look(run_dir: Path, what: str) -> None:
    """Notes in the ledger what test instances are to be ranked for.

    Raises:
        ValueError: if the run is not sealed.
    """
    ledger.record_look(run_dir / CONFIG, run_dir / WEIGHTS, what, provenance.commit())


def write_ranks(run_dir: Path, table: pd.DataFrame) -> None:
    """Replaces the rows of the table's protocols in `ranks.parquet`, atomically."""
    path = run_dir / RANKS
    if path.exists():
        kept = pd.read_parquet(path)
        kept = kept[~kept["protocol"].isin(table["protocol"].unique())]
        table = pd.concat([kept, table], ignore_index=True)
    partial = path.with_name(f".{path.name}.partial")
    table.to_parquet(partial, index=False)
    os.replace(partial, path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(partial, path)


def read_run(run_dir: Path) -> tuple[Config, dict[str, Any]]:
    """The configuration and the passport of a finished run.

    Raises:
        ValueError: if there is none.
    """
    if not (run_dir / PASSPORT).exists():
        raise ValueError(
            f"{run_dir} holds no finished run. Run `python -m experiments.train "
            f"... --run_dir={run_dir}` first."
        )
    fields = {field.name for field in dataclasses.fields(Config)}
    stored = json.loads((run_dir / CONFIG).read_text())
    # A run from before a field existed had its default.
    config = Config(**{key: stored[key] for key in fields & stored.keys()})
    return config, json.loads((run_dir / PASSPORT).read_text())


FOLDER = "tensorboard"
