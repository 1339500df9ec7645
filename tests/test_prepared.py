"""Prepared data that were damaged are never taken for right."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from data import candidates, manifest, prepared
from data.errors import UserError
from tests.datasets import make_prepared

ARRAYS = ("items", "offsets", "times", "seen_keys", "seen_first", *prepared.PARTS)
FILES = (*(f"{name}.npy" for name in ARRAYS), "users.parquet", "meta.json")


@pytest.fixture
def data(tiny_data, tmp_path):
    """A copy that may be damaged."""
    folder = tmp_path / "prepared" / "tiny" / "leave_one_out"
    shutil.copytree(tiny_data.folder, folder)
    return prepared.load(tmp_path / "prepared", "tiny")


def load(data, **options):
    return prepared.load(data.folder.parent.parent, "tiny", **options)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 0x10
    path.write_bytes(content)


def noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


def remove(path):
    path.unlink()


@pytest.mark.parametrize("damage", [truncate, empty, flip, noise, remove])
@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_every_damage_to_every_file_is_said(data, damage, name):
    damage(data.folder / name)
    if (damage, name) == (remove, "manifest.json"):
        assert load(data).meta["sha256"] == data.meta["sha256"]  # By its own hash.
        return
    with pytest.raises(UserError, match=r"is damaged|is missing|is not prepared"):
        load(data)


def replace(data, name, change):
    """Writes another array and, as a careless program may, makes the manifest fit."""
    path = data.folder / f"{name}.npy"
    array = np.array(np.load(path))
    np.save(path, change(array))
    manifest.write(data.folder, prepared.KIND)


def put(value, at=-1):
    def change(array):
        array.flat[at] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("items", put(0), "`items` has ids that are not 1 to 30"),
        ("items", put(31), "`items` has ids that are not 1 to 30"),
        ("items", put(-1), "`items` has ids that are not 1 to 30"),
        ("items", lambda a: a.astype(np.int64), "`items` is of int64"),
        ("items", lambda a: a[:-1], "`offsets` does not divide"),
        ("items", lambda a: a[:0], r"`items` is of int32 \[0\]"),
        ("offsets", put(7, at=0), "`offsets` does not divide"),
        ("offsets", lambda a: a[::-1], "`offsets` does not divide"),
        ("offsets", lambda a: a.reshape(-1, 1), "`offsets` is of int64"),
        ("times", lambda a: a[:-1], "`times` has"),
        ("seen_keys", lambda a: a[::-1], "`seen_keys` is not in order"),
        ("seen_keys", put(10**9), "`seen_keys` has ids beyond"),
        ("seen_first", lambda a: a[:-1], "`seen_keys` is not in order"),
        ("train", put(0, at=0), "`train` has users that are not 1 to 24"),
        ("valid", put(99, at=0), "`valid` has users that are not 1 to 24"),
        ("test", put(0), "`test` asks for events that its users do not have"),
        ("test", put(99), "`test` asks for events that its users do not have"),
        ("test", lambda a: a[:, :1], "`test` is of int32"),
    ],
)
def test_arrays_that_point_beyond_others_are_refused(data, name, change, message):
    replace(data, name, change)
    with pytest.raises(UserError, match=f"is damaged: {message}"):
        load(data)


def test_what_was_found_right_is_not_hashed_again(data, monkeypatch):
    hashed = []
    real = manifest.file_hash
    monkeypatch.setattr(
        manifest, "file_hash", lambda path: hashed.append(path.name) or real(path)
    )
    load(data)
    assert hashed == []  # The fixture has hashed all.
    load(data, verify=True)
    assert {*FILES} <= {*hashed}
    hashed.clear()
    os.utime(data.folder / "items.npy", (1, 1))
    load(data)
    assert hashed == ["items.npy"]


def test_a_byte_that_flips_unseen_is_found_on_demand(data):
    path = data.folder / "items.npy"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-4] = 1 + content[-4] % 30  # Another item of the catalogue.
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    load(data)
    with pytest.raises(UserError, match=r"items.npy is damaged: its content"):
        load(data, verify=True)


def test_a_manifest_of_something_else_is_refused(data):
    manifest.write(data.folder, "a bundle")
    with pytest.raises(UserError, match="holds a bundle, not prepared data"):
        load(data)


@pytest.mark.parametrize("name", ["..", "../tiny", "/tmp", ""])
def test_a_name_is_no_path(data, name):
    with pytest.raises(UserError, match="--dataset takes a name"):
        prepared.load(data.folder.parent.parent, name)


@pytest.mark.parametrize("damage", [truncate, empty, flip, noise])
def test_damaged_candidates_are_drawn_again(data, damage, caplog):
    drawn = np.array(candidates.candidate_negatives(data, "test", "uni1000", 1))
    path = data.folder / "candidates-test-uni1000-1.npy"
    damage(path)
    again = candidates.candidate_negatives(data, "test", "uni1000", 1)
    np.testing.assert_array_equal(again, drawn)
    assert "is drawn again" in caplog.text
    np.testing.assert_array_equal(np.load(path), drawn)


def test_candidates_go_where_they_can_be_written(data, monkeypatch, caplog):
    drawn = np.array(candidates.candidate_negatives(data, "test", "uni1000", 1))
    (data.folder / "candidates-test-uni1000-1.npy").unlink()
    monkeypatch.setattr(
        candidates.caches, "is_writable", lambda folder: folder != data.folder
    )
    own = candidates.caches.user_folder() / "candidates" / data.meta["sha256"]
    own.mkdir(parents=True)
    for _ in range(2):
        found = candidates.candidate_negatives(data, "test", "uni1000", 1)
        np.testing.assert_array_equal(found, drawn)
    assert (own / "candidates-test-uni1000-1.npy").exists()
    shutil.rmtree(own)
    monkeypatch.setattr(candidates.caches, "is_writable", lambda folder: False)
    found = candidates.candidate_negatives(data, "test", "uni1000", 1)
    np.testing.assert_array_equal(found, drawn)
    assert "candidates are drawn anew each time" in caplog.text


def test_the_past_may_stay_among_the_candidates(data, tmp_path):
    meta = {**data.meta, "keeps_past": True}
    folder = tmp_path / "other" / "tiny" / "leave_one_out"
    kept = prepared.write(folder, data.store, data.instances, meta, {})
    users, ends = kept.instances["test"].T.astype(np.int64)
    targets = kept.store.items[kept.store.offsets[users] + ends]
    drawn = candidates.candidate_negatives(kept, "test", "uni1000", 1)
    for row, target in zip(drawn, targets):
        assert sorted(row[row > 0]) == [i for i in range(1, 31) if i != target]
    without = candidates.candidate_negatives(data, "test", "uni1000", 1)
    assert ((without > 0).sum(axis=1) < (drawn > 0).sum(axis=1)).all()


def test_made_data_are_whole_too(tmp_path):
    data = make_prepared(tmp_path, times=False)
    files = json.loads((data.folder / "manifest.json").read_text())["files"]
    assert files["items.npy"]["dtype"] == "<i4"
    assert files["test.npy"]["shape"] == [24, 2]
    assert "times.npy" not in files
