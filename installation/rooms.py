"""Puts the packages beside `mgnm_tf` inside it while a wheel is built.

A checkout has `data`, `harness`, ... beside `mgnm_tf`, and its sources say `from data
import store`. Names as plain as `data` must not be installed: whoever has a `data`
of their own would break one of the two. So a wheel has `mgnm_tf.data`, and its sources
say `from mgnm_tf.data import store`. The sources are rewritten by the positions that
Python's parser gives; what cannot be rewritten for sure fails the build.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

PACKAGE = "mgnm_tf"
# The packages that a user has a use for; benchmarks and tests stay in the checkout.
ROOMS = ("baselines", "data", "experiments", "harness", "serving")
# Files beside the sources that the code reads.
DATA_FILES = (
    *("harness/tuned/**/*.jsonl", "harness/tuned/*.json"),
    "harness/rates.json",
)
# Names the commit that a wheel was built from; passports show it.
BUILT_FROM = "built_from.txt"

HERE = Path(__file__).parent.parent

_ROOM = "|".join(ROOMS)
_COMMAND = re.compile(rf"python -m (?:{_ROOM})\.(\w+)")
_BEGINS_A_MODULE = re.compile(rf"(?:{_ROOM})\.\w*")


def sources(root: Path) -> list[Path]:
    """The sources of all rooms that are there, relative to the root of the checkout.

    A folder without `__init__.py` is no package: `data/raw` holds what was downloaded.
    """
    return [
        path.relative_to(root)
        for room in ROOMS
        for path in sorted((root / room).rglob("*.py"))
        if (path.parent / "__init__.py").exists()
    ]


def module_name(path: Path) -> str:
    """E.g. "data.store" of data/store.py, "data" of data/__init__.py."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def command_name(module: str) -> str:
    """E.g. "mgnm-reproduce-table2" of "experiments.reproduce_table2"."""
    return "mgnm-" + module.rsplit(".", 1)[-1].replace("_", "-")


def commands(root: Path) -> dict[str, str]:
    """The modules that can be run, by the names of their commands.

    Raises:
        ValueError: if two of them would have one name.
    """
    found: dict[str, str] = {}
    for path in sources(root):
        if '\nif __name__ == "__main__":' in (root / path).read_text("utf-8"):
            module = module_name(path)
            if found.setdefault(command_name(module), module) != module:
                raise ValueError(
                    f"{module} and {found[command_name(module)]} would both be the "
                    f"command {command_name(module)}: rename one."
                )
    return found


def rewrite(source: str, modules: set[str]) -> str:
    """A source as it is installed.

    Imports and strings that are a module's name get `mgnm_tf.` before it, and texts
    name the command that is installed instead of `python -m ...`.

    Args:
        source: Python.
        modules: the names of all modules in the rooms.

    Raises:
        ValueError: if a line names a room in a way that this does not rewrite.
    """
    source = _COMMAND.sub(lambda found: command_name(found[1]), source)
    lines = source.encode().splitlines(keepends=True)
    # From the end on, so that the positions before stay right. Columns are bytes.
    for row, column, name in sorted(_names(ast.parse(source), modules), reverse=True):
        line = lines[row - 1]
        at = line.find(name.encode(), column)
        # Nothing but the keyword or the quote may stand between.
        if at < 0 or not re.fullmatch(rb"(from\s+|[rR]?\"|[rR]?')", line[column:at]):
            raise ValueError(f"line {row}: {name} cannot be found where it should be.")
        lines[row - 1] = line[:at] + f"{PACKAGE}.".encode() + line[at:]
    return b"".join(lines).decode()


def _names(tree: ast.AST, modules: set[str]) -> list[tuple[int, int, str]]:
    """Line, column and name of every import and string that names a module of ours."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in ROOMS:
                    raise ValueError(
                        f"line {node.lineno}: write `from ... import ...` instead of "
                        f"`import {alias.name}`, whose name would change for its users."
                    )
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            if not node.level and name.split(".")[0] in ROOMS:
                found.append((node.lineno, node.col_offset, name))
        elif isinstance(node, ast.Constant):
            # A name without a dot, as "data", may mean anything.
            if node.value in modules and "." in str(node.value):
                found.append((node.lineno, node.col_offset, str(node.value)))
        elif isinstance(node, ast.JoinedStr) and node.values:
            first = node.values[0]
            text = first.value if isinstance(first, ast.Constant) else None
            if isinstance(text, str) and _BEGINS_A_MODULE.fullmatch(text):
                raise ValueError(
                    f"line {node.lineno}: an f-string makes the name of a module; "
                    "write the name out."
                )
    return found


def write(root: Path, package: Path) -> None:
    """Writes all rooms into a built package, and rewrites what is there already.

    Args:
        root: of the checkout or the sdist.
        package: the folder of the built `mgnm_tf`.

    Raises:
        ValueError: if a source cannot be rewritten; names the file and the line.
    """
    paths = sources(root)
    modules = {module_name(path) for path in paths}
    own = [path.relative_to(root) for path in (root / PACKAGE).rglob("*.py")]
    for path in [*paths, *own]:
        target = package.parent / path if path in own else package / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            text = rewrite((root / path).read_text("utf-8"), modules)
        except ValueError as error:
            raise ValueError(f"{path}, {error}") from error
        target.write_text(text, encoding="utf-8")
    for pattern in DATA_FILES:
        for path in root.glob(pattern):
            target = package / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    (package / BUILT_FROM).write_text(commit(root) + "\n")


def commit(root: Path) -> str:
    """The checked-out commit; in an sdist the one that it was made from."""
    stored = root / PACKAGE / BUILT_FROM
    if stored.exists():
        return stored.read_text().strip()
    if not (root / ".git").exists():
        return "unknown"
    described = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


class BuildWithRooms(build_py):
    """Builds `mgnm_tf` with the rooms in it; an editable one leaves all in place."""

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        package = Path(self.build_lib) / PACKAGE
        # What an earlier build left would be installed too.
        shutil.rmtree(package, ignore_errors=True)
        super().run()
        write(HERE, package)


class SdistWithCommit(sdist):
    """Writes the commit into the archive, which has no history."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        (Path(base_dir) / PACKAGE / BUILT_FROM).write_text(commit(HERE) + "\n")
