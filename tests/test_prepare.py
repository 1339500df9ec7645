"""`data.prepare` end to end: what it writes, and what it refuses."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data import build, prepared
from data.build import describe, prepare

ROOT = Path(__file__).parent.parent
LOG = """user,item,rating,timestamp
b,x,5,30
a,x,5,10
a,y,1,20
a,z,4,20
a,x,3,20
b,y,4,10.7
b,z,5,50
c,x,5,60
b,x,3,70
a,y,5,80
"""


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


def run(log, tmp_path, **changes):
    arguments = {"split": "leave_one_out", "rating_above": 2.0, **changes}
    return prepare("csv", tmp_path / "prepared", source=log, name="shop", **arguments)


def test_rows_are_filtered_mapped_and_put_in_order(log, tmp_path):
    data = run(log, tmp_path)
    # c has one event, a's y was rated 1; ids count from the first appearance, and
    # a's two events at 20 keep their order.
    users = pd.read_parquet(data.folder / "users.parquet")["key"].tolist()
    items = pd.read_parquet(data.folder / "items.parquet")["key"].tolist()
    assert (users, items) == (["b", "a"], ["x", "z", "y"])
    assert data.store.offsets.tolist() == [0, 0, 4, 8]
    assert data.store.items.tolist() == [3, 1, 2, 1, 1, 2, 1, 3]
    assert data.store.times.tolist() == [10, 30, 50, 70, 10, 20, 20, 80]
    assert data.instances["test"].tolist() == [[1, 3], [2, 3]]
    assert data.instances["valid"].tolist() == [[1, 2], [2, 2]]


def test_statistics_are_those_of_what_was_kept(log, tmp_path):
    found = run(log, tmp_path).meta["statistics"]
    assert [found[key] for key in ("users", "items", "interactions")] == [2, 3, 8]
    assert [found[key] for key in ("train", "valid", "test")] == [2, 2, 2]
    assert found["lengths"] == {"min": 4, "median": 4.0, "mean": 4.0, "max": 4}
    assert found["same_time_share"] == pytest.approx(1 / 6)


def test_the_same_file_gives_the_same_hash_and_another_another(log, tmp_path):
    first = run(log, tmp_path).meta["sha256"]
    assert run(log, tmp_path / "again").meta["sha256"] == first
    log.write_text(LOG.replace("a,z,4,20", "a,z,4,21"))
    assert run(log, tmp_path / "other").meta["sha256"] != first


def test_a_prepared_set_is_found_by_name(log, tmp_path):
    run(log, tmp_path)
    assert prepared.load(tmp_path / "prepared", "shop").split == "leave_one_out"
    with pytest.raises(ValueError, match=r"toys is not prepared in .*data\.prepare"):
        prepared.load(tmp_path / "prepared", "toys")
    folder = tmp_path / "prepared" / "shop"
    shutil.copytree(folder / "leave_one_out", folder / "per_user")
    with pytest.raises(ValueError, match=r"`split` must be given.*leave_one_out"):
        prepared.load(tmp_path / "prepared", "shop")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,item,order\n1,a,0\n1,b,1\n1,c,2\n", "1 users have two positive events"),
        ("user,item,order\n1,a,0\n2,b,1\n", "0 users have two positive events"),
        ("user,item,order\n1,a,0\n1,b,1\n2,a,0\n2,b,1\n", "leaves nothing to valid"),
    ],
)
def test_too_little_data_is_said(tmp_path, text, message):
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        run(path, tmp_path)
    assert not (tmp_path / "prepared" / "shop" / "leave_one_out").exists()


def test_data_that_are_not_the_paper_s_are_refused_or_marked(log, tmp_path, caplog):
    folder = tmp_path / "prepared"
    with pytest.raises(ValueError, match=r"Table 1 has 60,739.*--allow_mismatch"):
        prepare("instruments", folder, source=log, split="leave_one_out")
    assert not list(folder.glob("*/*"))
    data = prepare(
        "instruments", folder, source=log, split="leave_one_out", allow_mismatch=True
    )
    assert "not the paper's data" in caplog.text
    assert data.meta["statistics"]["matches_table1"] is False
    assert "Table 1:       60,739   differs" in describe(data)


def test_micro_video_s_absence_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"private to Kuaishou.*--source=FILE"):
        prepare("micro_video", tmp_path)


def fail_with(error):
    def failing(*args, **kwargs):
        raise error

    return failing


def test_a_full_disk_is_said_and_leaves_nothing(log, tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(prepared.np, "save", fail_with(full))
    with pytest.raises(ValueError, match="The disk is full"):
        run(log, tmp_path)
    assert not [path for path in (tmp_path / "prepared").rglob("*") if path.is_file()]


def test_an_interruption_leaves_the_earlier_result_whole(log, tmp_path, monkeypatch):
    before = run(log, tmp_path)
    log.write_text(LOG.replace("a,z,4,20", "a,z,4,21"))
    monkeypatch.setattr(pd.DataFrame, "to_parquet", fail_with(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run(log, tmp_path)
    found = prepared.load(tmp_path / "prepared", "shop")
    assert found.meta["sha256"] == before.meta["sha256"]
    names = [path.name for path in before.folder.parent.iterdir()]
    assert names == ["leave_one_out"]


def test_leave_one_out_on_dated_data_warns(log, tmp_path, caplog):
    run(log, tmp_path)
    assert "training sees events of other users that are later" in caplog.text


def test_synthetic_needs_no_file(tmp_path):
    data = prepare("synthetic", tmp_path, seed=3)
    assert data.meta["source"]["name"] == "synthetic, seed 3"
    assert data.meta["statistics"]["users"] == 2_000


def command(*arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "data.prepare", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_writes_and_shows(log, tmp_path):
    done = command(
        "--dataset=csv",
        f"--source={log}",
        "--name=shop",
        "--split=leave_one_out",
        f"--data_dir={tmp_path}/p",
    )
    assert done.returncode == 0, done.stderr
    assert "users" in done.stdout
    meta = json.loads((tmp_path / "p/shop/leave_one_out/meta.json").read_text())
    assert meta["source"]["name"] == "log.csv"


def test_the_command_s_errors_are_one_line_without_a_traceback(tmp_path):
    done = command("--dataset=csv", f"--source={tmp_path}/absent.csv")
    assert done.returncode == 1
    assert done.stderr.strip() == f"error: There is no file {tmp_path}/absent.csv."


def test_numbers_on_disk_are_never_pickled(log, tmp_path):
    data = run(log, tmp_path)
    for path in data.folder.glob("*.npy"):
        assert np.load(path, allow_pickle=False).dtype != object


def test_a_result_reads_back_memory_mapped(log, tmp_path):
    data = run(log, tmp_path)
    assert isinstance(data.store.items.base, np.memmap)
    assert build.DATASETS["csv"].split == "global_time"
