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

from data import locks, prepared
from data.build import prepare
from data.candidates import candidate_negatives
from data.describe import describe
from data.errors import UserError
from data.filters import Filters
from data.log_options import LogOptions
from data.registry import DATASETS
from tests import logs
from tests.datasets import sequences

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
d,v,5,90
d,w,5,95
"""


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


def run(log, tmp_path, **changes):
    seconds = LogOptions(time_unit="s")
    arguments = {"split": "leave_one_out", "options": seconds, **changes}
    arguments.setdefault("rating_above", 2.0)
    arguments.setdefault("name", "shop")
    return prepare("csv", tmp_path / "prepared", source=log, **arguments)


def test_rows_are_filtered_mapped_and_put_in_order(log, tmp_path):
    data = run(log, tmp_path)
    # c has one event, a's y was rated 1; ids count from the first appearance, and
    # a's two events at 20 keep their order. d has events enough to train on alone.
    users = pd.read_parquet(data.folder / "users.parquet")["key"].tolist()
    items = pd.read_parquet(data.folder / "items.parquet")["key"].tolist()
    assert (users, items) == (["b", "a", "d"], ["x", "z", "y", "v", "w"])
    assert data.store.offsets.tolist() == [0, 0, 4, 8, 10]
    assert data.store.items.tolist() == [3, 1, 2, 1, 1, 2, 1, 3, 4, 5]
    assert data.store.times.tolist() == [10, 30, 50, 70, 10, 20, 20, 80, 90, 95]
    assert data.instances["test"].tolist() == [[1, 3], [2, 3]]
    assert data.instances["valid"].tolist() == [[1, 2], [2, 2]]


def test_statistics_are_those_of_what_was_kept(log, tmp_path):
    found = run(log, tmp_path).meta["statistics"]
    assert [found[key] for key in ("users", "items", "interactions")] == [3, 5, 10]
    assert [found[key] for key in ("train", "valid", "test")] == [3, 2, 2]
    assert found["lengths"] == {"min": 2, "median": 4.0, "mean": 3.3, "max": 4}
    assert found["same_time_share"] == pytest.approx(1 / 7)


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
        run(path, tmp_path, rating_above=None)
    assert not (tmp_path / "prepared").exists()


def test_data_that_table_1_lacks_are_refused_or_marked(log, tmp_path, caplog):
    folder = tmp_path / "prepared"
    with pytest.raises(ValueError, match=r"Table 1 has 60,739.*--allow_mismatch"):
        prepare("instruments", folder, source=log, split="leave_one_out")
    assert not folder.exists()
    data = prepare(
        "instruments", folder, source=log, split="leave_one_out", allow_mismatch=True
    )
    assert "not the paper's data" in caplog.text
    assert data.meta["statistics"]["matches_table1"] is False
    assert "Table 1:       60,739   differs" in describe(data)


def test_it_is_said_that_micro_video_cannot_be_had(tmp_path):
    with pytest.raises(ValueError, match=r"private to Kuaishou.*--source=FILE"):
        prepare("micro_video", tmp_path)


def fail_with(error):
    def failing(*args, **kwargs):
        raise error

    return failing


def test_a_full_disk_is_said_and_leaves_nothing(log, tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(prepared.np, "save", fail_with(full))
    with pytest.raises(UserError, match=r"prepared or .*: the disk is full"):
        run(log, tmp_path)
    assert not (tmp_path / "prepared").exists()


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


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(logs.PLAIN)
    return path


def test_a_log_is_what_is_prepared(plain, tmp_path):
    data = prepare("csv", tmp_path / "p", source=plain)
    assert sequences(data) == logs.sequences()


@pytest.mark.parametrize("user_first", [True, False])
def test_the_two_column_orders_of_amazon_are_told_apart(tmp_path, user_first):
    name = "ratings_Toys_and_Games.csv" if user_first else "Toys_and_Games.csv"
    path = tmp_path / name
    path.write_bytes(logs.FILES[name])
    arguments = {"split": "leave_one_out", "allow_mismatch": True}
    data = prepare("toys", tmp_path / "p", source=path, **arguments)
    assert sequences(data) == logs.sequences(logs.reviewer, logs.asin)


def test_a_kuairand_log_gives_clicks(tmp_path):
    text = "user_id,video_id,date,time_ms,is_click,is_like\n"
    for user, item, time, rating in logs.events():
        text += f"{user},{item},20220408,{time * 1000 + 7},{rating % 2},0\n"
    path = tmp_path / "log.csv"
    path.write_text(text)
    arguments = {"allow_mismatch": True, "split": "leave_one_out"}
    data = prepare("micro_video", tmp_path / "p", source=path, **arguments)
    clicks = sum(rating % 2 for *_, rating in logs.events())
    assert len(data.store.items) == clicks
    assert data.meta["log"]["dropped"]["rating"] == len(logs.events()) - clicks
    assert data.meta["log"]["time_unit"] == "ms"


def test_order_breaks_ties_of_time(tmp_path):
    path = tmp_path / "log.csv"
    rows = ["user,item,timestamp,order"]
    for user in ("u", "v"):
        rows += [f"{user},c,1520000000,2", f"{user},d,1520000060,0"]
        rows += [f"{user},b,1520000000,1", f"{user},a,1520000000,0"]
    path.write_text("\n".join(rows))
    data = run(path, tmp_path, rating_above=None, keeps_past=True)
    found = [[item for item, _ in row] for row in sequences(data).values()]
    assert found == [["a", "b", "c", "d"]] * 2


def test_steps_are_an_order_and_split_no_log_by_time(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    arguments = {"options": LogOptions(), "rating_above": None}
    data = run(path, tmp_path, **arguments)
    assert not data.has_times
    assert data.keys("items")[data.store.items[:4] - 1].tolist() == ["y", "x", "z", "x"]
    with pytest.raises(UserError, match=r"on 1970-01-01.*--time_unit=s"):
        run(path, tmp_path, **arguments, split="global_time")


def counts(data):
    log = data.meta["log"]
    return log["rows"], {k: v for k, v in log["dropped"].items() if v}, log["kept"]


@pytest.mark.parametrize(
    ("filters", "dropped"),
    [
        ({}, {"one_event_users": 1}),
        ({"deduplicate": True}, {"one_event_users": 1, "duplicates": 2}),
        ({"min_item_events": 3}, {"one_event_users": 1, "k_core": 1}),
        ({"min_user_events": 4, "min_item_events": 3}, {"k_core": 4}),
    ],
)
def test_what_is_dropped_is_counted(tmp_path, filters, dropped):
    rows = [(user, item) for user in "abc" for item in "vwxy"]
    rows += [("a", "v"), ("b", "v"), ("d", "e"), ("d", "v"), ("d", "w"), ("z", "v")]
    text = "user,item,timestamp\n"
    for number, (user, item) in enumerate(rows):
        again = number in (12, 13)  # The same event as in the user's first row.
        time = rows.index((user, item)) if again else number
        text += f"{user},{item},{1_520_000_000 + time}\n"
    path = tmp_path / "log.csv"
    path.write_text(text)
    chosen = Filters(**filters)
    data = run(path, tmp_path, rating_above=None, filters=chosen, keeps_past=True)
    assert counts(data)[0] == 18
    assert (
        counts(data)[2] == len(data.store.items) == 18 - sum(counts(data)[1].values())
    )
    assert counts(data)[1] == dropped
    duplicates = 0 if filters.get("deduplicate") else 2
    assert data.meta["log"]["duplicates"] == duplicates


def test_a_core_is_stable(tmp_path):
    rng = np.random.default_rng(0)
    pairs = np.unique((rng.random((400, 2)) ** 2 * 40).astype(int), axis=0)
    table = pd.DataFrame(pairs, columns=["user", "item"]).assign(
        order=range(len(pairs))
    )
    path = tmp_path / "log.csv"
    table.to_csv(path, index=False)
    filters = Filters(min_user_events=5, min_item_events=5)
    data = run(path, tmp_path, rating_above=None, filters=filters)
    kept = table
    while True:  # By hand, a user or item at a time.
        few = kept["user"].map(kept["user"].value_counts()) < 5
        few |= kept["item"].map(kept["item"].value_counts()) < 5
        if not few.any():
            break
        kept = kept[~few]
    assert len(data.store.items) == len(kept) > 0
    assert {*data.keys("users")} == {*kept["user"].astype(str)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rating_above": float("nan")}, "--rating_above takes a number"),
        ({"utc_offset_hours": float("inf")}, "--utc_offset_hours takes -24 to 24"),
        ({"utc_offset_hours": float("nan")}, "--utc_offset_hours takes -24 to 24"),
        ({"split": "by_year"}, "`split` must be one of"),
        *(({"name": name}, "--name takes a name of letters")
          for name in (".", "..", "../x", "/abs", "a b", "<script>", "a\n", "-/")),
    ],
)  # fmt: skip
def test_flags_that_make_no_sense_are_refused(plain, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        prepare("csv", tmp_path / "p", source=plain, **changes)
    assert not (tmp_path / "p").exists()


def test_ratings_that_are_asked_for_have_to_be_there(plain, tmp_path, caplog):
    with pytest.raises(UserError, match=r"no ratings, and only those above 3 are"):
        prepare("csv", tmp_path / "p", source=plain, rating_above=3.0)
    prepare("toys", tmp_path / "p", source=plain, allow_mismatch=True)
    assert "log.csv has no ratings: all events count as positive" in caplog.text


def test_instances_that_nothing_can_be_ranked_against_are_left_out(tmp_path, caplog):
    # u has had all of the five items at its fifth event.
    items = {"u": "abcdea", "v": "abcb", "w": "cdcd"}
    rows = [(user, item) for user, row in items.items() for item in row]
    text = "user,item,order\n"
    text += "".join(f"{u},{i},{n}\n" for n, (u, i) in enumerate(rows))
    path = tmp_path / "log.csv"
    path.write_text(text)
    data = run(path, tmp_path, rating_above=None)
    whole = run(path, tmp_path, rating_above=None, keeps_past=True, name="whole")
    ends = {part: [*map(tuple, rows.tolist())] for part, rows in data.instances.items()}
    everything = {part: len(rows) for part, rows in whole.instances.items()}
    assert (everything, whole.meta["log"]["without_negatives"]) == (
        {"train": 5, "valid": 3, "test": 3},
        0,
    )
    assert (1, 3) in ends["train"]
    assert (1, 4) not in ends["valid"]
    assert (1, 5) not in ends["test"]
    assert data.meta["log"]["without_negatives"] == 2
    assert "2 instances are left out" in caplog.text
    assert whole.keeps_past
    assert not data.keeps_past
    assert whole.meta["sha256"] != data.meta["sha256"]


def test_popular_candidates_are_left_for_every_instance(tmp_path):
    # u and v have had all that trains, a to d, when they are tested.
    items = {"u": "abcdxy", "v": "dcbayx", "w": "abxz", "t": "cdzy"}
    rows = [(user, item) for user, row in items.items() for item in row]
    path = tmp_path / "log.csv"
    table = pd.DataFrame(rows, columns=["user", "item"])
    table.assign(order=np.arange(len(rows))).to_csv(path, index=False)
    data = run(path, tmp_path, rating_above=None, split="leave_one_out")
    assert {*data.keys("items")[data.train_events().items - 1]} == {*"abcd"}
    assert data.meta["log"]["without_negatives"] == 4
    for part in ("valid", "test"):
        assert data.instances[part][:, 0].tolist() == [3, 4]
        for protocol in ("uni1000", "pop1000"):
            drawn = candidate_negatives(data, part, protocol, seed=1)
            assert (drawn[:, 0] > 0).all()


def test_repeats_that_decide_and_small_catalogues_are_said(tmp_path, caplog):
    rows = [(f"u{u}", f"i{(u + n) % 90}", n) for u in range(30) for n in range(6)]
    rows += [(f"u{u}", f"i{u % 90}", 6) for u in range(30) if u % 5 == 0]
    path = tmp_path / "log.csv"
    table = pd.DataFrame(rows, columns=["user", "item", "order"])
    table.to_csv(path, index=False)
    data = run(path, tmp_path, rating_above=None)
    log = data.meta["log"]
    assert (log["repeats"], log["repeated_test_targets"]) == (6, 6)
    assert "20% of the test targets are items that the user had" in caplog.text
    assert "The catalogue has 35 items. Metrics at 5, 10, 20 say" in caplog.text
    assert log["odd"] == [record.getMessage() for record in caplog.records]


PARTS = ("train", "valid", "test")


@pytest.fixture
def given(tmp_path):
    """A folder of three files: the last event of each user tests, and so on."""
    folder = tmp_path / "given"
    logs.write_split(folder)
    return folder


def test_a_log_that_is_split_is_taken_as_it_is(given, plain, tmp_path):
    data = prepare("csv", tmp_path / "p", source=given, name="shop")
    assert data.split == "given"
    assert sequences(data) == logs.sequences()
    alone = prepare("csv", tmp_path / "p", source=plain, split="leave_one_out")
    for part in PARTS:
        np.testing.assert_array_equal(data.instances[part], alone.instances[part])
    files = {part: given / f"shop.{part}.inter" for part in PARTS}
    again = prepare("csv", tmp_path / "p", files=files, name="again")
    assert again.meta["sha256"] == data.meta["sha256"]


def test_a_split_log_must_not_show_the_future(given, tmp_path):
    with pytest.raises(UserError, match="--split and a log that is split"):
        prepare("csv", tmp_path / "p", source=given, split="per_user")
    test = given / "shop.test.inter"
    early = logs.second(1, 7) - 86_400 * 3
    test.write_text(test.read_text().replace(str(logs.second(1, 7)), str(early)))
    with pytest.raises(UserError, match=r"1 users have events of a later part.*as 1:"):
        prepare("csv", tmp_path / "p", source=given)
    test.unlink()
    with pytest.raises(UserError, match="one file of test events"):
        prepare("csv", tmp_path / "p", source=given)


@pytest.mark.parametrize("kind", ["int64", "uint32", "uint64"])
def test_times_without_a_sign_do_not_hide_that_a_split_log_shows_the_future(
    tmp_path, kind
):
    for part, first in zip(PARTS, (100, 50, 10)):
        events = [
            (user, f"{part}{step}", logs.START + first + step)
            for user in "uv"
            for step in range(4)
        ]
        table = pd.DataFrame(events, columns=["user", "item", "timestamp"])
        path = tmp_path / f"given/shop.{part}.parquet"
        path.parent.mkdir(exist_ok=True)
        table.astype({"timestamp": kind}).to_parquet(path)
    with pytest.raises(UserError, match=r"events of a later part.*as u:"):
        prepare("csv", tmp_path / "p", source=tmp_path / "given")


def write_orders(folder, orders, **more):
    """Three files of events that are named by their place, the last ones first."""
    folder.mkdir()
    for part, rows in zip(PARTS, orders):
        table = pd.DataFrame(rows, columns=["user", "order"]).assign(**more)
        table["item"] = [f"{part}{n}" for n in range(len(table))]
        table[::-1].to_csv(folder / f"shop.{part}.csv", index=False)


def columns_of(*roles):
    return LogOptions(columns={role: role for role in roles})


def positions(**of_users):
    return [(user, place) for user, places in of_users.items() for place in places]


# Each has an event of u in a later part that comes before one of an earlier part.
FUTURE = {
    "numbers of rows": [
        [("u", 0), ("u", 1), ("u", 8), ("v", 2), ("v", 3)],
        [("u", 4), ("v", 5)],
        [("u", 6), ("v", 7)],
    ],
    # All three files have a 0.
    "positions of a user": [
        positions(v=(1, 2), w=(1, 2, 3), u=(0, 1, 4)),
        positions(u=(2,), v=(0, 3)),
        positions(u=(3,), v=(4,), w=(0,)),
    ],
    "parts that were mixed up": [
        positions(v=(8, 9), u=(8, 9)),
        positions(u=(3,), v=(3,)),
        positions(u=(2,), v=(2,)),
    ],
}


@pytest.mark.parametrize("name", FUTURE)
@pytest.mark.parametrize("more", [{}, {"timestamp": logs.START}])
def test_an_order_must_not_show_the_future_either(tmp_path, name, more):
    write_orders(tmp_path / "given", FUTURE[name], **more)
    options = columns_of("user", "item", "order", *more)
    found = r"events of a later part.*as u: the order is \d in \w+ and \d in train"
    with pytest.raises(UserError, match=found):
        prepare("csv", tmp_path / "p", source=tmp_path / "given", options=options)


@pytest.mark.parametrize(
    "orders",
    [
        # Of rows, by file; the users' rows stand apart.
        [
            [("u", 1), ("v", 2), ("u", 3), ("v", 4), ("u", 5)],
            [("v", 1), ("u", 2)],
            [("u", 1), ("v", 2)],
        ],
        # Of a user's rows, by file.
        [
            positions(u=(0, 1, 2), v=(0, 1)),
            positions(u=(0,), v=(0,)),
            positions(u=(0,), v=(0,)),
        ],
        # Of a user's rows in all files.
        [
            positions(u=(0, 1, 2), v=(0, 1)),
            positions(u=(3,), v=(2,)),
            positions(u=(4,), v=(3,)),
        ],
    ],
)
@pytest.mark.parametrize("more", [{}, {"timestamp": 5}])  # The latter are steps.
def test_an_order_that_each_file_counts_anew_counts_within_it(tmp_path, orders, more):
    write_orders(tmp_path / "given", orders, **more)
    options = columns_of("user", "item", "order", *more)
    data = prepare("csv", tmp_path / "p", source=tmp_path / "given", options=options)
    store, items, users = data.store, data.keys("items"), data.keys("users")
    expected = {"u": [], "v": []}
    for part, rows in zip(PARTS, orders):
        for number, (user, _) in enumerate(rows):
            expected[user].append(f"{part}{number}")
    taken = np.split(items[store.items - 1], store.offsets[2:-1])
    assert {u: [*found] for u, found in zip(users, taken)} == expected


def test_a_folder_that_is_not_ours_stays(plain, tmp_path):
    run_dir = tmp_path / "runs/shop/leave_one_out/mgnm/seed-1"
    run_dir.mkdir(parents=True)
    (run_dir / "passport.json").write_text("{}")
    arguments = {"source": plain, "split": "leave_one_out", "name": "shop"}
    with pytest.raises(UserError, match=r"did not write: mgnm\. It stays as it is"):
        prepare("csv", tmp_path / "runs", **arguments)
    assert (run_dir / "passport.json").read_text() == "{}"
    data = prepare("csv", tmp_path / "p", **arguments)
    (data.folder / "thesis.txt").write_text("years")
    with pytest.raises(UserError, match=r"did not write: thesis\.txt"):
        prepare("csv", tmp_path / "p", **arguments)
    (data.folder / "thesis.txt").unlink()
    (data.folder / "candidates-test-uni1000-1.npy").write_bytes(b"drawn")
    assert prepare("csv", tmp_path / "p", **arguments).folder == data.folder
    assert not list(data.folder.glob("candidates-*"))


@pytest.mark.parametrize("kind", ["file", "link", "damaged manifest", "older"])
def test_what_else_may_stand_in_the_place(plain, tmp_path, kind):
    arguments = {"source": plain, "split": "leave_one_out", "name": "shop"}
    data = prepare("csv", tmp_path / "p", **arguments)
    folder, elsewhere = data.folder, tmp_path / "elsewhere"
    manifest = folder / "manifest.json"
    if kind == "older":  # Without a manifest its hash proves that it is ours.
        manifest.unlink()
        assert prepare("csv", tmp_path / "p", **arguments).meta == data.meta
        return
    if kind == "damaged manifest":
        manifest.write_text(manifest.read_text().replace("items", "itemz"))
    else:
        folder.rename(elsewhere)
        if kind == "file":
            folder.write_text("mine")
        else:
            folder.symlink_to(elsewhere)
    with pytest.raises(UserError, match=r"is a (file|link)|manifest.json is damaged"):
        prepare("csv", tmp_path / "p", **arguments)
    assert folder.exists()


def test_two_at_once_are_told(plain, tmp_path):
    folder = tmp_path / "p/shop/leave_one_out"
    with (
        locks.writing(folder, "prepared"),
        pytest.raises(UserError, match="is being prepared by process"),
    ):
        prepare("csv", tmp_path / "p", source=plain, split="leave_one_out", name="shop")
    assert not (tmp_path / "p").exists()


def test_a_folder_that_cannot_be_written_is_said(plain, tmp_path):
    (tmp_path / "p").write_text("a file")
    with pytest.raises(UserError, match=r"/p.*is a file, not a folder"):
        prepare("csv", tmp_path / "p", source=plain)


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


def test_errors_of_the_command_are_one_line_without_a_traceback(tmp_path):
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
    assert DATASETS["csv"].split == "global_time"
