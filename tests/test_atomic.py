from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data import atomic, locks
from data.errors import UserError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, [1])
    with atomic.whole_file(path) as partial:
        np.save(partial, [2])
        assert np.load(path).tolist() == [1]
    assert np.load(path).tolist() == [2]
    assert names(tmp_path) == ["a.npy"]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_after_an_error_a_file_is_what_it_was(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with atomic.whole_file(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    before = os.umask(0o022)
    try:
        atomic.write_text(tmp_path / "a.txt", "é")
        with atomic.whole_folder(tmp_path / "b"):
            pass
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.txt", "b")]
    assert modes == [0o644, 0o755]
    assert (tmp_path / "a.txt").read_bytes() == "é".encode()


def fill(path, text):
    with atomic.whole_folder(path) as partial:
        (partial / "a.txt").write_text(text)


def test_an_old_folder_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "data"
    fill(path, "old")

    def fail():
        with atomic.whole_folder(path) as partial:
            (partial / "a.txt").write_text("half")
            assert (path / "a.txt").read_text() == "old"
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert (path / "a.txt").read_text() == "old"
    fill(path, "new")
    assert (path / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["data"]


def test_a_rename_that_fails_brings_the_old_folder_back(tmp_path, monkeypatch):
    path = tmp_path / "data"
    fill(path, "old")
    rename = os.rename

    def failing(source, target):
        if Path(source).name.startswith(".partial-"):
            raise OSError("gone")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="gone"):
        fill(path, "new")
    assert (path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["data"]


def test_what_a_killed_process_left_is_put_right(tmp_path):
    path = tmp_path / "data"
    fill(path, "old")
    # Killed between the two renames, while a neighbour of a like name is written.
    path.rename(tmp_path / ".old-01234567-data")
    (tmp_path / ".partial-01234567-data").mkdir()
    (tmp_path / ".partial-01234567-more-data").mkdir()
    with atomic.whole_folder(path) as partial:
        assert (path / "a.txt").read_text() == "old"
        (partial / "a.txt").write_text("new")
    assert (path / "a.txt").read_text() == "new"
    assert names(tmp_path) == [".partial-01234567-more-data", "data"]


def test_json_is_strict(tmp_path):
    atomic.write_json(tmp_path / "a.json", {"gauc": 0.5})
    assert json.loads((tmp_path / "a.json").read_text()) == {"gauc": 0.5}
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "a.json", {"gauc": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"gauc": 0.5}


def test_a_second_writer_is_told_who_holds_the_folder(tmp_path):
    command = (
        "import sys; from pathlib import Path; from data import locks\n"
        "with locks.writing(Path(sys.argv[1]), 'trained'):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", command, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    ) as other:
        assert other.stdout.readline() == b"held\n"
        message = rf"being trained by process {other.pid} on .* since 20\d\d-"
        with pytest.raises(UserError, match=message), locks.writing(folder, "trained"):
            pass
        other.kill()  # A lock dies with its process.
        other.wait()
        with locks.writing(folder, "trained"):
            pass
    with locks.writing(folder, "trained"):
        pass
