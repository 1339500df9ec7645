"""Malformed logs, drawn with a seed: each is read or refused in one sentence."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from data import log_file
from data.errors import UserError
from tests import logs
from tests.understood_logs import UNDERSTOOD

INSERTED = (
    *(b"\0", b'"', b"'", b"\n", b"\r", b"\r\n", b"\t", b",", b";", b"::", b"|", b"\\"),
    *(b"\xff", b"\xef\xbb\xbf", b"\xf0\x9f\x8e\xb5", b"\xed\xa0\x80", b"{", b"}", b"["),
    *(
        b"null",
        b"true",
        b"NaN",
        b"-inf",
        b"1e999",
        b"-1",
        b"0x1F",
        b"1_000",
        b"9" * 400,
    ),
    *(b" ", b"2018-13-45", b"99999-01-01", b"{}" * 3, b"[" * 5_000, b"a" * 70_000),
)


def mutate(content, rng):
    """The content after one to three changes of bytes or lines."""
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(0, len(content) + 1))
        kind = rng.integers(0, 8)
        lines = content.splitlines(keepends=True) or [b""]
        row = int(rng.integers(0, len(lines)))
        if kind == 0:
            content = content[:place]
        elif kind == 1:
            content = content[:place] + rng.bytes(1) + content[place + 1 :]
        elif kind in (2, 3, 4):
            inserted = INSERTED[rng.integers(0, len(INSERTED))]
            content = content[:place] + inserted + content[place:]
        elif kind == 5:
            content = b"".join([*lines[:row], lines[row], *lines[row:]])
        elif kind == 6:
            content = b"".join([*lines[:row], *lines[row + 1 :]])
        else:  # A field of another row, or of none.
            inserted = INSERTED[rng.integers(0, len(INSERTED))]
            fields = lines[row].split(b",")
            fields[rng.integers(0, len(fields))] = inserted
            content = b"".join([*lines[:row], b",".join(fields), *lines[row + 1 :]])
    return content


def check(folder, name, seed):
    rng = np.random.default_rng([seed, len(name)])
    content = logs.FILES[name]
    packed = name.endswith(".gz") and rng.random() < 0.7
    content = mutate(gzip.decompress(content) if packed else content, rng)
    path = folder / name
    path.write_bytes(gzip.compress(content) if packed else content)
    try:
        log = log_file.load(path, UNDERSTOOD.get(name, {}).get("options"))
    except UserError as error:
        said = str(error)
    else:
        said = None
    if said is not None:
        assert "\n" not in said.strip(), said
        assert str(path) in said or name in said, said
        return
    assert len(log.table) <= log.read["rows"]
    assert not log.table[["user", "item"]].isna().to_numpy().any()


@pytest.mark.parametrize("name", [*logs.FILES])
def test_a_malformed_log_is_read_or_refused(tmp_path, name):
    for seed in range(6):
        check(tmp_path, name, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*logs.FILES])
def test_many_malformed_logs_are_read_or_refused(tmp_path, name):
    for seed in range(6, 300):
        check(tmp_path, name, seed)
