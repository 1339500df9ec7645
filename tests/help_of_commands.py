"""Prints what `--help` of each named command prints, and what that imported, as JSON.

Usage: python -m tests.help_of_commands MODULE...

Each command runs in a process of its own, forked off this one, which has imported
pandas: an interpreter for each would take longer to start than all of them take to
answer. Of what a command imports, pandas and what pandas needs cannot be told.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import sys
import tempfile

import pandas  # noqa: F401


def answer(module):
    """In the forked process: exit code, text, and packages imported by then."""
    text = io.StringIO()
    sys.argv = [module, "--help"]
    code = None
    try:
        with contextlib.redirect_stdout(text):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    from absl import flags

    defined_by = {
        name: str(flags.FLAGS.find_module_defining_flag(name)) for name in flags.FLAGS
    }
    return {
        "code": code,
        "text": text.getvalue(),
        "flags": [
            name for name, by in defined_by.items() if not by.startswith("absl.")
        ],
        "imported": sorted({name.split(".")[0] for name in sys.modules}),
    }


def main(modules):
    answers = {}
    for module in modules:
        with tempfile.NamedTemporaryFile("r") as file:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    with open(file.name, "w") as written:
                        json.dump(answer(module), written)
                    code = 0
                finally:
                    os._exit(code)
            _, status = os.waitpid(child, 0)
            answers[module] = json.load(file) if status == 0 else None
    print(json.dumps(answers))


if __name__ == "__main__":
    main(sys.argv[1:])
