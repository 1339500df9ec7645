from __future__ import annotations

import gzip

import pytest

from data import csv_file


def write(tmp_path, text, name="log.csv"):
    path = tmp_path / name
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
def test_columns_are_read_and_ids_kept_as_written(tmp_path, name):
    text = "user,item,rating,timestamp,extra\nu1,007,5,12.75,x\n2,7,3,13,y\n"
    table = csv_file.load(write(tmp_path, text, name))
    assert table["user"].tolist() == ["u1", "2"]
    assert table["item"].tolist() == ["007", "7"]
    assert table["timestamp"].tolist() == [12.75, 13.0]
    assert "extra" not in table


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"log.csv is empty"),
        ("user,item,order\n", r"log.csv has no rows"),
        ("user,order\n1,2\n", r"row 1 has no column `item`"),
        ("user,item\n1,2\n", r"row 1 has neither `timestamp`"),
        ("user,item,timestamp\n1,2,3\n1,2,noon\n", r"row 3: `timestamp` is not a num"),
        ("user,item,timestamp\n1,2,3\n1,2,\n", r"row 3: `timestamp` is missing"),
        ("user,item,timestamp\n1,2,nan\n", r"row 2: `timestamp` is missing"),
        ("user,item,timestamp\n1,2,inf\n", r"row 2: `timestamp` is infinite"),
        ("user,item,rating,order\n1,2,good,1\n", r"row 2: `rating` is not a number"),
        ("user,item,order\n1,2,0\n,3,1\n", r"row 3: `user` is missing"),
        ("user,item,order\n1,2,0\n1,NaN,1\n", r"row 3: `item` is missing"),
        ("user,item,order\n1,2,0\n1,2,3,4\n", r"not a table: .*line 3"),
    ],
)
def test_an_error_names_file_and_row(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        csv_file.load(write(tmp_path, text))


def test_a_quoted_header_is_a_header(tmp_path):
    path = write(tmp_path, '"user","item","order"\n"a,b",2,0\n')
    assert csv_file.load(path)["user"].tolist() == ["a,b"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no file .*absent\.csv"):
        csv_file.load(tmp_path / "absent.csv")


def test_a_truncated_gzip_is_refused(tmp_path):
    rows = "".join(f"{n},{n * 7919 % 1000},{n}\n" for n in range(20_000))
    whole = gzip.compress(b"user,item,order\n" + rows.encode())
    path = tmp_path / "log.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a whole gzip file"):
        csv_file.load(path)


def test_text_that_claims_to_be_gzip_is_refused(tmp_path):
    path = tmp_path / "log.csv.gz"
    path.write_text("user,item,order\n1,2,3\n")
    with pytest.raises(ValueError, match="not a whole gzip file"):
        csv_file.load(path)


def test_bytes_that_are_not_text_are_refused(tmp_path):
    path = write(tmp_path, b"user,item,order\n1,\xff\xfe,3\n")
    with pytest.raises(ValueError, match="not UTF-8"):
        csv_file.load(path)
