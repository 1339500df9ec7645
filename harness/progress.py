"""Where training stands, and how it is asked to stop."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
from absl import logging

from harness import provenance


class Progress(tf.train.experimental.PythonState):
    """Where training stands; part of the checkpoint, so that they never disagree."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {
            "epoch": 0,  # epochs finished
            "step": 0,  # steps of the epoch under way
            "steps": 0,
            "seconds": 0.0,  # of training steps, validation apart
            "timed_positives": 0,  # of all steps but each process's first, which traces
            "timed_seconds": 0.0,
            "best_epoch": 0,
            "best_metrics": {},
            "stopped_because": None,
            "commits": [],  # of the code, another one where a stopped run went on
        }

    def note_commit(self) -> None:
        """Bits are those of an unstopped run only if all of it ran one code."""
        commit = provenance.commit()
        if self.values["commits"][-1:] != [commit]:
            self.values["commits"].append(commit)

    def serialize(self) -> str:
        return json.dumps(self.values)

    def deserialize(self, string_value: str) -> None:
        # A checkpoint of before commits were noted does not tell its own.
        self.values = {"commits": ["unknown"], **json.loads(string_value)}


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
