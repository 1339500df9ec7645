"""Commands of this package, a few at a time; TensorFlow is imported once for many.

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
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType, TracebackType

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

    Args:
        beside: how many commands run at a time in all, those of other `Forks`
            included; their passports say so.
    """

    def __init__(self, beside: int = 1) -> None:
        self._beside = beside
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

    def start(self, command: list[str]) -> None:
        """Begins [module, flags...]; the one before must have ended."""
        origin = self._origin or self._start_origin()
        assert origin.stdin is not None
        # An origin that was killed meanwhile has no answer either: `end` says it.
        with contextlib.suppress(BrokenPipeError):
            origin.stdin.write(json.dumps(command) + "\n")
            origin.stdin.flush()

    def stop(self) -> None:
        """Hands SIGTERM to the command that runs."""
        if self._origin is not None:
            self._origin.terminate()

    def fileno(self) -> int:
        """Of what can be read once the command has ended: `select` takes this."""
        return self._answers

    def end(self) -> int:
        """Waits for the command that was started.

        Returns:
            The exit code, as `subprocess` gives it: minus its number for a signal.
        """
        answer = self._read()
        # Without an answer the process itself was killed, for want of memory say: the
        # next command starts another.
        return int(answer) if answer else self._end() or 1

    def _start_origin(self) -> subprocess.Popen[str]:
        self._answers, theirs = os.pipe()
        self._origin = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, __name__, str(theirs)],
            stdin=subprocess.PIPE,
            pass_fds=[theirs],
            text=True,
            env={**os.environ, **environment.beside(self._beside)},
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


def run_all(
    commands: Mapping[str, list[str]],
    at_once: int,
    started: Callable[[str], None],
    ended: Callable[[str, int], None],
) -> None:
    """Runs commands in their order, so many at a time.

    Args:
        commands: module and flags, by name.
        at_once: how many.
        started: is told the name of a command that begins.
        ended: is told the name of one that has ended, and its exit code.

    Raises:
        KeyboardInterrupt: on Ctrl-C, which reaches the commands too, and on SIGTERM,
            which is handed to them. They have ended then, and have had the time to
            save: an origin ends after its command.
    """
    left = [*commands]
    at_once = min(at_once, len(left))
    running: dict[Forks, str] = {}
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(Forks(at_once)) for _ in range(at_once)]
        signals = stack.enter_context(_stopped_together(idle))
        while left or running:
            while left and idle:
                running[idle[0]] = left.pop(0)
                started(running[idle[0]])
                idle[0].start(commands[running[idle.pop(0)]])
            by_descriptor = {one.fileno(): one for one in running}
            ready, _, _ = select.select([*by_descriptor, signals], [], [])
            if signals in ready:
                os.read(signals, 64)  # Its handler has been called, and did not raise.
                ready.remove(signals)
            for one in map(by_descriptor.__getitem__, ready):
                code = one.end()
                idle.append(one)
                ended(running.pop(one), code)


@contextlib.contextmanager
def _stopped_together(origins: Iterable[Forks]) -> Iterator[int]:
    """SIGTERM, which reaches this process alone, stops the commands as Ctrl-C does.

    Yields:
        What can be read once a signal has come. Who waits for this beside other things
        does not miss one that comes just before the waiting begins.
    """
    origins = [*origins]

    def stop(number: int, frame: FrameType | None) -> None:
        for origin in origins:
            origin.stop()
        raise KeyboardInterrupt

    arrived, noted = os.pipe()
    os.set_blocking(noted, False)
    before = signal.signal(signal.SIGTERM, stop)
    waker = signal.set_wakeup_fd(noted, warn_on_full_buffer=False)
    try:
        yield arrived
    finally:
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGTERM, before)
        os.close(arrived)
        os.close(noted)


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
    process = 0

    def hand_on(number: int, frame: FrameType | None) -> None:
        if not process:
            sys.exit(128 + number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)

    ended = signal.signal(signal.SIGTERM, hand_on)
    for line in sys.stdin:
        # One that comes before `process` is known waits until it is.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        process = os.fork()
        if process == 0:
            signal.signal(signal.SIGINT, heard)
            signal.signal(signal.SIGTERM, ended)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        if process == 0:
            os.close(answers)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, sys.stdin.fileno())
            os.close(nothing)
            return json.loads(line)
        _, status = os.waitpid(process, 0)
        process = 0
        # Who asked may have been killed meanwhile: the input is at its end then.
        with contextlib.suppress(BrokenPipeError):
            os.write(answers, b"%d\n" % os.waitstatus_to_exitcode(status))
    return None


def main(answers: int) -> None:
    """What the process that is forked does, and then each of its forks."""
    environment.set_defaults()
    command = serve(answers)
    if command is not None:
        sys.argv = command
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
