"""Lines that are only added to: what was changed, removed or put in between shows."""

from __future__ import annotations

import errno
import io
import itertools
import json
import resource
import threading
from unittest import mock

import pytest

from data import chain
from data.errors import UserError

REMEDY = "Bring it back."


def add(path, *names):
    for name in names:
        chain.append(path, {"name": name}, ["name"], REMEDY)


def names(path):
    return [line["name"] for line in chain.read(path, ["name"], REMEDY)]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "lines.jsonl"
    add(path, *"abcd")
    return path


def test_lines_are_read_as_they_were_added(path):
    assert chain.read(path, ["name"], REMEDY) == [{"name": name} for name in "abcd"]
    assert chain.read(path.with_name("none.jsonl"), ["name"], REMEDY) == []


@pytest.mark.parametrize("removed", range(3))
def test_a_removed_line_is_told_by_the_one_below_it(path, removed):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:removed], *lines[removed + 1 :]]))
    with pytest.raises(UserError, match=f"line {removed + 1} is not .* Bring it back"):
        names(path)
    with pytest.raises(UserError, match="was removed"):
        add(path, "e")


def test_any_other_order_and_any_line_twice_are_told(path):
    lines = path.read_bytes().splitlines(keepends=True)
    for order in itertools.permutations(lines):
        if list(order) == lines:
            continue
        path.write_bytes(b"".join(order))
        with pytest.raises(UserError, match="is not as it was written"):
            names(path)
    path.write_bytes(b"".join([*lines, lines[-1]]))
    with pytest.raises(UserError, match="line 5 is not as it was written"):
        names(path)


@pytest.mark.parametrize("key", ["name", "sha256", "previous"])
def test_a_line_with_a_key_less_or_a_changed_one_is_told(path, key):
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    for changed in (
        {**lines[1], key: "x"},
        {k: lines[1][k] for k in lines[1].keys() - {key}},
    ):
        texts = map(json.dumps, [lines[0], changed, *lines[2:]])
        path.write_text("\n".join(texts) + "\n")
        with pytest.raises(UserError, match="line 2 is not as it was written"):
            names(path)


def test_lines_of_an_older_version_stand_above_all_others(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"name": "old"}\n{"name": "older"}\n')
    add(path, "new")
    assert names(path) == ["old", "older", "new"]
    lines = path.read_text().splitlines(keepends=True)
    for wrong in ([lines[0], lines[2]], [*lines, lines[0]]):
        path.write_text("".join(wrong))
        with pytest.raises(UserError, match="is not as it was written"):
            names(path)


def test_those_who_add_at_once_wait_for_each_other(tmp_path):
    path = tmp_path / "lines.jsonl"
    some = [threading.Thread(target=add, args=(path, *"abcdefgh")) for _ in range(4)]
    for thread in some:
        thread.start()
    for thread in some:
        thread.join()
    assert sorted(names(path)) == sorted("abcdefgh" * 4)


def test_a_line_that_finds_no_room_leaves_the_others(path):
    before = path.read_bytes()

    class Full(io.FileIO):
        def write(self, text):
            super().write(text[:10])
            raise OSError(errno.ENOSPC, "No space left", self.name)

    def opened(self, mode="r", *rest, **named):
        return Full(self, mode) if mode == "ab" else open(self, mode, *rest, **named)

    full = mock.patch.object(type(path), "open", opened)
    with full, pytest.raises(OSError, match="No space left"):
        add(path, "e")
    assert path.read_bytes() == before


def test_a_line_of_which_a_part_finds_room_leaves_the_others(path):
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            add(path, "e")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
