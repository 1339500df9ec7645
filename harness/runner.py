"""One run: seed, build, train, rank, write the passport."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from absl import logging

from data import atomic, locks, places, sentences
from data.candidates import PROTOCOLS, SAMPLED_PROTOCOLS, candidate_negatives
from data.errors import UserError
from data.prepared import PreparedData
from harness import (
    distribution,
    ledger,
    metrics,
    passport,
    run_folder,
    run_manifest,
    training,
    vocabulary,
    warm_start,
)
from harness.board import finished
from harness.build import build_model, make_ranker, set_up_tensorflow
from harness.config import Config
from harness.passport import Passport, Run
from harness.rankings import ranks_table
from mgnm_tf.recommender import SequentialRecommender


def run(config: Config, data: PreparedData, run_dir: Path, seed: int) -> Passport:
    """Makes one run whole, or finishes it, or finds it finished.

    Returns:
        The passport, which is also written to `run_dir`.

    Raises:
        UserError: if `run_dir` holds a run of another configuration or a damaged one,
            cannot be written, or is being written by another process.
        training.Interrupted: on Ctrl-C; the same call goes on from there.
    """
    identity = run_folder.identity(config, seed, data.meta["sha256"])
    _check_folder(run_dir)
    if _is_finished(run_dir, identity):
        return _found_finished(run_dir)
    strategy = set_up_tensorflow(config, seed)
    with strategy.scope():
        model = build_model(config, data, seed)  # Refuses what does not fit.
        origin = None
        if config.init_from:
            origin = warm_start.start_from(model, config, data, Path(config.init_from))
        with writing(run_dir):
            if _is_finished(run_dir, identity):  # By another process, meanwhile.
                return _found_finished(run_dir)
            return _run(model, config, data, run_dir, identity, origin)


@contextlib.contextmanager
def writing(run_dir: Path) -> Iterator[None]:
    """The right to write the run's folder, which is tried; the chief's alone."""
    if distribution.worker() != 0:
        yield
        return
    with locks.writing(run_dir, "trained"):
        places.check_writable(run_dir, "--run_dir")
        yield


def _check_folder(run_dir: Path) -> None:
    """Refuses a folder that is no run's: a run writes and deletes in its own alone."""
    if not run_dir.is_dir() or (run_dir / run_folder.CONFIG).exists():
        return
    partials = {*atomic.partials(run_dir)}
    others = sorted(path.name for path in run_dir.iterdir() if path not in partials)
    if others:
        raise UserError(
            f"{run_dir} holds no run, but {sentences.few(others)}. It stays as it is: "
            "choose another folder for this run."
        )


def _found_finished(run_dir: Path) -> Passport:
    run_manifest.check(run_dir)
    logging.info("%s is finished already.", run_dir)
    if distribution.worker() == 0 and _left_over(run_dir):
        with locks.writing(run_dir, "cleared"):
            clear(run_dir)
    return passport.read(run_dir).passport


def _run(
    model: SequentialRecommender,
    config: Config,
    data: PreparedData,
    run_dir: Path,
    identity: dict[str, Any],
    origin: dict[str, Any] | None,
) -> Passport:
    """Trains and evaluates; the chief of several workers writes."""
    seed = identity[run_folder.SEED]
    chief = distribution.worker() == 0
    if chief:
        atomic.write_json(run_dir / run_folder.CONFIG, identity)
    ranker = make_ranker(model, data, config)
    if model.trainable_variables:
        trained, valid = training.train(model, data, config, ranker, run_dir, seed)
    else:
        trained = passport.untrained()
        valid = metrics.instance_metrics(ranker.rank("valid", "uni1000").ranks)
    if chief:
        write_model(run_dir, model, data)
        run_folder.record_look(run_dir, " ".join(PROTOCOLS), once=True)
    for protocol in SAMPLED_PROTOCOLS:  # Drawn once for all models: not timed.
        candidate_negatives(data, "test", protocol, config.candidate_seed)
    rankings = ranker.rank_protocols("test", config.test_instances)
    made = passport.make(config, data, seed, model, trained, valid, rankings)
    if origin:
        made["init_from"] = origin
    if run_folder.SOURCE in identity:
        made["class_source"] = identity[run_folder.SOURCE]
    if chief:
        tables = [
            ranks_table(data, ranking, name) for name, ranking in rankings.items()
        ]
        run_folder.write_ranks(run_dir, pd.concat(tables, ignore_index=True))
        _finish(Run(run_dir, made), model, data, config)
    return made


def write_model(
    run_dir: Path, model: SequentialRecommender, data: PreparedData
) -> None:
    """Writes the weights and the raw ids, and seals them with the configuration."""
    with atomic.whole_file(run_dir / run_folder.WEIGHTS) as partial:
        model.save_weights(partial)
    vocabulary.write(run_dir, data, with_events=model.needs_events)
    ledger.seal(run_dir / run_folder.CONFIG, run_dir / run_folder.WEIGHTS)


def _finish(
    run: Run, model: SequentialRecommender, data: PreparedData, config: Config
) -> None:
    """Writes the passport and what vouches for it, and clears after that alone.

    Each step can be made again: until the manifest is there, the same command goes on
    from the checkpoint; once it is, the run is finished, however much is cleared.
    """
    finished.write_finished(run, model, data, config)
    passport.write(run)
    run_manifest.write(run.folder)
    clear(run.folder)


def _left_over(run_dir: Path) -> list[Path]:
    """What only an unfinished run needs, and what killed processes left."""
    files = [*run_folder.all_epoch_weights(run_dir), *atomic.partials(run_dir)]
    checkpoint = run_dir / run_folder.CHECKPOINT
    return [*files, checkpoint] if checkpoint.exists() else files


def clear(run_dir: Path) -> None:
    """Deletes what a finished run needs no more."""
    for path in _left_over(run_dir):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_finished(run_dir: Path, identity: dict[str, Any]) -> bool:
    """Whether the folder's run is done; refuses a folder of another run."""
    names = run_folder.differences(run_dir, identity)
    if names:
        raise UserError(
            f"{run_dir} holds a run with another {', '.join(names)}. "
            "Choose another folder for this run, or delete that one."
        )
    return run_manifest.is_finished(run_dir)
