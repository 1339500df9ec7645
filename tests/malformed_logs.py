"""Malformed logs and flags of `data.prepare`, kind by kind, drawn with a seed."""

from __future__ import annotations

import bz2
import dataclasses
import decimal
import gzip
import io
import itertools
import json
import lzma
import sqlite3
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

SEED = 2022
USERS, STEPS, START = 12, 8, 1_520_000_000
EVENTS = USERS * STEPS
HEAD = "user,item,timestamp"
PLACE = 40  # Of the row that is damaged, from 0 on.
LONG = 131_072


@dataclasses.dataclass(frozen=True)
class Malformed:
    """One malformed input.

    Attributes:
        kind: of what is wrong with it.
        name: of the case.
        file: name of the log; None where there is none.
        content: of the log.
        flags: of `data.prepare`, beside its source; `{folder}` is where the log is.
        kept: how many events the result has; None where the log has to be refused.
    """

    kind: str
    name: str
    file: str | None
    content: bytes
    flags: tuple[str, ...] = ()
    kept: int | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"

    def write(self, folder: Path) -> None:
        if self.file is not None:
            (folder / self.file).write_bytes(self.content)


def events() -> list[tuple[str, str, str]]:
    """(user, item, time) of the log that nothing is wrong with, as texts."""
    return [
        (f"u{user}", f"i{(7 * user + 3 * step) % 40}", str(_second(user, step)))
        for user in range(1, USERS + 1)
        for step in range(STEPS)
    ]


def _second(user: int, step: int) -> int:
    return START + 86_400 * step + 1_000 * user + 37 * step


def _csv(rows: list[tuple[str, ...]], head: str = HEAD, end: str = "\n") -> bytes:
    lines = [head, *(",".join(row) for row in rows)]
    return (end.join(lines) + end).encode("utf-8", "surrogatepass")


def _with(column: int, text: str) -> list[tuple[str, ...]]:
    """The events, with another text in one field of one row."""
    rows: list[tuple[str, ...]] = [*events()]
    row = [*rows[PLACE]]
    row[column] = text
    rows[PLACE] = tuple(row)
    return rows


def _lines(content: bytes, line: bytes, place: int = PLACE) -> bytes:
    """The content with a line of it replaced."""
    found = content.splitlines(keepends=True)
    found[place + 1] = line + b"\n"
    return b"".join(found)


PLAIN = _csv(events())
_ROW = PLAIN.splitlines()[PLACE + 1]


def _objects() -> list[dict[str, Any]]:
    return [{"user": u, "item": i, "timestamp": int(t)} for u, i, t in events()]


def _jsonl(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


JSON = _jsonl(_objects())


def _json_with(text: str) -> bytes:
    rows = JSON.splitlines()
    rows[PLACE] = text.encode("utf-8", "surrogatepass")
    return b"\n".join(rows) + b"\n"


def _json_value(role: str, value: str) -> bytes:
    """The events as JSON lines, with other JSON in the place of one value."""
    row = {key: json.dumps(one) for key, one in _objects()[PLACE].items()}
    row[role] = value
    return _json_with("{" + ", ".join(f'"{k}": {v}' for k, v in row.items()) + "}")


def _json_rows() -> Iterator[tuple[str, bytes, int | None]]:
    whole = {
        "a list": '["u5", "i1", 1520000000]',
        "an empty list": "[]",
        "a number": "7",
        "a number with a point": "7.5",
        "a text": '"u5"',
        "null": "null",
        "true": "true",
        "an empty object": "{}",
        "an object in a list": '[{"user": "u", "item": "i", "timestamp": 1520000000}]',
        "no end": '{"user": "u5", "item": "i1", "timest',
        "a comma too many": '{"user": "u5", "item": "i1", "timestamp": 1520000000,}',
        "names without quotes": '{user: "u5", item: "i1", timestamp: 1520000000}',
        "a comment": "// u5, i1",
        "two objects": '{"user": "u5"}{"item": "i1"}',
        "a CSV row": "u5,i1,1520000000",
        "nested lists": "[" * 100_000 + "]" * 100_000,
        "nested objects": '{"user": ' * 100_000 + "1" + "}" * 100_000,
        "a call": "{'user': __import__('os').getpid(), 'item': 'i', 'timestamp': 1}",
        "nested tuples": "{'user': " + "(" * 10_000 + ")" * 10_000 + "}",
        "a set": "{'u5', 'i1', 1520000000}",
        "the item twice": '{"user": "u5", "item": "i1", "item": "i2", "timestamp": 1}',
        "no item": '{"user": "u5", "timestamp": 1520000000}',
        "no time": '{"user": "u5", "item": "i1"}',
        "bytes of another encoding": '{"user": "\udcff"}',
    }
    for name, text in whole.items():
        yield f"a row is {name}", _json_with(text), None
    values = {
        "a dictionary": '{"a": 1}',
        "a list": '["u5"]',
        "null": "null",
        "NaN": "NaN",
        "Infinity": "Infinity",
        "-Infinity": "-Infinity",
        "true": "true",
        "empty": '""',
        "blanks": '"  "',
        "NUL": '"u\\u00005"',
        "half a character": '"\\ud800"',
        "nested": "[" * 50_000 + "]" * 50_000,
        "an empty list": "[]",
        "a line end": '"u\\n5"',
    }
    for role, (name, value) in itertools.product(("user", "item"), values.items()):
        yield f"{role} is {name}", _json_value(role, value), None
    times = {
        "a dictionary": "{}",
        "a list": "[1520000000]",
        "null": "null",
        "true": "true",
        "false": "false",
        "empty": '""',
        "NaN": "NaN",
        "Infinity": "Infinity",
        "-Infinity": "-Infinity",
        "of 400 digits": "1" + "0" * 399,
        "of 20 digits": "1" * 20,
        "1e400": "1e400",
        "a word": '"noon"',
        "NUL": '"15\\u000020000000"',
    }
    for name, value in times.items():
        yield f"time is {name}", _json_value("timestamp", value), None
    # A user of one event is dropped, and counted as that.
    yield "a user of 400 digits", _json_value("user", "9" * 400), EVENTS - 1
    yield "an id of 400 digits", _json_value("item", "9" * 400), EVENTS
    yield "an id of 1e999", _json_value("item", "1e999"), EVENTS
    yield "an id of NaN in quotes", _json_value("item", '"NaN"'), EVENTS
    yield (
        "a nested value that nothing reads",
        _json_with(
            '{"user": "u5", "item": "i1", "timestamp": 1520000000, "more": [[[{}]]]}'
        ),
        EVENTS,
    )
    yield "blank lines", JSON.replace(b"\n", b"\n\n \n"), EVENTS
    yield "a byte order mark", b"\xef\xbb\xbf" + JSON, EVENTS
    yield "ends of Windows", JSON.replace(b"\n", b"\r\n"), EVENTS
    yield "no end of the last line", JSON.rstrip(b"\n"), EVENTS
    yield "times as texts", _json_value("timestamp", '"1520000000"'), EVENTS
    yield "an array", json.dumps(_objects()).encode(), None
    yield "an array on many lines", json.dumps(_objects(), indent=1).encode(), None
    yield (
        "objects on many lines",
        b"\n".join(json.dumps(row, indent=1).encode() for row in _objects()),
        None,
    )
    yield "UTF-16", JSON.decode().encode("utf-16"), None
    yield "only blanks", b" \n \n", None


def _zip(names: dict[str, bytes], **more: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, **more) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _tar(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        member = tarfile.TarInfo("log.csv")
        member.size = len(PLAIN)
        archive.addfile(member, io.BytesIO(PLAIN))
    return buffer.getvalue()


def _locked_zip() -> bytes:
    """An archive that says that a password locks it."""
    whole = bytearray(_zip({"log.csv": PLAIN}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        whole[whole.index(mark) + offset] |= 1
    return bytes(whole)


def _method_zip() -> bytes:
    """An archive packed by a method that nobody has."""
    whole = bytearray(_zip({"log.csv": PLAIN}))
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        whole[whole.index(mark) + offset] = 77
    return bytes(whole)


def _packed() -> Iterator[tuple[str, str, bytes, int | None]]:
    """(name, file, content, kept) of packed files, or files that are named so."""
    endings = (
        *("zip", "xz", "zst", "bz2", "7z", "rar", "lz4", "tar", "tgz", "tar.gz"),
        *("tar.xz", "gz", "parquet", "xlsx", "xls", "ods", "pkl", "pickle"),
    )
    for ending in endings:
        yield f"text named .{ending}", f"log.csv.{ending}", PLAIN, None
    zipped, packed = _zip({"log.csv": PLAIN}), gzip.compress(PLAIN)
    magic = {
        "xz": lzma.compress(PLAIN),
        "bzip2": bz2.compress(PLAIN),
        "zstd": b"\x28\xb5\x2f\xfd" + PLAIN,
        "7z": b"7z\xbc\xaf\x27\x1c" + PLAIN,
        "rar": b"Rar!\x1a\x07" + PLAIN,
        "lz4": b"\x04\x22\x4d\x18" + PLAIN,
        "tar": _tar("w"),
        "tar and gzip": _tar("w:gz"),
        "Excel": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + PLAIN,
        "gzip twice": gzip.compress(packed),
        "zip in gzip": gzip.compress(zipped),
        "a workbook": _zip(
            {"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"}
        ),
    }
    for name, content in magic.items():
        yield f"{name} named .csv", "log.csv", content, None
    damages = {
        "no bytes": b"",
        "a halved": packed[: len(packed) // 2],
        "a shortened": packed[:-4],
        "only the head of": packed[:10],
        "another check sum of": packed[:-8] + b"\0\0\0\0" + packed[-4:],
        "another length of": packed[:-4] + b"\1\0\0\0",
        "bytes after": packed + b"junk",
    }
    for name, content in damages.items():
        yield f"{name} gzip", "log.csv.gz", content, None
    archives = {
        "two files": _zip({"a.csv": PLAIN, "b.csv": PLAIN}),
        "no file": _zip({}),
        "a folder": _zip({"folder/": b""}),
        "an empty file": _zip({"log.csv": b""}),
        "another archive": _zip({"log.zip": zipped}),
        "a picture": _zip({"log.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256))}),
        "a locked file": _locked_zip(),
        "an unknown method": _method_zip(),
        "half of it": zipped[: len(zipped) // 2],
        "no directory": zipped[:-22],
        "another check sum": zipped.replace(zipped[14:18], b"\1\2\3\4"),
    }
    for name, content in archives.items():
        yield f"zip of {name}", "log.zip", content, None
    yield "zip named .csv", "log.csv", zipped, EVENTS
    yield "gzip named .csv", "log.csv", packed, EVENTS
    yield (
        "zip with a path that leads out",
        "log.zip",
        _zip({"../../../log.csv": PLAIN}),
        EVENTS,
    )
    yield (
        "gzip in two parts",
        "log.csv.gz",
        gzip.compress(PLAIN[:500]) + gzip.compress(PLAIN[500:]),
        EVENTS,
    )


def _headers() -> Iterator[tuple[str, bytes, int | None]]:
    rows = PLAIN.split(b"\n", 1)[1]
    heads: dict[str, bytes] = {
        "one of 131,072 characters": b"user,item,timestamp," + b"x" * LONG,
        "a name of 131,072 characters": b"x" * LONG,
        "131,072 commas": b"," * LONG,
        "a quote of 131,072 characters": b'"' + b"x" * LONG,
        "a column twice": b"user,item,item",
        "the time twice": b"timestamp,item,timestamp",
        "the user twice": b"user,user,timestamp",
        "no item": b"user,other,timestamp",
        "no time": b"user,item,other",
        "no names": b",,",
        "other names": b"a,b,c",
        "NUL": b"user,it\0em,timestamp",
        "no UTF-8": b"us\xffer,item,timestamp",
        "a name too few": b"user,item",
        "a name too many": b"user,item,timestamp,order",
        "two items": b"asin,product_id,timestamp",
        "an open quote": b'"user,item,timestamp',
        "an order that is a word": b"user,order,item",
    }
    for name, head in heads.items():
        yield name, head + b"\n" + rows, None
    yield "none", rows, None
    yield "nothing else", (HEAD + "\n").encode(), None
    yield "a second one", _lines(PLAIN, HEAD.encode()), None
    fine = {
        "quotes": b'"user","item","timestamp"',
        "blanks": b"user , item, timestamp",
        "a byte order mark": b"\xef\xbb\xbf" + HEAD.encode(),
        "capitals": b"User,ITEM,Timestamp",
        "blank lines before": b"\n\n" + HEAD.encode(),
    }
    for name, head in fine.items():
        yield name, head + b"\n" + rows, EVENTS
    twice = "user,item,timestamp,x,x"
    yield (
        "what nothing reads is there twice",
        _csv([(*row, "1", "2") for row in events()], twice),
        EVENTS,
    )


def _times() -> Iterator[tuple[str, bytes, int | None]]:
    texts = {
        "empty": "",
        "blanks": "  ",
        "NaN": "nan",
        "inf": "inf",
        "-inf": "-inf",
        "null": "null",
        "NULL": "NULL",
        "None": "None",
        "true": "true",
        "True": "True",
        "a word": "noon",
        "hexadecimal": "0x5A9A0B00",
        "with an underscore": "1_520_000_000",
        "with an apostrophe": "1'520'000'000",
        "with a blank inside": "1520 000000",
        "with a unit": "1520000000s",
        "full-width digits": "\uff11\uff15\uff12" + "\uff10" * 7,
        "Arabic digits": "\u0661\u0665\u0662" + "\u0660" * 7,
        "a superscript": "152000000\u2070",
        "an arithmetic": "1520000000+1",
        "a formula": "=1520000000",
        "two points": "1520.000.000",
        "two signs": "--1520000000",
        "a sign alone": "-",
        "an exponent alone": "e9",
        "1e999": "1e999",
        "beyond 64 bits": "18446744073709551616",
        "the largest of 64 bits": "9223372036854775807",
        "one beyond the largest": "9223372036854775808",
        "the smallest of 64 bits": "-9223372036854775808",
        "one below the smallest": "-9223372036854775809",
        "of 400 digits": "9" * 400,
        "of 100,000 digits": "9" * 60_000,
        "NUL inside": "15200\00000000",
        "NUL after": "1520000000\0",
        "a date among numbers": "2018-03-02",
        "milliseconds among seconds": "1520000000000",
        "microseconds among seconds": "1520000000000000",
        "an invisible sign": "1520000000\u200b",
        "a minus of print": "\u22121520000000",
        "a no-break blank": "1520000000\u00a0",
    }
    for name, text in texts.items():
        yield name, _csv(_with(2, text)), None
    yield "a comma for the point", _csv(_with(2, '"1520000000,5"')), None
    dates = {
        "a 13th month": "2018-13-02",
        "a 30th of February": "2018-02-30",
        "a 25th hour": "2018-03-02 25:00:00",
        "year 0": "0000-00-00",
        "year 10000": "10000-01-01",
        "year 3000": "3000-01-01",
        "year 1600": "1600-01-01",
        "another order": "02.03.2018",
        "American": "3/2/2018",
        "words": "March 2, 2018",
        "a number among dates": "1520000000",
        "NaT": "NaT",
        "now": "now",
        "an odd zone": "2018-03-02 12:00:00 Mars",
    }
    named = [
        (user, item, f"2018-03-{2 + n % STEPS:02d} {n % 24:02d}:00:00")
        for n, (user, item, _) in enumerate(events())
    ]
    for name, text in dates.items():
        rows = [*named]
        rows[PLACE] = (*rows[PLACE][:2], text)
        yield f"{name}, among dates", _csv(rows), None
    yield "dates", _csv(named), EVENTS
    yield "a time before 1970", _csv(_with(2, "-86400")), EVENTS
    yield "a fraction", _csv(_with(2, "1520000000.5")), EVENTS
    yield "a leading plus", _csv(_with(2, "+1520000000")), EVENTS
    yield "leading zeros", _csv(_with(2, "0001520000000")), EVENTS
    yield "an exponent", _csv(_with(2, "1.520000123e9")), EVENTS
    booleans = [(*row[:2], ("true", "false")[n % 2]) for n, row in enumerate(events())]
    yield "booleans in every row", _csv(booleans), None
    yield "nothing in every row", _csv([(*row[:2], "") for row in events()]), None
    yield "NaN in every row", _csv([(*row[:2], "nan") for row in events()]), None
    yield (
        "20 digits in every row",
        _csv([(*row[:2], row[2] + "0" * 10) for row in events()]),
        None,
    )
    yield (
        "one second in every row",
        _csv([(*row[:2], "1520000000") for row in events()]),
        EVENTS,
    )  # The order of the file is left, and that is said.


def _ids() -> Iterator[tuple[str, bytes, int | None]]:
    bad = {
        "empty": "",
        "blanks": "   ",
        "empty in quotes": '""',
        "a no-break blank": "\u00a0",
        "NUL": "u\0",
        "a line end": '"u\n5"',
        "a half quote": '"u5',
        "quotes inside": '"u"5"',
    }
    fine = {
        "NA": "NA",
        "null": "null",
        "nan": "nan",
        "a formula": "=cmd()",
        "a path": "../../etc/passwd",
        "a tag": "<script>alert(1)</script>",
        "a picture": "\U0001f3b5",
        "another direction": "\u202eu5",
        "a comma in quotes": '"u,5"',
        "a number of 400 digits": "9" * 400,
        "10,000 characters": "u" * 10_000,
        "-1": "-1",
        "a control character": "u\x07",
        "SQL": "'; DROP TABLE users; --",
        "a backslash": "u\\5",
        "a double quote in quotes": '"u""5"',
    }
    for column, role in ((0, "user"), (1, "item")):
        for name, text in bad.items():
            yield f"{role} is {name}", _csv(_with(column, text)), None
        for name, text in fine.items():
            yield f"{role} is {name}", _csv(_with(column, text)), EVENTS - (not column)
    yield "no UTF-8", PLAIN.replace(b"i5,", b"i\xe9,", 1), None
    yield "half a character", _csv(_with(0, "\ud800")), None
    yield "every id is empty", _csv([("", *row[1:]) for row in events()]), None


def _rows() -> Iterator[tuple[str, bytes, int | None]]:
    fields = {
        "a field too few": b"u5,i1",
        "a field too many": _ROW + b",1",
        "a comma after it": _ROW + b",",
        "one field": b"u5",
        "a thousand fields": b"u5" + b",1" * 999,
        "another separator": _ROW.replace(b",", b";"),
        "an open quote": b'"' + _ROW,
        "100,000 characters": _ROW + b"x" * 100_000,
        "a line of NUL": b"\0\0\0",
        "a line of another file": b"----------",
        "a total": b"total: 96 rows",
    }
    for name, line in fields.items():
        yield name, _lines(PLAIN, line), None
    yield "the last one is cut", PLAIN[: PLAIN.rindex(b",")], None
    yield "blank lines", PLAIN.replace(b"\n", b"\n\n"), EVENTS
    yield "lines of blanks", PLAIN.replace(b"\n", b"\n  \n"), EVENTS
    yield "ends of Windows", PLAIN.replace(b"\n", b"\r\n"), EVENTS
    yield "ends of old Macs", PLAIN.replace(b"\n", b"\r"), EVENTS
    yield "ends of two kinds", PLAIN.replace(b"\n", b"\r\n", 40), EVENTS
    yield "no end of the last one", PLAIN.rstrip(b"\n"), EVENTS
    yield "semicolons throughout", PLAIN.replace(b",", b";"), EVENTS
    yield "a row twice", PLAIN + _ROW + b"\n", EVENTS + 1


def _no_logs() -> Iterator[tuple[str, str, bytes]]:
    """(name, file, content) of files that are no logs."""
    rng = np.random.default_rng(SEED)
    database = sqlite3.connect(":memory:")
    database.execute("create table t (user, item, timestamp)")
    page = b"<!DOCTYPE html><html><head><title>404, not found</title></head></html>"
    contents = {
        "nothing": b"",
        "a byte order mark": b"\xef\xbb\xbf",
        "a line end": b"\n",
        "NUL bytes": bytes(4096),
        "a page": page,
        "a long page": page * 2_000,
        "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\n"
        b"oid sha256:4d7a2146\nsize 12345\n",
        "a picture": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + rng.bytes(2_000),
        "a document": b"%PDF-1.7\n" + rng.bytes(2_000),
        "a database": database.serialize()
        if hasattr(database, "serialize")
        else b"SQLite format 3\0" + bytes(4_080),
        "SQL": b"INSERT INTO log VALUES ('u1', 'i1', 1520000000);\n" * 20,
        "XML": b"<?xml version='1.0'?>\n<log><row user='u1'/></log>\n",
        "YAML": b"- user: u1\n  item: i1\n  timestamp: 1520000000\n",
        "a program": b"\x7fELF\x02\x01\x01" + rng.bytes(2_000),
        "a pickle": b"\x80\x04\x95\x0f" + bytes(7) + b"\x8c\x05posix\x94\x8c\x06system",
        "an array of NumPy": b"\x93NUMPY\x01\0v\0{'descr': '<i8'}" + bytes(80),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(200),
        "an error in JSON": b'{"error": "not found", "status": 404}',
        "UTF-16": PLAIN.decode().encode("utf-16"),
        "UTF-32": PLAIN.decode().encode("utf-32"),
        "EBCDIC": PLAIN.decode().encode("cp500"),
        "UTF-16 without a mark": PLAIN.decode().encode("utf-16-le"),
    }
    for name, content in contents.items():
        yield name, "log.csv", content
    for number in range(6):
        yield f"random bytes {number}", "log.csv", rng.bytes(3_000)
    for number in range(3):
        yield f"random bytes {number} in JSON", "log.jsonl", rng.bytes(3_000)
        yield f"random bytes {number} in Parquet", "log.parquet", rng.bytes(3_000)


def _parquet(**columns: Any) -> bytes:
    base: dict[str, Any] = {
        "user": [row[0] for row in events()],
        "item": [row[1] for row in events()],
        "timestamp": [int(row[2]) for row in events()],
    }
    names = [*(base | columns)]
    buffer = io.BytesIO()
    table = pa.Table.from_arrays(
        [pa.array(v) for v in (base | columns).values()], names
    )
    parquet.write_table(table, buffer)
    return buffer.getvalue()


def _parquets() -> Iterator[tuple[str, bytes, int | None]]:
    whole = _parquet()
    users = [row[0] for row in events()]
    seconds = [int(row[2]) for row in events()]
    many = EVENTS - 1
    ids = {
        "lists": [["u"]] * EVENTS,
        "booleans": [True, False] * (EVENTS // 2),
        "structures": [{"a": 1}] * EVENTS,
        "null in one row": [None, *users[1:]],
        "null": pa.nulls(EVENTS),
        "NaN in one row": [float("nan"), *map(float, range(many))],
        "infinite in one row": [float("inf"), *map(float, range(many))],
        "empty in one row": ["", *users[1:]],
        "bytes": pa.array([b"\xff\xfe"] * EVENTS, pa.binary()),
    }
    for role, (name, values) in itertools.product(("user", "item"), ids.items()):
        yield f"{role} is {name}", _parquet(**{role: values}), None
    times = {
        "booleans": [True, False] * (EVENTS // 2),
        "lists": [[1]] * EVENTS,
        "null in one row": [None, *seconds[1:]],
        "null": pa.nulls(EVENTS),
        "NaN in one row": [float("nan"), *map(float, seconds[1:])],
        "infinite in one row": [float("-inf"), *map(float, seconds[1:])],
        "beyond 64 signed bits": pa.array([2**63 + 5, *seconds[1:]], pa.uint64()),
        "the largest of 64 bits": pa.array([2**63 - 1, *seconds[1:]], pa.int64()),
        "times of day": pa.array([n * 60 for n in range(EVENTS)], pa.time32("s")),
        "lengths of time": pa.array(seconds, pa.duration("s")),
        "words": ["noon"] * EVENTS,
        "bytes": pa.array([b"1520000000"] * EVENTS, pa.binary()),
        "a date of year 9999": pa.array(
            [253_402_300_000, *seconds[1:]], pa.timestamp("s")
        ),
        "a date that is null": pa.array([None, *seconds[1:]], pa.timestamp("s")),
        "decimals of 30 digits": pa.array(
            [decimal.Decimal(10**29), *map(decimal.Decimal, seconds[1:])],
            pa.decimal128(38, 0),
        ),
    }
    for name, values in times.items():
        yield f"time is {name}", _parquet(timestamp=values), None
    fine: dict[str, dict[str, Any]] = {
        "decimals": {
            "timestamp": pa.array(
                [decimal.Decimal(one) for one in seconds], pa.decimal128(20, 2)
            )
        },
        "with a zone": {"timestamp": pa.array(seconds, pa.timestamp("s", tz="UTC"))},
        "nanoseconds": {
            "timestamp": pa.array([one * 10**9 for one in seconds], pa.timestamp("ns"))
        },
        "32 bits": {"timestamp": pa.array(seconds, pa.int32())},
        "unsigned": {"timestamp": pa.array(seconds, pa.uint64())},
        "a dictionary of ids": {"user": pa.array(users).dictionary_encode()},
        "large texts": {"user": pa.array(users, pa.large_string())},
        "ids of 64 unsigned bits": {
            "item": pa.array([2**64 - 1 - n % 40 for n in range(EVENTS)], pa.uint64())
        },
    }
    for name, columns in fine.items():
        yield name, _parquet(**columns), EVENTS
    yield "halved", whole[: len(whole) // 2], None
    yield "one byte short", whole[:-1], None
    yield "zeros in the middle", whole[:200] + bytes(200) + whole[400:], None
    yield "the marks alone", b"PAR1" + b"PAR1", None
    yield "a foot too long", whole[:-8] + b"\xff\xff\xff\x7fPAR1", None
    yield "no rows", _parquet(user=[], item=[], timestamp=[]), None
    buffer = io.BytesIO()
    table = pa.Table.from_arrays(
        [pa.array(users), pa.array(users), pa.array(users), pa.array(seconds)],
        ["user", "user", "item", "timestamp"],
    )
    parquet.write_table(table, buffer)
    yield "a column twice", buffer.getvalue(), None


def _ratings() -> Iterator[tuple[str, bytes, tuple[str, ...], int | None]]:
    head = "user,item,rating,timestamp"
    rows = [(u, i, str(1 + n % 5), t) for n, (u, i, t) in enumerate(events())]
    bar = ("--rating_above=2",)
    high = sum(int(row[2]) > 2 for row in rows)
    texts = (
        "",
        "good",
        "nan",
        "inf",
        "-inf",
        "true",
        "1e999",
        "1\x00",
        "9" * 400,
        "3,5",
    )
    for text in texts:
        changed = [*rows]
        quoted = f'"{text}"' if "," in text else text
        changed[PLACE] = (*rows[PLACE][:2], quoted, rows[PLACE][3])
        name = f"{text[:10]!r} in one row"
        yield name, _csv(changed, head), bar, None
        if "\0" not in text:
            yield f"{name}, which nothing reads", _csv(changed, head), (), EVENTS
    yield "fine", _csv(rows, head), bar, high
    yield "none at all", PLAIN, bar, None
    for value in ("nan", "inf", "-inf", "x", "", "1e999"):
        flag = f"--rating_above={value}"
        yield f"the bar is {value!r}", _csv(rows, head), (flag,), None
    yield "a bar that nothing is above", _csv(rows, head), ("--rating_above=9",), None


def _flags() -> Iterator[tuple[str, tuple[str, ...], int | None]]:
    for value in ("inf", "-inf", "nan", "25", "1e9", "x", ""):
        yield f"--utc_offset_hours={value}", (f"--utc_offset_hours={value}",), None
    names = (
        *(".", "..", "a/b", "../x", "/absolute", "a\\b", "<script>alert(1)</script>"),
        *("a b", "a\nb", "é", "=x", "a|b", "x" * 300, "~", "*", "$HOME", "a:b", "%2e"),
    )
    for name in names:
        yield f"--name={name[:30]!r}", (f"--name={name}",), None
    given = {
        "--split": ("unknown", "", "../x"),
        "--dataset": ("unknown", "../csv"),
        "--time_unit": ("weeks", ""),
        "--time_from": ("noon", "2018-13-01", "99999-01-01", "1e999"),
        "--time_until": ("yesterday", "1970-01-01"),
        "--seed": ("-1", "x", "1.5"),
        "--min_user_events": ("0", "-1", "x", "1000", "9" * 30),
        "--min_item_events": ("0", "1000"),
        "--separator": (",;", "", "\n", "ab", "\udcff"),
        "--columns": (
            "user",
            "person=1",
            "user=a,user=b",
            "user=",
            "=",
            ",",
            "user=uid",
        ),
        "--where": ("item", "item=", "=x", "other=1", "item=nothing", ""),
        "--unknown_flag": ("1",),
        "--deduplicate": ("maybe",),
        "--train_file": ("{folder}/log.csv",),
        "--data_dir": ("{folder}/log.csv", "{folder}/log.csv/below", "/proc/none", ""),
    }
    for flag, values in given.items():
        for value in values:
            yield f"{flag}={value[:30]!r}", (f"{flag}={value}",), None
    sources = ("", "{folder}/absent.csv", "{folder}", "/dev/null", "/proc/self/mem")
    for source in (*sources, "{folder}/log.csv/below", "{folder}/" + "x" * 300, "a\nb"):
        yield f"--source={source[:30]!r}", (f"--source={source}",), None
    yield "an argument without a flag", ("log.csv",), None
    span = ("--time_from=2018-03-05", "--time_until=2018-03-03")
    yield "a span that ends before it begins", span, None
    yield "--name of dashes and points", ("--name=a-b.c_1",), EVENTS
    yield "--utc_offset_hours=-12", ("--utc_offset_hours=-12",), EVENTS
    yield "--separator=comma", ("--separator=comma",), EVENTS


def _small() -> Iterator[tuple[str, bytes]]:
    rows = events()
    yield "one event", _csv(rows[:1])
    yield "two events", _csv(rows[:2])
    yield "one event a user", _csv(rows[::STEPS])
    yield "one user and one item", _csv([("u", "i", t) for _, _, t in rows])
    yield "one item", _csv([(u, "i", t) for u, _, t in rows])


def cases() -> list[Malformed]:
    """All of them; their names are unique."""
    found = [
        *(Malformed("JSON", n, "log.jsonl", c, kept=k) for n, c, k in _json_rows()),
        *(Malformed("packing", n, f, c, kept=k) for n, f, c, k in _packed()),
        *(Malformed("header", n, "log.csv", c, kept=k) for n, c, k in _headers()),
        *(Malformed("times", n, "log.csv", c, kept=k) for n, c, k in _times()),
        *(Malformed("ids", n, "log.csv", c, kept=k) for n, c, k in _ids()),
        *(Malformed("rows", n, "log.csv", c, kept=k) for n, c, k in _rows()),
        *(Malformed("no log", n, f, c) for n, f, c in _no_logs()),
        *(Malformed("Parquet", n, "log.parquet", c, kept=k) for n, c, k in _parquets()),
        *(Malformed("ratings", n, "log.csv", c, f, k) for n, c, f, k in _ratings()),
        *(Malformed("flags", n, "log.csv", PLAIN, f, k) for n, f, k in _flags()),
        *(Malformed("too little", n, "log.csv", c) for n, c in _small()),
    ]
    names = [str(case) for case in found]
    assert len({*names}) == len(names)
    return found


def sample(count: int, seed: int = SEED) -> list[Malformed]:
    """Some cases, all kinds about as often."""
    rng = np.random.default_rng(seed)
    every = cases()
    pools: dict[str, list[Malformed]] = {}
    for number in rng.permutation(len(every)):
        pools.setdefault(every[number].kind, []).append(every[number])
    turns = itertools.chain.from_iterable(itertools.zip_longest(*pools.values()))
    return [case for case in turns if case is not None][:count]
