"""A sentence names no flag that the command which says it lacks."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from absl import flags

from data import filter_flags, log_flags

ROOT = Path(__file__).parent.parent
# `data.prepare` alone calls these, or they speak of the flags of any command.
_OWN = ("prepare", "request", "given_split", "command_line", "sequential", "synthetic")
SHARED = sorted(
    str(path.relative_to(ROOT))
    for path in [
        *(ROOT / "data").glob("*.py"),
        *(ROOT / "harness" / name for name in ("epoch.py", "runner.py")),
    ]
    if path.stem not in _OWN
)
# Flags of every command that reads a log.
OF_LOGS = {
    flag.name
    for module in (log_flags, filter_flags)
    for flag in flags.FLAGS.flags_by_module_dict()[module.__name__]
}


def texts(source):
    """What a module says, docstrings left out; of an f-string its fixed parts."""
    tree = ast.parse(source)
    left_out = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            left_out.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            left_out |= {id(part) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.JoinedStr):
            fixed = [part for part in node.values if isinstance(part, ast.Constant)]
            yield "".join(part.value for part in fixed)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def lacking(source):
    """Texts that name a flag of some commands alone, and not those commands."""
    found = []
    for text in texts(source):
        named = {*re.findall(r"--([a-z_]+)", text)} - OF_LOGS
        says_whose = re.search(r"(data|experiments)\.[a-z_]+", text)
        was_given = text.startswith("--")  # As in "--seed takes ... Received: ...".
        if named and " " in text and not (says_whose or was_given):
            found.append(text)
    return found


@pytest.mark.parametrize("module", SHARED)
def test_a_flag_of_one_command_is_named_with_it(module):
    assert lacking((ROOT / module).read_text(encoding="utf-8")) == []


def test_a_flag_without_its_command_is_found():
    assert lacking('f"{x} Use --split=per_user."') == []  # An expression: no text.
    assert lacking('y = f"{x} Use --split=per_user."') == [" Use --split=per_user."]
    assert lacking('y = f"{x} Use --split=per_user of data.prepare."') == []
    assert lacking('y = "Say it by --time_unit, or --where=a=b."') == []
