"""Pickles are read as opcodes: right where they are data, refused where they are not.

The tests write pickles with `pickle.dumps` and by hand; nothing here loads one.
"""

from __future__ import annotations

import os
import pickle
import pickletools
import tracemalloc

import numpy as np
import pytest

from data.errors import UserError
from data.opcode_reader import read_dict, stream_list

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
SHARED = [7, 8]
VALUES = [
    *(0, 1, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, -1, -(2**31), 2**70, -(2**70)),
    *(0.5, -1e300, float("inf"), "text", "ünïcode\n'\"", "", b"bytes", b""),
    *(None, True, False, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [[]], [[1], 2]),
    *({}, {"a": [1, {"b": (2,)}]}, SHARED, (SHARED, SHARED)),
]


def write(tmp_path, content):
    path = tmp_path / "file.pkl"
    path.write_bytes(content)
    return path


def read_list(path):
    return [item for items in stream_list(path) for item in items]


# bytes are a call of `_codecs.encode` before protocol 3.
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("optimize", [False, True], ids=["as dumped", "optimized"])
def test_containers_strings_and_numbers_come_back(tmp_path, protocol, optimize):
    values = [x for x in VALUES if protocol > 2 or not isinstance(x, bytes)] * 200
    content = pickle.dumps(values, protocol=protocol)
    path = write(tmp_path, pickletools.optimize(content) if optimize else content)
    found = read_list(path)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_shared_stays_shared(tmp_path, protocol):
    first, second = read_list(
        write(tmp_path, pickle.dumps([SHARED, SHARED], protocol=protocol))
    )
    assert first is second


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_dicts_of_any_size_come_back(tmp_path, protocol):
    made = {f"A{number:07d}": number for number in range(1, 3_001)}
    assert read_dict(write(tmp_path, pickle.dumps(made, protocol=protocol))) == made


@pytest.mark.parametrize(
    "content",
    [
        b"(lp0\n(I1\n(lp1\nI2\naI3\nS'1'\np2\nF5.0\ntp3\na.",  # by hand, protocol 0
        b"\x80\x02]q\x00(K\x01]q\x01K\x02aK\x03U\x011q\x02G@\x14\x00\x00\x00\x00\x00\x00tq\x03a.",
        b"]((K\x01](K\x02eK\x03U\x011\x8a\x01\x05t0(K\x01](K\x02eK\x03U\x011K\x05te.",
    ],
    ids=["protocol 0", "Python 2's strings", "POP"],
)
def test_forms_that_python_3_does_not_write(tmp_path, content):
    assert read_list(write(tmp_path, content)) == [(1, [2], 3, "1", 5)]


class Calls:
    def __reduce__(self):
        return os.system, ("touch executed",)


class Built:
    def __init__(self):
        self.x = 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "made",
    [Calls(), Built(), np.int64(3), np.arange(3), {1, 2}, os.system, 1j, bytearray(9)],
    ids=["call", "object", "np.int64", "array", "set", "function", "complex", "bytes"],
)
def test_what_calls_or_makes_something_is_refused(
    tmp_path, monkeypatch, protocol, made
):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, pickle.dumps([(1, [2]), made], protocol=protocol))
    with pytest.raises(UserError, match=r"the opcode [A-Z0-9_]+.* at byte \d+ is ref"):
        read_list(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "opcode",
    [
        b"cos\nsystem\n",
        b"ios\nsystem\n",
        b"\x8c\x02os\x8c\x06system\x93",
        b"Pid\n",
        b"K\x01Q",
        b"\x82\x01",
        b"(K\x01o",
        b"K\x01K\x01R",
        b"K\x01K\x01\x81",
        b"K\x01}b",
        b"\x97",
    ],
)
def test_every_opcode_that_could_act_is_refused_by_name(tmp_path, opcode):
    with pytest.raises(UserError, match=r"is refused.*Nothing of it was executed"):
        read_list(write(tmp_path, b"](" + opcode + b"e."))


ACTING = {"GLOBAL", "INST", "STACK_GLOBAL", "PERSID", "BINPERSID", "EXT1", "EXT2"}
ACTING |= {"EXT4", "OBJ", "REDUCE", "NEWOBJ", "NEWOBJ_EX", "BUILD", "NEXT_BUFFER"}
ACTING |= {"READONLY_BUFFER", "BYTEARRAY8", "EMPTY_SET", "ADDITEMS", "FROZENSET"}


@pytest.mark.parametrize("opcode", pickletools.opcodes, ids=lambda opcode: opcode.name)
def test_each_opcode_is_of_data_or_refused(tmp_path, opcode):
    argument = b""
    if opcode.arg is not None:
        texts = {-1: b"a\nb\n" if "pair" in opcode.arg.name else b"0\n"}
        argument = texts.get(opcode.arg.n, b"\0" * max(opcode.arg.n, 8))
        if opcode.arg.n > 0:
            argument = b"\0" * opcode.arg.n
    content = b"](K\x01K\x01(" + opcode.code.encode("latin-1") + argument + b"e."
    try:
        read_list(write(tmp_path, content))
        said = ""
    except UserError as error:
        said = str(error)
    refused = f"the opcode {opcode.name}" in said and "is refused" in said
    assert refused == (opcode.name in ACTING), said


GOOD = pickle.dumps([(1, [2, 3], 4, "1", 5)] * 3, protocol=3)


@pytest.mark.parametrize("cut", range(1, len(GOOD)))
def test_half_a_file_is_said(tmp_path, cut):
    with pytest.raises(UserError, match="is damaged"):
        read_list(write(tmp_path, GOOD[:cut]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (GOOD + b"x", "1 bytes follow the last opcode"),
        (b"\xff.", "no opcode"),
        (b"]Xabcd.", "damaged at byte 1"),
        (b"]X\xff\xff\xff\x7fabc.", "damaged at byte 1"),
        (b"]\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "damaged at byte 1"),
        (b"]\x8e\xff\xff\xff\xff\xff\xff\xff\xffabc.", "damaged at byte 1"),
        (b"]\x8b\xff\xff\xff\x7fabc.", "damaged at byte 1"),
        (b"]I" + b"9" * 5_000 + b"\na.", "damaged at byte 1"),
        (b"]X\x02\x00\x00\x00\xff\xfea.", "damaged at byte 1"),
        (b"]h\x07a.", "does not fit"),
        (b"]a.", "does not fit"),
        (b"e.", "does not fit"),
        (b"](K\x01e", "ends before its last opcode"),
        (b"](K\x01.", "does not fit"),
        (b"K\x01(K\x02\x86.", "does not fit"),
        (b"](}(K\x01ue.", "does not fit"),
        (b"](}(]K\x01ue.", "does not fit"),
        (b"K\x01.", "holds a int, where a list is expected"),
        (b"(K\x01](K\x02et.", "holds a tuple, where a list is expected"),
        (b"]q\x00h\x00\x940.", "in two ways"),
    ],
)
def test_damaged_and_hostile_files_end_in_a_sentence(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_list(write(tmp_path, content))


def test_a_list_is_no_dict(tmp_path):
    with pytest.raises(UserError, match="holds a list, where a dict is expected"):
        read_dict(write(tmp_path, GOOD))


def test_a_billion_laughs_stay_small(tmp_path):
    """Forty lists, each twice in the next: 2^40 elements in 300 bytes."""
    laughs = ["ha"]
    for _ in range(40):
        laughs = [laughs, laughs]
    path = write(tmp_path, pickle.dumps([laughs], protocol=2))
    tracemalloc.start()
    (found,) = read_list(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found[0] is found[1]
    assert peak < 500_000


def test_a_memo_that_is_never_read_is_never_filled(tmp_path):
    """A place of the memo far away would cost a list of that length."""
    content = b"](K\x01r\xff\xff\xff\x7fj\xff\xff\xff\x7fe."
    assert read_list(write(tmp_path, content)) == [1, 1]


@pytest.mark.slow
def test_reading_goes_on_in_pieces(tmp_path):
    """Memory holds the elements at hand, not the list."""
    records = [(number, list(range(300, 340)), 1) for number in range(10_000)]
    path = write(tmp_path, pickle.dumps(records, protocol=3))
    del records
    tracemalloc.start()
    sizes = [len(items) for items in stream_list(path)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sizes == [1_000] * 10
    assert peak < 8_000_000  # The whole list takes 17 MB.


def test_too_many_open_values_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("data.opcode_reader._MOST_OPEN", 1_000)
    with pytest.raises(UserError, match="more than 1,000 values are open"):
        read_list(write(tmp_path, b"](" + b"K\x01" * 2_000 + b"e."))
