"""Commands of this package one after the other; TensorFlow is imported once for all.

Importing it takes four to five seconds of a core, more than the training of a small
model. So one process imports it and does nothing else; each command is a fork of that
process, and so has memory, random numbers and an end of its own, as if it had been
started alone. Forking is safe while TensorFlow has only been imported: its threads
begin with the first operation.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
from types import TracebackType

from harness import environment

# Everything that takes long to import and that these commands share.
_IMPORTED_BEFORE = ("harness.runner", "matplotlib")

# No command that a user types: it has no `__main__`, and takes this module's name as it
# is installed.
_PROGRAM = (
    "import importlib, sys; importlib.import_module(sys.argv[1]).main(int(sys.argv[2]))"
)


class Forks:
    """Runs commands as `python -m MODULE FLAGS...` would; a context manager.

    The process that is forked is started with the first command.
    """

    def __init__(self) -> None:
        self._origin: subprocess.Popen[str] | None = None
        self._answers = -1

    def __enter__(self) -> Forks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def run(self, command: list[str]) -> int:
        """Runs [module, flags...] to its end.

        Returns:
            The exit code, as `subprocess` gives it: minus its number for a signal.

        Raises:
            KeyboardInterrupt: on Ctrl-C, which reaches the command too; it has ended
                then, and has had the time to save.
        """
        origin = self._origin or self._start()
        assert origin.stdin is not None
        try:
            origin.stdin.write(json.dumps(command) + "\n")
            origin.stdin.flush()
        except BrokenPipeError:
            return self._end() or 1
        try:
            answer = self._read()
        except KeyboardInterrupt:
            self._read()
            raise
        # Without an answer the process itself was killed, for want of memory say: the
        # next command starts another.
        return int(answer) if answer else self._end() or 1

    def _start(self) -> subprocess.Popen[str]:
        self._answers, theirs = os.pipe()
        self._origin = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, __name__, str(theirs)],
            stdin=subprocess.PIPE,
            pass_fds=[theirs],
            text=True,
        )
        os.close(theirs)
        return self._origin

    def _read(self) -> str:
        """The next line of an answer; "" when the other side has ended."""
        line = b""
        while not line.endswith(b"\n"):
            piece = os.read(self._answers, 64)
            if not piece:
                return ""
            line += piece
        return line.decode()

    def _end(self) -> int:
        if self._origin is None:
            return 0
        assert self._origin.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._origin.stdin.close()
        code = self._origin.wait()
        os.close(self._answers)
        self._origin = None
        return code


def serve(answers: int) -> list[str] | None:
    """Forks once for each line of standard input, [module, flags...] as JSON.

    Args:
        answers: file descriptor to which exit codes go, a line each.

    Returns:
        In a fork, its command; in the process itself, None at the end of the input.
    """
    # Ctrl-C is for the command; this process ends with its input.
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _IMPORTED_BEFORE:
        importlib.import_module(name)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            signal.signal(signal.SIGINT, heard)
            os.close(answers)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, sys.stdin.fileno())
            os.close(nothing)
            return json.loads(line)
        _, status = os.waitpid(process, 0)
        os.write(answers, b"%d\n" % os.waitstatus_to_exitcode(status))
    return None


def main(answers: int) -> None:
    """What the process that is forked does, and then each of its forks."""
    environment.set_defaults()
    command = serve(answers)
    if command is not None:
        sys.argv = command
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
