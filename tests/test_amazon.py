from __future__ import annotations

import gzip
import json

import pytest

from data import amazon, micro_video

ROWS = [("A1", "B1", 5.0, 100), ("A2", "B2", 2.0, 200)]
KEYS = ("reviewerID", "asin", "overall", "unixReviewTime")


def as_text(form):
    if form == "reviews":
        return "".join(json.dumps(dict(zip(KEYS, row))) + "\n" for row in ROWS)
    head = "user,item,rating,timestamp\n" if form == "header" else ""
    return head + "".join(",".join(map(str, row)) + "\n" for row in ROWS)


@pytest.mark.parametrize("form", ["no header", "header", "reviews"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_every_form_gives_the_same_rows(tmp_path, form, suffix):
    path = tmp_path / f"ratings{suffix}"
    text = as_text(form).encode()
    path.write_bytes(gzip.compress(text) if suffix else text)
    table = amazon.load(path)[["user", "item", "rating", "timestamp"]]
    assert [tuple(row) for row in table.itertuples(index=False)] == ROWS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A1,B1,5\n", "row 1 has 3 fields"),
        ("A1,B1,5,100\nA1,B1,5,late\n", "row 2: `timestamp` is not a number"),
        ('{"reviewerID": "A"}\n', "row 1 has no 'asin'"),
        (as_text("reviews") + "{broken\n", "row 3 is not JSON"),
    ],
)
def test_an_error_names_the_row(tmp_path, text, message):
    path = tmp_path / "ratings.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        amazon.load(path)


def test_a_raw_kuairand_log_gives_clicks_and_seconds(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "user_id,video_id,date,time_ms,is_click,is_like\n"
        "3,9,20220408,1649349856990,1,0\n3,8,20220408,1649349857000,0,0\n"
    )
    table = micro_video.load(path)
    assert table["rating"].tolist() == [1, 0]
    assert table["timestamp"].tolist() == [1649349856.99, 1649349857.0]


def test_micro_video_needs_times(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user,item,order\n1,2,3\n")
    with pytest.raises(ValueError, match="no column `timestamp`"):
        micro_video.load(path)
