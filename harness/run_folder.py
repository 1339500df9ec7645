"""Where a run stands, the names of its files, and how they are read and written."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd
from absl import logging

from data import atomic
from data.errors import UserError
from data.manifest import file_hash
from harness import ledger, provenance
from harness.config import Config, file_name, is_own

PASSPORT, CONFIG, RANKS, WEIGHTS = (
    "passport.json",
    "config.json",
    "ranks.parquet",
    "model.weights.h5",
)
TENSORBOARD, CHECKPOINT = "tensorboard", "checkpoint"
# Of `config.json`, beside the fields of `Config`.
SEED, DATA = "seed", "data"
SOURCE = "class_source"  # SHA-256 of the file of a class of one's own
INIT_WEIGHTS = "init_weights"  # SHA-256 of the weights that training starts from


def run_dir(
    runs_dir: str, dataset: str, split: str, model: str, variant: str, seed: int
) -> str:
    """Where a run belongs; a variant of a model has a folder of its own."""
    return f"{runs_dir}/{dataset}/{split}/{run_folder(model, variant)}/seed-{seed}"


def run_folder(model: str, variant: str) -> str:
    """The folder's name; of a class of one's own it has a dot for the colon."""
    name = file_name(model)
    return name if variant == "paper" else f"{name}-{variant}"


def epoch_weights(folder: Path, epoch: int) -> Path:
    """Weights of the best epoch so far, in the folder of an unfinished run."""
    return folder / f"epoch-{epoch}.weights.h5"


def all_epoch_weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.weights.h5"))


def identity(config: Config, seed: int, data_sha256: str) -> dict[str, Any]:
    """What makes a run another run: its configuration, seed and data.

    Of a class of one's own its text too: no commit may hold it. Of `init_from` what
    the folder holds, while it is there: another run may have taken its place.
    """
    fields = {**dataclasses.asdict(config), SEED: seed, DATA: data_sha256}
    if config.init_from and (Path(config.init_from) / WEIGHTS).exists():
        fields[INIT_WEIGHTS] = file_hash(Path(config.init_from) / WEIGHTS)
    if is_own(config.model):
        from harness import own_model

        fields[SOURCE] = own_model.source_sha256(config.model)
    return fields


def differences(run_dir: Path, wanted: dict[str, Any]) -> list[str]:
    """What is another in the folder's run than in the identity that is wanted.

    Nothing where the folder holds no run.
    """
    path = run_dir / CONFIG
    if not path.exists():
        return []
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(Config)
        if field.default is not dataclasses.MISSING
    }
    stored = {**defaults, **read_json(path)}  # Of fields that came later.
    wanted = json.loads(json.dumps(wanted))
    keys = {*stored, *wanted}
    if not (INIT_WEIGHTS in stored and INIT_WEIGHTS in wanted):
        keys.discard(INIT_WEIGHTS)  # Not known of one of them.
    return sorted(key for key in keys if stored.get(key) != wanted.get(key))


def record_look(run_dir: Path, what: str, once: bool = False) -> None:
    """Notes in the ledger what test instances are to be ranked for.

    Args:
        run_dir: the run's folder.
        what: the name of what is looked at, e.g. "uni1000".
        once: whether one line for it is enough, see `ledger.record_look`.

    Raises:
        UserError: if the run is not sealed.
    """
    commit = provenance.commit()
    ledger.record_look(run_dir / CONFIG, run_dir / WEIGHTS, what, commit, once)


def write_ranks(run_dir: Path, table: pd.DataFrame) -> None:
    """Replaces the rows of the table's protocols in `ranks.parquet`."""
    table = merged_ranks(run_dir, table)
    with atomic.whole_file(run_dir / RANKS) as partial:
        table.to_parquet(partial, index=False)


def merged_ranks(run_dir: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `ranks.parquet` with those of the table's protocols replaced.

    Raises:
        UserError: if the file is damaged.
    """
    if not (run_dir / RANKS).exists():
        return table
    kept = read_ranks(run_dir)
    kept = kept[~kept["protocol"].isin(table["protocol"].unique())]
    return pd.concat([kept, table], ignore_index=True)


def read_ranks(run_dir: Path) -> pd.DataFrame:
    """The ranks of a run's test instances, as `rankings.ranks_table` makes them.

    Raises:
        UserError: if the file is not there, or is damaged.
    """
    path = run_dir / RANKS
    try:
        return pd.read_parquet(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there. Train the run again.") from error
    except ValueError as error:  # Arrow's are of this kind.
        raise UserError(
            f"{path} is damaged: it is no Parquet table. Bring it back from a copy, or "
            "delete the run's folder and train again."
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UserError: if the file is not there, or is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there.") from error
    except (ValueError, RecursionError) as error:  # Neither UTF-8 nor JSON.
        raise UserError(
            f"{path} is damaged: {error}. Delete the run's folder and train again."
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} is damaged: it holds no JSON object. Delete the run's folder and "
            "train again."
        )
    return content


def warn_of_edited_class(run_dir: Path, model: str) -> None:
    """Says if a class of one's own is not any more the text that made the run."""
    stored = read_json(run_dir / CONFIG).get(SOURCE)
    if stored is None or not is_own(model):
        return
    from harness import own_model

    if own_model.source_sha256(model) != stored:
        logging.warning(
            "The file of %s was edited after the run %s: its scores may not be those "
            "that were measured.",
            model,
            run_dir,
        )


def read_config(run_dir: Path) -> Config:
    """The configuration of a run, finished or not.

    A run from before a field existed had the field's default.

    Raises:
        UserError: if there is none, it is damaged, or it comes from a version that
            knows other fields.
    """
    path = run_dir / CONFIG
    stored = read_json(path)
    names = {field.name for field in dataclasses.fields(Config)}
    unknown = sorted(stored.keys() - names - {SEED, DATA, SOURCE, INIT_WEIGHTS})
    if unknown:
        raise UserError(
            f"{path} sets {', '.join(unknown)}, which this version does not know. Use "
            "the version that made the run; its passport has the commit."
        )
    missing = sorted({"model", "arguments"} - stored.keys())
    if missing:
        raise UserError(f"{path} is damaged: it lacks {', '.join(missing)}.")
    return Config(**{key: stored[key] for key in names & stored.keys()})
