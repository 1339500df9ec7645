"""Where training stands, and how it is asked to stop."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
from absl import logging

from harness import provenance


@dataclasses.dataclass(frozen=True)
class Steps:
    """Some steps of one epoch, run one after the other.

    Attributes:
        done: how many steps were taken.
        seconds: how long these steps took.
        first_step_s: seconds of the first one, which traces; None if there was none.
        losses: means over the steps, by the name that the train step gives them.
        stopped: whether someone asked to stop before the epoch's end.
    """

    done: int
    seconds: float
    first_step_s: float | None
    losses: dict[str, float]
    stopped: bool


@dataclasses.dataclass
class Progress:
    """Where training stands.

    Attributes:
        epoch: how many epochs are finished.
        step: steps done of the epoch under way.
        steps: how many training steps were taken, over all epochs.
        seconds: duration of the training steps, without validation.
        timed_positives: positives of all steps but each process's first, which traces.
        timed_seconds: duration of the same steps.
        best_epoch: the one with the best validation metric; 0 before the first.
        best_metrics: the validation metrics after the best epoch, by name.
        best_sha256: SHA-256 of its weights' file; None in older versions' checkpoints.
        stopped_because: a reason, once training is over.
        commits: the code's commits; several if another went on with a stopped run.
        tensorflow: TensorFlow's versions, in the same way.
    """

    epoch: int = 0
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    timed_positives: int = 0
    timed_seconds: float = 0.0
    best_epoch: int = 0
    best_metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    best_sha256: str | None = None
    stopped_because: str | None = None
    commits: list[str] = dataclasses.field(default_factory=list)
    tensorflow: list[str] = dataclasses.field(default_factory=list)

    def note_code(self) -> None:
        """Bits are those of an unstopped run only if all of it ran one code."""
        commit, version = provenance.commit(), tf.__version__
        if self.commits[-1:] != [commit]:
            self.commits.append(commit)
        if self.tensorflow[-1:] != [version]:
            self.tensorflow.append(version)

    def add(self, taken: Steps, batch_size: int) -> None:
        """Counts steps; the epoch is over unless they were stopped."""
        self.steps += taken.done
        self.seconds += taken.seconds
        self.timed_seconds += taken.seconds - (taken.first_step_s or 0.0)
        self.timed_positives += batch_size * max(taken.done - 1, 0)
        if taken.stopped:
            self.step += taken.done
        else:
            self.epoch, self.step = self.epoch + 1, 0


class StoredProgress(tf.train.experimental.PythonState):
    """Progress as a part of the checkpoint, so that the two never disagree."""

    def __init__(self) -> None:
        self.now = Progress()

    def serialize(self) -> str:
        return json.dumps(dataclasses.asdict(self.now))

    def deserialize(self, string_value: str) -> None:
        # A checkpoint of before these were noted does not tell its own.
        unknown = {"commits": ["unknown"], "tensorflow": ["unknown"]}
        self.now = Progress(**{**unknown, **json.loads(string_value)})


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C or SIGTERM into a flag: a step is never cut in two."""
    caught: list[int] = []
    names = (signal.SIGINT, signal.SIGTERM)
    before = {}

    def note(number: int, frame: Any) -> None:
        caught.append(number)
        if len(caught) > 1:  # The user insists.
            raise KeyboardInterrupt

    try:
        before = {name: signal.signal(name, note) for name in names}
    except ValueError:
        logging.info("Not in the main thread: Ctrl-C will not save.")
    try:
        yield lambda: bool(caught)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
