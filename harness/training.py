"""Trains a model epoch by epoch, so that it can stop and go on at any step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from absl import logging

from data import atomic, carried, manifest
from data.errors import UserError
from data.prepared import PreparedData
from harness import distribution, metrics, run_folder, sampling
from harness.board import epochs
from harness.config import Config
from harness.epoch import run_epoch
from harness.passport import Metrics, Training
from harness.progress import Progress, Steps, StoredProgress, stop_on_signals
from harness.ranker import Ranker
from mgnm_tf.recommender import SequentialRecommender


class Interrupted(KeyboardInterrupt):
    """Ctrl-C (or SIGTERM): the state is saved, the run can go on.

    Every command ends on it as on Ctrl-C anywhere else.
    """


def train(
    model: SequentialRecommender,
    data: PreparedData,
    config: Config,
    ranker: Ranker,
    run_dir: Path,
    seed: int,
) -> tuple[Training, Metrics]:
    """Trains to the best validation metric and leaves its weights in the model.

    Goes on from the checkpoint in `run_dir` if there is one: the weights then are, on
    a CPU, bit for bit those of a run that was never stopped. Of several workers the
    chief writes `run_dir`, which all must be able to read.

    Returns:
        The passport's `training` entry, and the best epoch's validation metrics.

    Raises:
        Interrupted: on Ctrl-C, after saving.
    """

    def judge(now: Progress, folder: Path) -> None:
        valid_metrics = _validate(config, ranker, data, now.epoch)
        _keep_best(config, now, valid_metrics, model.save_weights, folder)

    return _train(model, data, config, run_dir, seed, judge)


def train_epochs(
    model: SequentialRecommender,
    data: PreparedData,
    config: Config,
    run_dir: Path,
    seed: int,
    epochs: int,
) -> Training:
    """Trains the first so many epochs of a budget, without validation.

    The learning rate falls as over the whole budget. Goes on where it was stopped, as
    `train` does.

    Raises:
        Interrupted: on Ctrl-C, after saving.
    """

    def judge(now: Progress, folder: Path) -> None:
        if now.epoch >= epochs:
            _keep(now, {}, model.save_weights, folder)
            now.stopped_because = f"the {_epochs(epochs)} that were asked for"

    trained, _ = _train(model, data, config, run_dir, seed, judge)
    return trained


def _train(
    model: SequentialRecommender,
    data: PreparedData,
    config: Config,
    run_dir: Path,
    seed: int,
    judge: Callable[[Progress, Path], None],
) -> tuple[Training, Metrics]:
    """Runs epochs until `judge`, which is told after each, gives a reason to stop."""
    progress = StoredProgress()
    checkpoint = tf.train.Checkpoint(
        model=model, optimizer=model.optimizer, progress=progress
    )
    if _restore(checkpoint, run_dir):
        logging.info("Going on after epoch %d.", progress.now.epoch)
    now = progress.now
    now.note_code()
    first_step_s = None
    with distribution.own_folder(run_dir) as folder, stop_on_signals() as stopping:
        manager = tf.train.CheckpointManager(
            checkpoint, str(folder / run_folder.CHECKPOINT), max_to_keep=1
        )
        board = epochs.Board(model, data, config)
        writer = tf.summary.create_file_writer(str(folder / run_folder.TENSORBOARD))
        with writer.as_default():
            while now.stopped_because is None:
                with carried.raising():
                    taken = run_epoch(
                        model, data, config, seed, now.epoch, now.step, stopping
                    )
                first_step_s = taken.first_step_s or first_step_s
                now.add(taken, config.batch_size)
                if taken.stopped:
                    manager.save()
                    raise Interrupted
                _log_steps(now.epoch, taken, config.batch_size)
                judge(now, folder)
                board.write(now.epoch, last=now.stopped_because is not None)
                manager.save()
                _forget_old_weights(folder, now.best_epoch)
        distribution.wait_for_all()  # The chief has written the weights.
        logging.info(
            "Stopped after epoch %d: %s. The best is epoch %d.",
            *(now.epoch, now.stopped_because, now.best_epoch),
        )
        best = run_folder.epoch_weights(run_dir, now.best_epoch)
        _check_weights(best, now)
        model.load_weights(best)
    speed = now.timed_positives / max(now.timed_seconds, 1e-9)
    trained: Training = {
        "epochs": now.epoch,
        "max_epochs": config.max_epochs,
        "best_epoch": now.best_epoch,
        "steps": now.steps,
        "seconds": round(now.seconds, 2),
        "positives_per_s": round(speed, 1),
        "first_step_s": first_step_s,
        "stopped_because": now.stopped_because,
        "commits": now.commits,
        "tensorflow": now.tensorflow,
    }
    return trained, now.best_metrics


def _restore(checkpoint: tf.train.Checkpoint, run_dir: Path) -> bool:
    """Goes back to the newest checkpoint; whether there is one.

    TensorFlow checks the sums of what it reads.
    """
    folder = run_dir / run_folder.CHECKPOINT
    if not (folder / "checkpoint").exists():  # Nothing was saved whole.
        return False
    try:
        stored = tf.train.latest_checkpoint(str(folder))
        if stored is None:
            raise ValueError("files are missing")
        checkpoint.restore(stored).expect_partial()
    except (tf.errors.OpError, ValueError, TypeError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{folder} is damaged ({reason}), so that the training cannot go on. "
            f"Bring it back from a copy, or delete {run_dir} and train again."
        ) from error
    return True


def _check_weights(path: Path, now: Progress) -> None:
    """Whether the best epoch's weights are those that were saved."""
    sha256 = manifest.file_hash(path) if path.exists() else "missing"
    # A checkpoint of an older version does not tell their hash.
    if sha256 == "missing" or now.best_sha256 not in (None, sha256):
        raise UserError(
            f"{path} is {'missing' if sha256 == 'missing' else 'damaged'}. Bring it "
            f"back from a copy, or delete {path.parent} and train again."
        )


def _log_steps(epoch: int, taken: Steps, batch_size: int) -> None:
    for key, value in taken.losses.items():
        # The capital puts the loss first: TensorBoard opens on it.
        tag = (
            "Loss/train" if key == "loss" else f"Loss/train_{key.replace('_loss', '')}"
        )
        tf.summary.scalar(
            tag, value, step=epoch, description="Mean over the steps of each epoch."
        )
    speed = taken.done * batch_size / taken.seconds
    tf.summary.scalar(
        "train/positives_per_s",
        speed,
        step=epoch,
        description="Training instances a second, epoch by epoch, without validation.",
    )
    loss = taken.losses.get("loss", float("nan"))
    logging.info("Epoch %d: loss %.4f, %s positives/s", epoch, loss, f"{speed:,.0f}")


def _validate(
    config: Config, ranker: Ranker, data: PreparedData, epoch: int
) -> Metrics:
    """Ranks the validation instances, under uni1000 as Table 2's."""
    count = len(data.instances["valid"])
    rows = sampling.sample_rows(count, config.valid_instances, sampling.VALID_SEED)
    ranks = ranker.rank("valid", "uni1000", rows=rows).ranks
    valid_metrics = metrics.instance_metrics(ranks)
    for key, value in valid_metrics.items():
        tf.summary.scalar(
            f"valid/uni1000/{key}",
            value,
            step=epoch,
            description=f"{key.upper()} of the validation instances after each epoch, "
            "each ranked among up to 1,000 drawn negatives.",
        )
    gauc, ndcg = valid_metrics["gauc"], valid_metrics["ndcg@5"]
    logging.info("Epoch %d: valid gauc %.4f, ndcg@5 %.4f", epoch, gauc, ndcg)
    return valid_metrics


def _keep_best(
    config: Config,
    now: Progress,
    valid_metrics: Metrics,
    save_weights: Callable[[Path], None],
    folder: Path,
) -> None:
    """Saves the weights if they are the best so far, and says whether to go on."""
    chosen = config.selection_metric
    if not now.best_metrics or valid_metrics[chosen] > now.best_metrics[chosen]:
        _keep(now, valid_metrics, save_weights, folder)
    if now.epoch - now.best_epoch >= config.patience:
        now.stopped_because = f"no better {chosen} in {_epochs(config.patience)}"
    elif now.epoch >= config.max_epochs:
        now.stopped_because = f"the budget of {_epochs(config.max_epochs)}"


def _keep(
    now: Progress,
    valid_metrics: Metrics,
    save_weights: Callable[[Path], None],
    folder: Path,
) -> None:
    """Notes that this epoch is the best so far, and saves its weights."""
    now.best_epoch, now.best_metrics = now.epoch, valid_metrics
    path = run_folder.epoch_weights(folder, now.epoch)
    with atomic.whole_file(path) as partial:
        save_weights(partial)
    now.best_sha256 = manifest.file_hash(path)


def _epochs(number: int) -> str:
    return f"{number} epoch" + ("" if number == 1 else "s")


def _forget_old_weights(folder: Path, best_epoch: int) -> None:
    best = run_folder.epoch_weights(folder, best_epoch)
    for path in run_folder.all_epoch_weights(folder):
        if path != best:
            path.unlink()
