"""Any log: every form is understood alike, and what cannot be is said."""

from __future__ import annotations

import decimal
import gzip
import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from data import log_file, log_forms
from data.errors import UserError
from data.log_options import LogOptions, parse_columns, parse_separator, parse_where
from tests import logs
from tests.understood_logs import UNDERSTOOD, options


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def sequences(table):
    ordered = table.sort_values(["user", "timestamp"], kind="stable")
    found = {}
    for user, item, time in zip(
        ordered["user"].astype(str), ordered["item"].astype(str), ordered["timestamp"]
    ):
        found.setdefault(user, []).append((item, int(time)))
    return found


@pytest.mark.parametrize("name", [*UNDERSTOOD])
def test_every_form_gives_the_same_sequences(tmp_path, name):
    wanted = UNDERSTOOD[name]
    path = write(tmp_path, name, logs.FILES[name])
    log = log_file.load(path, wanted.get("options"))
    expected = logs.sequences(wanted.get("user", str), wanted.get("item", str), name)
    assert sequences(log.table) == expected
    assert log.read["time_unit"] == wanted.get("unit", "s")
    assert log.read["rows"] == len(log.table) == len(logs.events())
    assert log.odd == []


def test_diginetica_has_days_and_an_order_within(tmp_path):
    name = "train-item-views.csv"
    log = log_file.load(write(tmp_path, name, logs.FILES[name]))
    assert log.read["columns"]["user"] == "sessionId"
    row = log.table.iloc[0]
    assert row["timestamp"] == logs.START // 86_400 * 86_400 == 1_519_948_800
    assert row["timestamp"] + row["order"] / 1_000 == logs.second(1, 0)


@pytest.mark.parametrize("name", ["log.csv", "shop.inter", "events.csv", "lastfm.tsv"])
@pytest.mark.parametrize("packing", ["gz", "zip"])
def test_packed_files_are_read_as_they_are(tmp_path, name, packing):
    plain = log_file.load(write(tmp_path, name, logs.FILES[name])).table
    content = logs.FILES[name]
    packed = gzip.compress(content) if packing == "gz" else logs.zipped(name, content)
    found = log_file.load(write(tmp_path, f"{name}.{packing}", packed)).table
    pd.testing.assert_frame_equal(found, plain)


def test_a_packed_parquet_file_is_read(tmp_path):
    told = UNDERSTOOD["purchases.parquet"]["options"]
    packed = gzip.compress(logs.parquet())
    path = write(tmp_path, "purchases.parquet.gz", packed)
    assert len(log_file.load(path, told).table) == len(logs.events())


BODY = "u1,a,1520000001\nu1,b,1520000002\n"
HEAD = "user,item,timestamp\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + "NA,null,1520000001\nNone,nan,1520000002\n", ["NA", "None"]),
        (HEAD + "007,x,1520000001\n7,y,1520000002\n", ["007", "7"]),
        (HEAD + "1,x,1520000001\n1.0,y,1520000002\n", ["1", "1.0"]),
        (HEAD + "1e5,x,1520000001\n0x10,y,1520000002\n", ["1e5", "0x10"]),
        (HEAD + "true,x,1520000001\n9" + "9" * 400 + ",y,1520000002\n", None),
        (HEAD + '"a,b",x,1520000001\n"c""d",y,1520000002\n', ["a,b", 'c"d']),
        (HEAD + 'a"b,x,1520000001\n5",y,1520000002\n', ['a"b', '5"']),
        ("\ufeff" + HEAD + BODY, ["u1", "u1"]),
        ((HEAD + BODY).replace("\n", "\r\n"), ["u1", "u1"]),
        ((HEAD + BODY).replace("\n", "\r"), ["u1", "u1"]),
        ("\n\n" + HEAD.replace(",", ", ") + BODY, ["u1", "u1"]),
        (HEAD + BODY.rstrip("\n"), ["u1", "u1"]),
        ("item,timestamp,user,user_name\n" + "a,1520000001,ü,x\n" * 2, ["ü", "ü"]),
    ],
)
def test_ids_are_kept_as_they_are_written(tmp_path, text, expected):
    found = log_file.load(write(tmp_path, "log.csv", text)).table["user"].tolist()
    assert found == (expected or ["true", "9" * 401])


@pytest.mark.parametrize(
    ("values", "expected", "unit"),
    [
        (["1520000000", "1520000001"], [1_520_000_000, 1_520_000_001], "s"),
        (["1520000000.25", "1520000001"], [1_520_000_000.25, 1_520_000_001], "s"),
        (["1520000000250", "1520000001000"], [1_520_000_000.25, 1_520_000_001], "ms"),
        (["1520000000250000"], [1_520_000_000.25], "us"),
        (["1520000000250000000"], [1_520_000_000.25], "ns"),
        (["2018-03-02T14:13:20Z"], [1_520_000_000], "iso"),
        (["2018-03-02 14:13:20.25"], [1_520_000_000.25], "iso"),
        (["2018-03-02T15:13:20+01:00"], [1_520_000_000], "iso"),
        (["2018-03-02"], [1_519_948_800], "iso"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_times_are_seconds_whatever_the_unit(tmp_path, values, expected, unit, form):
    rows = [{"user": "u", "item": "i", "timestamp": value} for value in values]
    path = tmp_path / f"log.{form}"
    if form == "csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    elif form == "jsonl":
        pd.DataFrame(rows).to_json(path, orient="records", lines=True)
    else:
        pd.DataFrame(rows).to_parquet(path)
    log = log_file.load(path)
    assert log.table["timestamp"].tolist() == pytest.approx(expected, abs=1e-6)
    assert log.read["time_unit"] == unit


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_parquet_itself_need_no_unit(tmp_path, unit):
    path = tmp_path / "log.parquet"
    times = pd.to_datetime([1_520_000_000, 1_520_000_060], unit="s").astype(
        f"datetime64[{unit}]"
    )
    table = pd.DataFrame({"user": [1, 1], "item": [2.0, 3.0], "timestamp": times})
    table.to_parquet(path)
    log = log_file.load(path)
    assert log.table["timestamp"].tolist() == [1_520_000_000, 1_520_000_060]
    # Whole numbers, which are floats only because a column may miss some.
    assert log.table["item"].tolist() == ["2", "3"]


def test_a_yyyymmdd_date_is_taken_when_that_is_said(tmp_path):
    path = write(tmp_path, "log.csv", HEAD + "u,a,20180302\nu,b,20180303\n")
    with pytest.raises(UserError, match=r"look like dates.*--time_unit=iso"):
        log_file.load(path)
    found = log_file.load(path, options(time_unit="iso")).table["timestamp"].tolist()
    assert found == [1_519_948_800, 1_520_035_200]


def test_small_numbers_are_steps_unless_a_unit_is_said(tmp_path):
    path = write(tmp_path, "log.csv", HEAD + "u,a,3\nu,b,1\n")
    log = log_file.load(path)
    assert "timestamp" not in log.table
    assert log.table["order"].tolist() == [3, 1]
    assert "on 1970-01-01" in log.odd[0]
    assert "--time_unit=s" in log.odd[0]
    said = log_file.load(path, options(time_unit="s"))
    assert said.table["timestamp"].tolist() == [3, 1]


def test_steps_have_no_range_of_times(tmp_path):
    path = write(tmp_path, "log.csv", HEAD + "u,a,3\nu,b,1\n")
    with pytest.raises(UserError, match=r"no times, which --time_from.*are steps"):
        log_file.load(path, options(time_from=2.0))


FORMS = ("csv", "csv.gz", "jsonl", "parquet")


def of_form(tmp_path, form, when):
    """A log of one user whose events have these times, in a file of this form."""
    rows = [("u", f"i{number}", time) for number, time in enumerate(when)]
    table = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
    path = tmp_path / f"log.{form}"
    if form == "parquet":
        table.to_parquet(path)
    elif form == "jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_a_log_of_steps_is_split_by_its_order(tmp_path, form, caplog):
    caplog.set_level("INFO", logger="absl")
    path = of_form(tmp_path, form, [0, 2, 1, 86_399])
    assert log_file.split_of(path) == "leave_one_out"
    assert "has an order and no times: it is split leave_one_out." in caplog.text
    assert log_file.split_of(path, options(time_unit="s")) == "global_time"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("first", [1_520_000_000, "2018-03-02", 86_400, -1])
def test_a_time_in_the_first_rows_tells_without_the_others(
    tmp_path, form, first, monkeypatch
):
    monkeypatch.setattr(log_file, "load", None)
    path = of_form(tmp_path, form, [first, first])
    assert log_file.split_of(path) == "global_time"


@pytest.mark.parametrize("unit", ["ms", "ns"])
def test_a_time_that_is_stored_as_one_tells_too(tmp_path, monkeypatch, unit):
    monkeypatch.setattr(log_file, "load", None)
    when = pd.to_datetime(["1970-01-01", "1970-01-02"]).as_unit(unit)
    path = of_form(tmp_path, "parquet", when)
    assert log_file.split_of(path) == "global_time"


def test_a_stored_time_out_of_range_is_refused_with_its_row(tmp_path):
    path = of_form(tmp_path, "parquet", np.array([2**50, 2**50], "datetime64[ms]"))
    with pytest.raises(UserError, match="rows 1, 2: `timestamp` lies after the year"):
        log_file.split_of(path)


@pytest.mark.parametrize("form", FORMS)
def test_the_whole_log_tells_where_its_first_rows_may_be_steps(tmp_path, form):
    when = [*range(200), *[1_520_000_000] * 300]
    assert log_file.split_of(of_form(tmp_path, form, when)) == "global_time"


def test_rows_that_are_not_taken_are_no_times(tmp_path):
    rows = [f"u,i{n},{n},buy\n" for n in range(200)]
    rows += [f"u,i{n},1520000000,view\n" for n in range(300)]
    path = tmp_path / "log.csv"
    path.write_text("user,item,timestamp,event\n" + "".join(rows))
    assert log_file.split_of(path) == "global_time"
    kept = options(where={"event": ("buy",)})
    assert log_file.split_of(path, kept) == "leave_one_out"


def test_a_log_with_an_order_alone_is_split_by_it(tmp_path):
    path = write(tmp_path, "log.csv", "user,item,order\nu,a,1520000000\n")
    assert log_file.split_of(path) == "leave_one_out"


def test_order_breaks_the_ties_of_steps(tmp_path):
    text = "user,item,timestamp,order\nu,c,1,7\nu,b,0,9\nu,a,0,8\n"
    order = log_file.load(write(tmp_path, "log.csv", text)).table["order"]
    assert np.argsort(order).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (["event=buy"], ["a", "d"]),
        (["event=buy", "event=cart"], ["a", "b", "d"]),
        (["event=buy", "shop=2"], ["d"]),
    ],
)
def test_where_keeps_rows(tmp_path, where, expected):
    text = "user,item,timestamp,event,shop\n"
    rows = [("a", "buy", 1), ("b", "cart", 1), ("c", "view", 1), ("d", "buy", 2)]
    for number, (item, event, shop) in enumerate(rows):
        # What is not taken is not judged.
        time = "late" if event == "view" else 1_520_000_000 + number
        text += f"u,{item},{time},{event},{shop}\n"
    path = write(tmp_path, "log.csv", text)
    log = log_file.load(path, options(where=parse_where(where)))
    assert log.table["item"].tolist() == expected
    assert log.read["dropped"] == {"where": 4 - len(expected)}


def test_a_range_of_times_is_taken(tmp_path):
    path = write(tmp_path, "log.csv", logs.PLAIN)
    log = log_file.load(
        path, options(time_from=logs.second(1, 1), time_until=logs.second(1, 2))
    )
    assert (
        log.table["timestamp"]
        .between(logs.second(1, 1), logs.second(1, 2), inclusive="left")
        .all()
    )
    assert log.read["dropped"]["time_range"] == len(logs.events()) - len(log.table)


def test_ratings_are_read_only_where_they_are_used(tmp_path):
    text = "user,item,rating,timestamp\nu,a,,1520000001\nu,b,good,1520000002\n"
    path = write(tmp_path, "log.csv", text)
    assert "rating" not in log_file.load(path).table
    with pytest.raises(UserError, match="row 2: `rating` is missing"):
        log_file.load(path, with_rating=True)
    path = write(tmp_path, "log.csv", text.replace("a,,", "a,3,"))
    with pytest.raises(UserError, match="row 3: `rating` is not a number"):
        log_file.load(path, with_rating=True)


@pytest.mark.parametrize("value", ["null", "NaN", "Infinity", "-Infinity"])
def test_a_rating_of_json_that_is_no_number_is_missing(tmp_path, value):
    text = f'{{"user": "u", "item": "a", "rating": {value}, "timestamp": {STAMP}}}\n'
    path = write(tmp_path, "log.jsonl", text)
    assert log_file.load(path).table["user"].tolist() == ["u"]
    with pytest.raises(UserError, match="row 1: `rating` is missing"):
        log_file.load(path, with_rating=True)


def refused(name, content, message, **told):
    return pytest.param(name, content, told, message, id=f"{name}: {message}")


STAMP = 1_520_000_000
ROW = f"u,a,{STAMP}\n"


@pytest.mark.parametrize(
    ("name", "content", "told", "message"),
    [
        refused("log.csv", "", r"log.csv is empty"),
        refused("log.csv", "\n\n", r"log.csv is empty"),
        refused("log.csv", HEAD, r"has no rows"),
        refused("log.csv", "user,order\n1,2\n", r"row 1 .* known as the item"),
        refused("log.csv", "a,b,timestamp\n1,2,3\n", r"as the user or the item"),
        refused("log.csv", "user,item\n1,2\n", r"row 1 has neither a time .*`order`"),
        refused("log.csv", "user\n1\n", r"row 1 has one field: user.*--separator"),
        refused("log.csv", "1,2,3\n4,5,6\n", r"user or the item.*--no_header"),
        refused("log.csv", "asin,product_id,user,timestamp\n1,2,3,4\n",
                r"several columns could be the item: asin, product_id"),
        refused("log.csv", "user,item,timestamp,item\n" + "1,2,3,4\n",
                r"names the column `item` 2 times \(columns 2 and 4\)"),
        refused("log.csv", HEAD + ROW, r"has no column `uid`.*--no_header",
                columns="user=uid,item=item,timestamp=timestamp"),
        refused("log.csv", HEAD + ROW, r"the column `user` for two things",
                columns="user=user,item=user,timestamp=timestamp"),
        refused("log.csv", ROW, r"has no column `4`", no_header=True,
                columns="user=1,item=2,timestamp=4"),
        # Rows are the file's own lines.
        refused("log.csv", HEAD + "\n" + ROW + "\n\nu,a,noon\n",
                r"row 6: `timestamp` is no time.*Received: noon"),
        refused("log.csv", HEAD + ROW + "u,a,\n", r"row 3: `timestamp` is missing"),
        refused("log.csv", HEAD + ROW + ",a,5\n", r"row 3: `user` is missing"),
        refused("log.csv", HEAD + ROW + f"u, ,{STAMP}\n", r"row 3: `item` is missing"),
        refused("log.csv", HEAD + ROW + "u,a,nan\n", r"row 3: `timestamp` is no time"),
        refused("log.csv", HEAD + ROW + "u,a,inf\n", r"row 3: `timestamp` is no time"),
        refused("log.csv", HEAD + ROW + "u,a,true\n", r"row 3: `timestamp` is no time"),
        refused("log.csv", HEAD + ROW + "u,a,0x10\n", r"row 3: `timestamp` is no time"),
        refused("log.csv", HEAD + ROW + "u,a,1_0\n", r"row 3: `timestamp` is no time"),
        refused("log.csv", HEAD + ROW * 3 + f"u,a,{STAMP}{STAMP}{STAMP}\n",
                r"row 5: `timestamp` lies after the year 2100.*1 of 4.*--time_until"),
        refused("log.csv", HEAD + ROW + "u,a," + "9" * 400 + "\n",
                r"row 3: `timestamp` is no time"),
        refused("log.csv", HEAD + ROW * 3 + f"u,a,{STAMP}000\n",
                r"row 5: `timestamp` lies after .*looks like milliseconds.*one unit"),
        refused("log.csv", HEAD + f"u,a,{STAMP}000\n" * 3 + ROW,
                r"row 5: `timestamp` looks like seconds.*1 of 4.*milliseconds"),
        refused("log.csv", HEAD + f"u,a,{STAMP}000\n" * 3,
                r"after the year 2100 as seconds.*3 of 3.*--time_unit=ms",
                time_unit="s"),
        refused("log.csv", HEAD + ROW, r"looks like seconds.*read as milliseconds",
                time_unit="ms"),
        refused("log.csv", HEAD + "u,a,12345678901\n", r"no times between 1980 and"),
        refused("log.csv", HEAD + "u,a,9999999\nu,b,8888888\n",
                r"no times between 1980 and 2100.*--time_unit=s"),
        refused("log.csv", HEAD + "u,a,2018-03-02\nu,b,02.03.2018\n",
                r"row 3: `timestamp` is no time in ISO 8601"),
        refused("log.csv", HEAD + "u,a,02.03.2018\n", r"row 2: `timestamp` is no time"),
        refused("log.csv", "user,item,order\nu,a,first\n", r"row 2: `order` is not a"),
        refused("log.csv", HEAD + "u,a,5,6\n", r"row 2 has 4 fields, and row 1 has 3"),
        refused("log.csv", HEAD + ROW + "\nu,a\n", r"row 4 has 2 fields, and row 1"),
        refused("log.csv", HEAD + ROW + '\n4,"54 inch,5\n' + ROW * 3 + '5,8" x,7\n',
                r"row 4 opens a quote that does not end as it should, up to row 8"),
        refused("log.csv", HEAD + ROW + '4,"54 inch,5\n' + ROW * 3 + '5,8",7\n',
                r"row 3 opens a quote that ends in row 7 only.*looks like rows"),
        refused("log.csv", HEAD + '4,"54\ninch",5\n', r"row 2: `item` goes on over"),
        refused("log.csv", HEAD + ROW + '4,"54 inch,5\n', r"row 3 opens a quote"),
        refused("log.csv", HEAD + "u,a\0,5\n", r"row 2 holds a NUL byte"),
        refused("log.csv", HEAD.encode() + b"u,\xff,5\n", r"not UTF-8 text: row 2"),
        refused("log.csv", b"\xff\xfeu\0s\0", r"is UTF-16 text. Save it as UTF-8"),
        refused("log.csv", "user," * 30_000, r"row 1 has more than 65,536 characters"),
        refused("log.csv", HEAD + ROW, r"--where=kind=x|no column `kind`",
                where={"kind": ("x",)}),
        refused("log.csv", HEAD + ROW, r"--where=item=b keeps nothing.*which has a",
                where={"item": ("b",)}),
        refused("UserBehavior.csv", logs.FILES["UserBehavior.csv"],
                r"has no header: --where takes a column's number",
                where={"event": ("buy",)}),
        refused("log.csv", HEAD + ROW, r"leave no row", time_from=2e9),
        refused("log.csv", "user,item,order\nu,a,1\n", r"has no times", time_from=2e9),
        refused("log.jsonl", "[1, 2]\n", r"row 1 is a list"),
        refused("log.jsonl", "5\n", r"row 1 is a text or a number"),
        refused("log.jsonl", "null\n", r"row 1 is null"),
        refused("log.json", "[\n", r"row 1 is an array; a log has one object a line"),
        refused("log.jsonl", "{" + "\n", r"row 1 is not JSON"),
        refused("log.jsonl", "[" * 100_000, r"row 1 is nested too deeply"),
        refused("log.jsonl", '{"user": 1, "item": 2, "timestamp": 3}\n7\n',
                r"row 2 is a text or a number"),
        refused("log.jsonl", '{"user": 1, "item": 2, "timestamp": true}\n',
                r"row 1: `timestamp` is true or false"),
        refused("log.jsonl", '\n{"user": {}, "item": 2, "timestamp": 3}\n',
                r"row 2: `user` is a list or an object"),
        refused("log.jsonl", '{"user": "", "item": 2, "timestamp": 3}\n',
                r"row 1: `user` is missing"),
        refused("log.jsonl", '{"user": null, "item": 2, "timestamp": 3}\n',
                r"row 1: `user` is null"),
        refused("log.jsonl", '{"user": 1, "user": 5, "item": 2, "timestamp": 3}\n',
                r"row 1 has `user` twice"),
        refused("log.jsonl", '{"user": 1, "item": 2, "timestamp": 3}\n{"user": 1}\n',
                r"row 2: `item` is missing"),
        refused("log.jsonl", '{"user": 1, "item": 2, "timestamp": NaN}\n',
                r"row 1: `timestamp` is NaN or infinite, which counts as missing"),
        refused("log.jsonl", '{"user": NaN, "item": 2, "timestamp": 3}\n',
                r"row 1: `user` is NaN or infinite, which counts as missing"),
        refused("log.jsonl", '{"user": 1, "item": -Infinity, "timestamp": 3}\n',
                r"row 1: `item` is NaN or infinite, which counts as missing"),
        # Python's own form reads a number that is too large as infinite.
        refused("log.jsonl", "{'user': 1e999, 'item': 2, 'timestamp': 3}\n",
                r"row 1: `user` is NaN or infinite, which counts as missing"),
        refused("log.jsonl", '{"user": 1, "item": 2, "timestamp": 1' + "0" * 400 + "}",
                r"row 1: `timestamp` is no time"),
        refused("log.jsonl", b'{"user": "\xff"}\n', r"not UTF-8 text: row 1"),
        refused("log.jsonl", '{"user": 1, "when": 3}\n', r"known as the item"),
        refused("log.jsonl", '{"user": "\\ud800", "item": 2, "timestamp": 3}\n',
                r"`user` is not text"),
        refused("log.parquet", b"PAR1" + b"x" * 100, r"not a whole Parquet file"),
        refused("log.csv.gz", HEAD, r"not a whole gzip file"),
        refused("log.csv.gz", gzip.compress(logs.PLAIN)[:-30], r"not a whole gzip"),
        refused("log.zip", logs.zipped("log.csv", logs.PLAIN)[:-30], r"a whole zip"),
        *(refused(f"log{ending}", HEAD + ROW, message) for ending, message in {
            ".csv.xz": r"is packed. Unpack it", ".csv.zst": r"is packed. Unpack it",
            ".csv.bz2": r"is packed. Unpack it", ".tar": r"is a tar archive",
            ".tar.gz": r"is a tar archive", ".tgz": r"is a tar archive",
            ".xlsx": r"is a spreadsheet. Save the sheet as CSV",
            ".pkl": r"is a pickle, which can run any code"}.items()),
        refused("log.csv", b"\xfd7zXZ\0\0", r"is packed by xz"),
        refused("log.csv", b"\x28\xb5\x2f\xfd\0", r"is packed by zstd"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_in_a_sentence(
    tmp_path, name, content, told, message
):
    path = write(tmp_path, name, content)
    with pytest.raises(UserError, match=message) as caught:
        log_file.load(path, options(**told))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700 + len(str(path))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("user", [True, False], r"the column `user` holds bool"),
        ("user", [["a"], ["b"]], r"the column `user` holds list"),
        ("user", ["a", None], r"row 2: `user` is missing"),
        ("user", [1.0, float("nan")], r"row 2: `user` is missing"),
        ("timestamp", [True, False], r"rows 1, 2: `timestamp` is no time"),
        ("timestamp", [float("inf"), 1.0], r"row 1: `timestamp` is no time"),
        ("timestamp", [pd.Timestamp("2018-03-02"), None], r"row 2: `timestamp` is mis"),
    ],
)
def test_the_columns_of_parquet_are_judged_too(tmp_path, column, values, message):
    table = pd.DataFrame(
        {"user": ["a", "b"], "item": ["x", "y"], "timestamp": [STAMP, STAMP + 1]}
    )
    table[column] = pd.Series(values, dtype=None)
    path = tmp_path / "log.parquet"
    table.to_parquet(path)
    with pytest.raises(UserError, match=message):
        log_file.load(path)


NANOSECONDS = [STAMP * 10**9 + 1, STAMP * 10**9 + 2]


@pytest.mark.parametrize("column", ["user", "timestamp", "order", "rating"])
@pytest.mark.parametrize(
    ("values", "kind"),
    [
        *((NANOSECONDS, kind) for kind in ("int64", "uint64", "timestamp[ns]")),
        ([2**63 - 1, STAMP], "int64"),
        ([2**64 - 1, STAMP], "uint64"),
        (np.array([1, 2], np.float16), "halffloat"),
        ([1.52e18, 1.53e18], "double"),
        (["1520000000000000001", "1520000000000000002"], "string"),
        (["2018-03-02", "2018-03-03"], "string"),
        ([17_600, 17_601], "date32"),
        ([STAMP, STAMP + 1], "timestamp[s]"),
    ],
)
def test_a_value_that_is_missing_is_said_in_every_type(tmp_path, column, values, kind):
    chunks = [pa.array([value], pa.type_for_alias(kind)) for value in values]
    chunks.insert(1, pa.nulls(1, chunks[0].type))
    columns = {
        "user": ["a", "b", "c"],
        "item": ["x", "y", "z"],
        "timestamp": [STAMP] * 3,
        column: pa.chunked_array(chunks),
    }
    path = tmp_path / "log.parquet"
    parquet.write_table(pa.table(columns), path)
    said = options(columns=",".join(f"{role}={role}" for role in columns))
    with pytest.raises(UserError, match=rf"rows? .*2.*: `{column}` is missing"):
        log_file.load(path, said, with_rating=True)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (2**31 - 1, pa.date32(), r"row 2: .* after the year 2100.*: 2147483647\."),
        (-(2**31), pa.date32(), r"row 2: .* before the year 1900.*: -2147483648\."),
        (2**62, pa.timestamp("ms"), r"row 2: .* after the year 2100.*: 4611686018"),
        (-(2**62), pa.timestamp("us", "UTC"), r"row 2: .* before the year 1900"),
    ],
)
def test_a_date_of_parquet_that_python_does_not_know_is_shown(
    tmp_path, value, kind, message
):
    times = pa.array([17_600, value], kind)
    columns = {"user": ["a", "b"], "item": ["x", "y"], "timestamp": times}
    path = tmp_path / "log.parquet"
    parquet.write_table(pa.table(columns), path)
    with pytest.raises(UserError, match=message):
        log_file.load(path)


def decimals(*texts, scale=0):
    return pa.array([*map(decimal.Decimal, texts)], pa.decimal128(38, scale))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array(np.array([1, 2], np.float16)), ["1", "2"]),
        (pa.array([0.1, 2], pa.float32()), ["0.1", "2"]),
        # A float would hold both as 1.52e+18.
        (decimals(*NANOSECONDS), ["1520000000000000001", "1520000000000000002"]),
        (decimals(70, 0, scale=18), ["70", "0"]),
        (decimals("70", "8.5", scale=2), ["70", "8.5"]),
    ],
)
def test_ids_of_parquet_that_are_numbers_stay_as_many(tmp_path, values, expected):
    path = tmp_path / "log.parquet"
    columns = {"user": ["a", "a"], "item": values, "timestamp": [STAMP, STAMP + 1]}
    parquet.write_table(pa.table(columns), path)
    assert log_file.load(path).table["item"].tolist() == expected


def test_all_bad_rows_of_a_text_are_said_at_once(tmp_path):
    rows = [ROW, ",a,5\n", ROW, "u,a\n", "u,,noon\n", "\n", "u,a,9,9,9\n", "u,b,soon\n"]
    path = write(tmp_path, "log.csv", HEAD + "".join(rows))
    with pytest.raises(UserError) as caught:
        log_file.load(path)
    assert str(caught.value) == (
        f"{path}: 5 bad rows: row 5 has 2 fields, and row 1 has 3; a field that holds "
        "the separator has to stand in quotes. row 8 has 5 fields, and row 1 has 3; a "
        "field that holds the separator has to stand in quotes. row 3: `user` is "
        "missing. row 6: `item` is missing. rows 6, 9: `timestamp` is no time: neither "
        "a number nor a date in ISO 8601. Received: noon, soon. Correct or delete "
        "these rows."
    )


def test_what_to_do_with_a_bad_row_is_said_unless_a_flag_helps(tmp_path):
    path = write(tmp_path, "log.csv", HEAD + ROW + ",a,5\n")
    with pytest.raises(
        UserError, match=r"`user` is missing\. Correct or delete this r"
    ):
        log_file.load(path)
    rows = "".join(f"u,a,{STAMP + day}000\n" for day in range(9)) + f"u,a,{STAMP}\n"
    with pytest.raises(UserError, match=r"--time_unit") as caught:
        log_file.load(write(tmp_path, "mixed.csv", HEAD + rows))
    assert "Correct or delete" not in str(caught.value)


@pytest.mark.parametrize(
    ("user", "item", "timestamp", "others"),
    [
        ("customer_id", "sku", "created_at", ""),
        ("customer", "SKU", "Ordered at", ";channel;quantity"),
        ("Client ID", "Article", "order_date", ""),
        ("member_id", "product", "purchased_at", ";price"),
        ("CustomerID", "StockCode", "InvoiceDate", ";InvoiceNo"),
        # Names of before win, so that such logs are read as they were.
        ("customer_id", "product_id", "date", ";client_id;sku;ordered_at"),
        ("user", "item", "timestamp", ";customer;product;order_date"),
    ],
)
def test_names_that_shops_use_are_known(user, item, timestamp, others, tmp_path):
    header = f"{user};{item};{timestamp}{others}"
    row = ";".join("1" * (header.count(";") + 1))
    path = write(tmp_path, "log.csv", f"{header}\n{row}\n")
    expected = {"user": user, "item": item, "timestamp": timestamp}
    assert log_file.form_of(path).columns == expected


def test_an_order_is_no_reason_to_look_for_a_shops_date(tmp_path):
    path = write(tmp_path, "log.csv", "user,item,order,order_date\na,b,0,2024-01-01\n")
    assert "timestamp" not in log_file.form_of(path).columns


@pytest.mark.parametrize(
    ("header", "role"),
    [
        ("customer,client_id,sku,order_date", "user"),
        ("customer,sku,product,order_date", "item"),
        ("customer,sku,order_date,purchased_at", "timestamp"),
    ],
)
def test_two_names_of_one_role_are_asked_about(header, role, tmp_path):
    path = write(tmp_path, "log.csv", f"{header}\na,b,c,d\n")
    with pytest.raises(UserError, match=f"several columns could be the {role}: "):
        log_file.form_of(path)


def test_the_known_names_are_those_of_the_page():
    page = (Path(__file__).parent.parent / "docs/your_data.md").read_text()
    names = page.split("## Names of columns that are known")[1].split("\n## ")[0]
    shown = dict(re.findall(r"^- (\w+): ([^.]*)\.$", names, re.MULTILINE))
    assert {*shown} == {*log_forms._ALIASES}
    for role, text in shown.items():
        before, _, shops = text.replace("_", "").partition("; then ")
        assert {*re.findall(r"`(\w+)`", before)} == {*log_forms._ALIASES[role]}
        known = log_forms._SHOPS_ALIASES.get(role, ())
        assert {*re.findall(r"`(\w+)`", shops)} == {*known}


def test_of_many_bad_rows_the_first_ten_are_said_and_all_counted(tmp_path):
    path = write(tmp_path, "log.csv", HEAD + ROW * 30 + "u,,5\n" * 4 + "u,a,x\n" * 26)
    with pytest.raises(UserError) as caught:
        log_file.load(path)
    assert f"{path}: 30 bad rows, the first 10 are: " in str(caught.value)
    assert (
        "rows 32, 33, 34, 35: `item` is missing. rows 36, 37, 38, 39, 40, 41: `t"
        in (str(caught.value))
    )
    assert "42" not in str(caught.value)


def test_all_bad_lines_of_json_are_said_at_once(tmp_path):
    good = '{"user": 1, "item": 2, "timestamp": 1520000000}\n'
    lines = [good, "{\n", good, '{"user": 1, "item": null, "timestamp": 5}\n', "{\n"]
    lines += ['{"user": 1, "item": 2, "timestamp": "noon"}\n']
    path = write(tmp_path, "log.jsonl", "".join(lines))
    with pytest.raises(UserError) as caught:
        log_file.load(path)
    text = str(caught.value)
    assert "4 bad rows: each of rows 2, 5 is not JSON; a log has one object" in text
    assert "row 4: `item` is null. row 6: `timestamp` is no time" in text


def test_all_bad_rows_of_parquet_are_said_at_once(tmp_path):
    path = tmp_path / "log.parquet"
    pd.DataFrame(
        {
            "user": ["a", None, "b", "c"],
            "item": [1.0, 2.0, float("inf"), 4.0],
            "timestamp": [str(STAMP), "noon", str(STAMP), None],
        }
    ).to_parquet(path)
    with pytest.raises(UserError) as caught:
        log_file.load(path)
    text = str(caught.value)
    assert (
        "3 bad rows: row 2: `user` is missing. row 3: `item` is missing or inf" in text
    )
    assert "row 2: `timestamp` is no time" in text
    assert "row 4: `timestamp` is missing" in text


def test_one_damaged_first_date_makes_no_other_date_a_bad_row(tmp_path):
    rows = "u,a,soon\n" + "u,b,2018-03-02\n" * 3
    path = write(tmp_path, "log.csv", HEAD + rows)
    with pytest.raises(UserError, match="csv: row 2: `timestamp` is no time in ISO"):
        log_file.load(path)


def test_a_zip_archive_of_several_files_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.csv", logs.PLAIN)
        archive.writestr("__MACOSX/._a.csv", b"\0")
        assert log_file.load(write(tmp_path, "one.zip", _closed(archive, buffer)))
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.csv", logs.PLAIN)
        archive.writestr("b.csv", logs.PLAIN)
    path = write(tmp_path, "two.zip", buffer.getvalue())
    with pytest.raises(UserError, match=r"archive of 2 files \(a.csv, b.csv\)"):
        log_file.load(path)


def _closed(archive, buffer):
    archive.close()
    return buffer.getvalue()


def test_the_order_of_amazon_is_asked_for_where_ids_do_not_tell_it(tmp_path):
    path = write(tmp_path, "ratings.csv", "u1,i1,5.0,1520000001\nu1,i2,4,1520000002\n")
    with pytest.raises(UserError, match=r"--columns=user=.*--no_header"):
        log_file.load(path)


def test_a_field_may_go_on_over_the_line_where_nothing_reads_it(tmp_path, caplog):
    text = 'user,item,timestamp,text\nu,a,1520000001,"good\nvery"\nu,b,noon,x\n'
    path = write(tmp_path, "log.csv", text)
    with pytest.raises(UserError, match="row 4: `timestamp` is no time"):
        log_file.load(path)
    path = write(tmp_path, "log.csv", text.replace("noon", "1520000002"))
    assert log_file.load(path).table["item"].tolist() == ["a", "b"]
    assert "1 of 4 lines continue a quoted field" in caplog.text


# Python's `splitlines` ends lines here; files, CSV and JSON do not.
SEPARATORS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("header", [True, False])
def test_a_separator_of_unicode_ends_no_line(tmp_path, end, header):
    ids = [f"{mark}a{mark}b" for mark in SEPARATORS]
    rows = ["user,item,order"] * header + [f"u,{i},{n}" for n, i in enumerate(ids)]
    path = write(tmp_path, "log.csv", end.join([*rows, ""]))
    told = {} if header else {"columns": "user=1,item=2,order=3", "no_header": True}
    assert log_file.load(path, options(**told)).table["item"].tolist() == ids


def test_what_looks_like_a_row_within_a_line_is_swallowed_by_no_quote(tmp_path):
    text = '"one\u2028a,b,c,d\u2028two\nthree"'
    path = write(tmp_path, "log.csv", f"user,item,order,text\nu,a,1,{text}\n")
    assert log_file.load(path).table["item"].tolist() == ["a"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1,a,1520000001", "1.0,b,1520000002"], "1 user ids are there twice"),
        (["1,a,1520000001", "1 ,b,1520000002"], "1 user ids begin or end with a blank"),
        (["1.2E+09,a,1520000001"], "a spreadsheet has rounded them"),
        ([f"1,a,{STAMP + n}" for n in range(99)] + ["1,b,2122867355"],
         r"1 of 100 times lie far.*2037-04-09 05:22:35 in row 101.*"
         r"--time_from=2018-03-02 --time_until=2018-03-03 drops them"),
        (["1,a,1520000001", "1,b,4000000000"], "1 time lies in the future"),
        (["1,a,1.52E+09", "1,b,1.52E+09"], "All 2 times are the same, 1.52E.09 as wri"),
        (["1,a,1.52E+09", "1,b,1.53E+09"], "2 times are written like 1.52E.09"),
    ],
)  # fmt: skip
def test_what_is_odd_is_said(tmp_path, rows, message):
    path = write(tmp_path, "log.csv", HEAD + "\n".join(rows) + "\n")
    log = log_file.load(path)
    assert len(log.odd) == 1
    assert pd.Series(log.odd).str.contains(message).all()


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (parse_columns, "user"),
        (parse_columns, "person=1"),
        (parse_columns, "user=1,user=2"),
        (parse_columns, "user="),
        (lambda text: parse_where([text]), "event"),
        (lambda text: LogOptions(separator=parse_separator(text)), ",;"),
        (lambda text: LogOptions(time_unit=text), "minutes"),
        (lambda text: LogOptions(time_from=2.0, time_until=1.0), "--time_from must"),
    ],
)
def test_flags_that_make_no_sense_are_refused(function, text):
    with pytest.raises(UserError, match=r"Received|must be"):
        function(text)


def test_a_separator_may_be_said_by_name():
    names = {"tab": "\t", "\\t": "\t", "space": " ", ";": ";", "::": "::"}
    assert {name: parse_separator(name) for name in names} == names


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no file .*absent\.csv"):
        log_file.load(tmp_path / "absent.csv")
    with pytest.raises(UserError, match="is a folder"):
        log_file.load(tmp_path)
