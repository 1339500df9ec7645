"""Every command of docs/your_data.md runs, on a file that begins as it shows."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from data import prepared
from tests import logs
from tests.datasets import sequences
from tests.understood_logs import UNDERSTOOD

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "your_data.md").read_text()
EXAMPLES = {
    source: (shown, command.replace("\\\n", " "))
    for shown, command, source in re.findall(
        r"(?:```text\n(.*?)\n```\n\n)?```bash\n(python -m data\.prepare[^`]*?"
        r"--source=(\S+)[^`]*?)\n```",
        PAGE,
        re.DOTALL,
    )
    if source in logs.FILES
}

# Runs commands one after the other in one process, which imports pandas once.
DRIVER = """
import json, sys
from absl import flags
from absl.testing import flagsaver
from data import prepare
flags.FLAGS(["prepare", "--dataset=csv"])
for arguments in json.load(sys.stdin):
    with flagsaver.flagsaver():
        flags.FLAGS(["prepare", *arguments])
        prepare.main()
"""


def run(commands, folder):
    """Runs `data.prepare` with each of the lists of arguments."""
    return subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(commands),
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where all files of the page stand and all its commands have run."""
    folder = tmp_path_factory.mktemp("page")
    for name, content in logs.FILES.items():
        (folder / name).write_bytes(content)
    logs.write_split(folder / "given")
    commands = [shlex.split(command)[3:] for _, command in EXAMPLES.values()]
    (split,) = re.findall(r"```bash\n([^`]*source=given [^`]*)\n```", PAGE)
    given = split.replace("\\\n", " ").splitlines()
    commands += [shlex.split(command)[3:] for command in given]
    preview = ["--dataset=csv", "--source=log.csv", "--dry_run"]
    done = run([*commands, preview], folder)
    assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout)
    return folder


def name_of(command):
    return re.search(r"--name=(\S+)", command)[1]


def test_the_page_has_an_example_of_every_form():
    assert {*EXAMPLES} == {*logs.FILES}


@pytest.mark.parametrize("source", [*EXAMPLES])
def test_an_example_is_prepared(folder, source):
    _, command = EXAMPLES[source]
    data = prepared.load(folder / "data/prepared", name_of(command))
    wanted = UNDERSTOOD.get(source, {})
    expected = logs.sequences(wanted.get("user", str), wanted.get("item", str), source)
    if source == "train-item-views.csv":  # Its times are days.
        found = {u: [i for i, _ in row] for u, row in sequences(data).items()}
        assert found == {u: [i for i, _ in row] for u, row in expected.items()}
    else:
        assert sequences(data) == expected


@pytest.mark.parametrize(
    "source", [name for name, (shown, _) in EXAMPLES.items() if shown]
)
def test_an_example_shows_the_beginning_of_its_file(source):
    content = logs.FILES[source]
    content = gzip.decompress(content) if source.endswith(".gz") else content
    shown = EXAMPLES[source][0].splitlines()
    assert content.decode("utf-8-sig").splitlines()[: len(shown)] == shown


def test_a_split_log_is_prepared_either_way(folder):
    given, files = (
        prepared.load(folder / "data/prepared", name)
        for name in ("given_log", "given_files")
    )
    assert sequences(given) == logs.sequences()
    assert given.meta["sha256"] == files.meta["sha256"]


def test_a_dry_run_shows_rows_counts_and_writes_nothing(folder):
    shown = (folder / "stdout").read_text().split("Dry run: nothing is written.")[1]
    assert ["1", "7", "2018-03-02", "14:30:00"] in map(str.split, shown.splitlines())
    assert "columns by their names: commas, a header" in shown
    assert "seconds, told by their size" in shown
    assert "96 read, 96 kept" in shown
    assert "12 users, 40 items" in shown
    assert len(shown.splitlines()) < 24
    assert not (folder / "data/prepared/csv").exists()
