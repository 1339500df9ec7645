"""Calls commands inside this process: as typed, but TensorFlow is imported once."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import runpy
import sys
import traceback
import warnings
from pathlib import Path
from types import ModuleType
from unittest import mock

from absl import flags, logging


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code; 70 after a traceback.
        out, err: what it wrote; the traceback or the last sentence ends `err`.
    """

    code: int
    out: str
    err: str

    @property
    def is_traceback(self):
        return "Traceback (most recent call last)" in self.err

    @property
    def sentence(self):
        """What stands after "error: ", in one line; empty if there is none."""
        lines = [
            line
            for line in self.err.splitlines()
            if line.startswith(("error: ", "FATAL"))
        ]
        return lines[-1] if lines else ""


def call(module: str, *arguments: str | Path) -> Ended:
    """Runs `python -m module arguments`."""
    own = _set_aside_flags()
    commands = [name for name in sys.modules if _is_command(name)]
    kept = {name: _forgotten(name) for name in commands}
    out, err = io.StringIO(), io.StringIO()
    argv = [module, *map(str, arguments)]
    verbosity, logger = logging.get_verbosity(), logging.get_absl_logger()
    level = logger.level  # `set_verbosity` sets it, and does not take that back.
    try:
        written = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
        with written[0], written[1], mock.patch.object(sys, "argv", argv):
            code = _run(module)
    finally:
        logging.set_verbosity(verbosity)
        logger.setLevel(level)
        _set_aside_flags()  # Those of this command.
        for defined_by, flag in own:
            flags.FLAGS[flag.name] = flag
            flags.FLAGS.register_flag_by_module(defined_by, flag)
        for name in [name for name in sys.modules if _is_command(name)]:
            _forgotten(name)
        sys.modules.update(kept)
    return Ended(code, out.getvalue(), err.getvalue())


def _set_aside_flags() -> list[tuple[str, flags.Flag]]:
    """Flags of commands that other tests have imported: two may have one name."""
    found = [
        (str(flags.FLAGS.find_module_defining_flag(name)), flags.FLAGS[name])
        for name in [*flags.FLAGS]
    ]
    own = [(module, flag) for module, flag in found if not module.startswith("absl.")]
    for _, flag in own:
        delattr(flags.FLAGS, flag.name)
    return own


def _forgotten(name: str) -> ModuleType:
    """A module that the next import makes anew, as does an import of its package."""
    package, _, own = name.rpartition(".")
    if package in sys.modules:
        vars(sys.modules[package]).pop(own, None)
    return sys.modules.pop(name)


def _is_command(name: str) -> bool:
    """Modules that define flags when they are imported."""
    return name in ("data.prepare", "data.log_flags", "data.filter_flags") or (
        name.startswith(("experiments.", "benchmarks.")) and name.count(".") == 1
    )


def _run(module: str) -> int:
    try:
        with warnings.catch_warnings():  # In the tests they are errors.
            warnings.simplefilter("ignore")
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
            return 1
        return end.code or 0
    except Exception:
        traceback.print_exc()
        return 70
    return 0
