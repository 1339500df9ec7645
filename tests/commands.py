"""Runs commands as a user does, each in a process of its own, and quickly.

A process that is forked off a server which has imported TensorFlow, but computed
nothing yet, starts in an instant: importing it anew would take each test many seconds.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
# Nothing of ours: what a command imports of it, it imports itself.
_LIBRARIES = [
    *("pytest", "absl.app", "absl.logging", "numpy", "pandas", "pyarrow.parquet"),
    *("scipy.stats", "sklearn", "matplotlib.pyplot", "h5py", "tensorflow"),
    *("tensorflow.keras", "tensorflow_addons.optimizers"),
]
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(_LIBRARIES)


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Running:
    """A command that was started in the folder `cwd`; `finish` waits for it."""

    def __init__(self, module, *arguments, environment=None, cwd=ROOT):
        self.folder = tempfile.TemporaryDirectory(prefix="command-")
        given = {**os.environ, **(environment or {})}
        self.process = _SERVER.Process(
            target=_become, args=(module, arguments, given, self.folder.name, str(cwd))
        )
        self.process.start()

    def text(self, name):
        """What stands in "stdout" or "stderr" by now."""
        path = Path(self.folder.name) / name
        return path.read_text() if path.exists() else ""

    def interrupt(self, number=signal.SIGINT):
        os.kill(self.process.pid, number)

    def finish(self, timeout=None):
        """How it ended; it is killed if that takes more than `timeout` seconds."""
        self.process.join(timeout)
        late = self.process.is_alive()
        if late:
            self.process.kill()
            self.process.join()
        done = Done(self.process.exitcode, self.text("stdout"), self.text("stderr"))
        self.folder.cleanup()
        assert not late, f"It did not end within {timeout} s: {done.stderr[-2000:]}"
        return done


def run(module, *arguments, environment=None, cwd=ROOT):
    """The exit code and both outputs of `python -m module arguments`."""
    return Running(module, *arguments, environment=environment, cwd=cwd).finish()


def _become(module, arguments, environment, folder, cwd):
    """In the forked process: runs the module as `python -m` would."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        opened = os.open(os.path.join(folder, name), flags)
        os.dup2(opened, number)
        os.close(opened)
    # `python` reads these two at its start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[:0] = list(dict.fromkeys((cwd, str(ROOT))))
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
