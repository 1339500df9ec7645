"""Each named data set, end to end: fetched from a server of this machine, and read.

The files are look-alikes: the form is that of the published ones, as far as we know it,
the events are drawn.
"""

from __future__ import annotations

import dataclasses
import datetime
import gzip
import hashlib
import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data import named, registry
from data.build import prepare
from data.describe import describe
from data.errors import UserError
from data.registry import DATASETS
from experiments.reproduction.profiles import PROFILES
from harness import defaults
from tests.authors_release import ITEMS, SEQUENCES, USERS, records_of, release_of

NUM_USERS, LENGTH = 9, 6
START = 1_650_000_000
KUAIRAND_HEADER = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,"
    "is_forward,is_hate,long_view,play_time_ms,duration_ms,profile_stay_time,"
    "comment_stay_time,is_profile_enter,is_rand,tab"
)


def events():
    """(user, item, seconds) in the order of time, no two at one time."""
    rng = np.random.default_rng(0)
    owners = np.repeat(np.arange(1, NUM_USERS + 1), LENGTH)
    rng.shuffle(owners)
    times = START + np.sort(rng.choice(10**6, len(owners), replace=False))
    items = 101 + rng.integers(0, 20, len(owners))
    return list(zip(owners.tolist(), items.tolist(), times.tolist()))


def expected(user_key=str, item_key=str):
    found: dict[str, list[str]] = {}
    for user, item, _ in events():
        found.setdefault(user_key(user), []).append(item_key(item))
    return found


def sequences(data):
    users, items = data.keys("users"), data.keys("items")
    offsets = data.store.offsets
    return {
        key: [items[item - 1] for item in data.store.items[offsets[u] : offsets[u + 1]]]
        for u, key in enumerate(users, start=1)
    }


def amazon_user(user):
    return f"AG{user:026d}"


def amazon_item(item):
    return f"B0{item:08d}"


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def s3rec():
    lines = [f"{user} {' '.join(items)}" for user, items in expected().items()]
    return ("\n".join(lines) + "\n").encode()


def movielens_dat():
    rows = [f"{user}::{item}::4::{time}" for user, item, time in sorted(events())]
    text = "\n".join(rows) + "\n"
    others = {"ml-1m/README": "", "ml-1m/users.dat": "1::F::1::10::48067\n"}
    return zipped({"ml-1m/": "", **others, "ml-1m/ratings.dat": text})


def movielens_csv():
    rows = [f"{user},{item},3.5,{time}" for user, item, time in sorted(events())]
    text = "\r\n".join(["userId,movieId,rating,timestamp", *rows]) + "\r\n"
    tags = "userId,movieId,tag,timestamp\r\n"
    return zipped({"ml-20m/ratings.csv": text, "ml-20m/tags.csv": tags})


def kuairand(folder, ending):
    def row(user, item, time, click):
        rest = "0,0,0,0,0,0,7000,9000,0,0,0,0,1"
        return f"{user},{item},20220415,1200,{time * 1000 + 7},{click},{rest}"

    halves = {"4_08_to_4_21": [], "4_22_to_5_08": []}
    for number, (user, item, time) in enumerate(events()):
        half = "4_08_to_4_21" if number < 30 else "4_22_to_5_08"
        halves[half] += [row(user, item, time, 1), row(user, 99, time + 1, 0)]
    halves["4_08_to_4_21"].insert(3, "5,102,20220415")  # A published log has one.
    texts = {f"log_standard_{half}": rows for half, rows in halves.items()}
    texts["log_random_4_22_to_5_08"] = [row(1, 77, START, 1)]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, rows in texts.items():
            content = ("\n".join([KUAIRAND_HEADER, *rows]) + "\n").encode()
            info = tarfile.TarInfo(f"{folder}/data/{name}_{ending}.csv")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def gowalla():
    rows = []
    for user, item, time in sorted(events(), key=lambda row: (row[0], -row[2])):
        when = datetime.datetime.fromtimestamp(time, datetime.timezone.utc)
        stamp = when.strftime("%Y-%m-%dT%H:%M:%SZ")
        rows.append(f"{user}\t{stamp}\t30.2359091167\t-97.7951395833\t{item}")
    return gzip.compress(("\n".join(rows) + "\n").encode())


def microlens():
    rows = [f"{user},{item},{time * 1000 + 552}" for user, item, time in events()]
    return ("\r\n".join(["user,item,timestamp", *rows]) + "\r\n").encode()


def amazon_2023():
    rows = [
        f"{amazon_user(user)},{amazon_item(item)},5.0,{time * 1000 + 70}"
        for user, item, time in events()
    ]
    text = "\n".join(["user_id,parent_asin,rating,timestamp", *rows]) + "\n"
    return gzip.compress(text.encode())


def amazon_2014():
    rows = [
        f"A{user:013d},{amazon_item(item)},5.0,{time}" for user, item, time in events()
    ]
    return ("\n".join(rows) + "\n").encode()


FILES = {
    **dict.fromkeys(
        ["toys-5core", "beauty-5core", "sports-5core", "yelp", "lastfm"],
        (s3rec, str, str),
    ),
    "ml-1m": (movielens_dat, str, str),
    "ml-20m": (movielens_csv, str, str),
    "kuairand-pure": (lambda: kuairand("KuaiRand-Pure", "pure"), str, str),
    "kuairand-1k": (lambda: kuairand("KuaiRand-1K", "1k"), str, str),
    "gowalla": (gowalla, str, str),
    "microlens": (microlens, str, str),
    "amazon-2023-toys_and_games": (amazon_2023, amazon_user, amazon_item),
    "instruments-snap": (amazon_2014, lambda user: f"A{user:013d}", amazon_item),
    "toys-snap": (amazon_2014, lambda user: f"A{user:013d}", amazon_item),
}


@pytest.fixture
def served(file_server, monkeypatch):
    """Puts a look-alike in the place of a data set's published file."""

    def serve(name):
        spec = DATASETS[name]
        content = FILES[name][0]()
        file = spec.fetch.url.rsplit("/", 1)[-1]
        (file_server.folder / file).write_bytes(content)
        kind = (spec.fetch.checksum or "").partition(":")[0]
        fetch = dataclasses.replace(
            spec.fetch,
            url=file_server.url + file,
            checksum=f"{kind}:{hashlib.new(kind, content).hexdigest()}"
            if kind
            else None,
            size=len(content) if spec.fetch.size else None,
        )
        monkeypatch.setitem(DATASETS, name, dataclasses.replace(spec, fetch=fetch))
        return file_server.folder / file

    return serve


@pytest.mark.parametrize("name", FILES)
def test_a_named_data_set_is_fetched_and_read(served, tmp_path, name):
    served(name)
    _, user_key, item_key = FILES[name]
    data = prepare(
        name,
        tmp_path / "prepared",
        raw_dir=tmp_path / "raw",
        split="leave_one_out",
        allow_mismatch=True,  # Of the published counts.
    )
    assert sequences(data) == expected(user_key, item_key)
    if data.has_times:
        assert data.store.times.min() >= START
        assert data.store.times.max() <= START + 10**6


def test_every_named_data_set_has_such_a_test():
    amazon = {name for name in DATASETS if name.startswith("amazon-2023-")}
    own = {"csv", "synthetic", "micro_video", "ml-100k", "instruments", "toys"}
    assert {*DATASETS} - amazon - own == {*FILES} - amazon
    assert len(amazon) == len(registry.AMAZON_2023_CATEGORIES) == 28


def test_every_address_is_https_and_every_set_says_what_it_is_for():
    for name, spec in DATASETS.items():
        if isinstance(spec.fetch, named.Download):
            assert spec.fetch.url.startswith("https://"), name
            assert spec.licence, name


@pytest.mark.parametrize(
    "name", [name for name in FILES if DATASETS[name].fetch.checksum is not None]
)
def test_a_changed_file_is_refused(served, tmp_path, name):
    path = served(name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"not .*the file was damaged or has changed"):
        prepare(name, tmp_path / "prepared", raw_dir=tmp_path / "raw")
    assert not list((tmp_path / "prepared").glob("*/*/meta.json"))


def test_another_log_under_a_known_name_is_refused(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes(s3rec())
    with pytest.raises(UserError, match=r"has 54 rows.* of toys-5core 167,597"):
        prepare("toys-5core", tmp_path / "prepared", source=path)


def test_ragged_rows_of_a_published_log_are_counted(served, tmp_path, caplog):
    served("kuairand-1k")
    DATASETS["kuairand-1k"].fetch(tmp_path / "raw")
    assert "row 5 has 3 fields, the header 19: it is left out" in caplog.text


def test_parts_of_different_logs_are_not_put_together(tmp_path):
    parts = [tmp_path / "one.csv", tmp_path / "two.csv"]
    parts[0].write_text("a,b\n1,2\n")
    parts[1].write_text("a,c\n1,2\n")
    with pytest.raises(UserError, match="different headers"):
        named.put_together(parts, tmp_path / "whole.csv")
    parts[1].write_text("a,b\n" + "1\n" * 11)
    with pytest.raises(UserError, match=r"row 2 has 1 fields.*and so do 10 others"):
        named.put_together(parts, tmp_path / "whole.csv")
    assert not (tmp_path / "whole.csv").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n4\n", "row 2 has a user and no item"),
        ("1 2 3\n\n4 5\n", "row 2 is not|row 2 has"),
        ("1 2 3\n1 5\n", "row 2: the user 1 has two rows"),
        ("", "is empty"),
        ("1 2\nü 3\n", "row 1 is not|row 2 is not"),
    ],
)
def test_sequences_of_another_form_are_refused(tmp_path, text, message):
    path = tmp_path / "sequences.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        named.load_sequences(path)


@pytest.fixture
def authors(tmp_path, monkeypatch):
    """Look-alikes of the authors' files in the place of `instruments`."""
    release = release_of(tmp_path / "files", pack=True)
    spec = dataclasses.replace(
        DATASETS["instruments"], release=release, table1=(len(USERS), len(ITEMS), 99)
    )
    monkeypatch.setitem(DATASETS, "instruments", spec)
    return tmp_path / "files"


def test_the_authors_files_are_prepared_as_released(authors, tmp_path):
    arguments = {"source": authors, "raw_dir": tmp_path / "raw"}
    data = prepare("instruments", tmp_path / "prepared", **arguments)
    assert data.split == "as_released"
    number = {key: number for number, key in enumerate(data.keys("items"), 1)}
    found = {
        user: [number[key] for key in items]
        for user, items in enumerate(sequences(data).values(), 1)
    }
    assert found == {user: items for user, (items, _) in SEQUENCES.items()}
    assert [*data.keys("users")] == [*USERS]
    counts = {name: len(rows) for name, rows in data.instances.items()}
    assert counts == {"train": 7, "valid": 2, "test": 2}
    statistics = data.meta["statistics"]
    assert statistics["matches_table1"]
    # One of the six neighbours whose times are both known.
    assert statistics["same_time_share"] == pytest.approx(1 / 6)
    assert data.meta["log"]["records"]["records"] == len(records_of())
    assert "agrees" in describe(data)


def test_the_authors_files_can_be_split_otherwise(authors, tmp_path):
    arguments = {"source": authors, "raw_dir": tmp_path / "raw"}
    data = prepare("instruments", tmp_path / "p", split="leave_one_out", **arguments)
    # The last event of each user with three events or more.
    assert data.instances["test"].tolist() == [[1, 3], [3, 4], [5, 2]]


def test_raw_ratings_beside_the_authors_files_are_compared(authors, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = [
        f"{list(USERS)[user - 1]},{list(ITEMS)[item - 1]},5.0,{1_300_000_000 + time}"
        for user, (items, times) in SEQUENCES.items()
        for item, time in zip(items, times)
    ]
    (raw / "ratings_Like.csv").write_text("\n".join(rows) + "\n")
    data = prepare("instruments", tmp_path / "p", source=authors, raw_dir=raw)
    text = describe(data)
    assert "users with the same items in the same order in both: 5 of 5" in text
    assert "with the same time among the raw ratings: 0 of 11" in text


def test_a_file_under_the_name_of_the_authors_files_is_a_log(authors, tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_bytes(amazon_2014())
    arguments = {"source": path, "allow_mismatch": True}
    data = prepare("instruments", tmp_path / "p", **arguments)
    assert data.split == "global_time"
    assert data.meta["rating_above"] == 2.0
    assert sequences(data) == expected(lambda user: f"A{user:013d}", amazon_item)
    assert not data.meta["statistics"]["matches_table1"]


def test_what_does_not_go_with_the_authors_files_is_said(authors, tmp_path):
    folder = tmp_path / "p"
    with pytest.raises(UserError, match="is a pickle, which can run any code"):
        prepare("instruments", folder, source=authors / "Like_user2id.pkl")
    (authors / "Like_user2id.pkl").write_bytes(b"changed")
    with pytest.raises(UserError, match="is not the released file"):
        prepare("instruments", folder, source=authors)
    (authors / "Like_user2id.pkl").write_bytes(pickle.dumps(USERS, protocol=5))
    data = prepare("instruments", folder, source=authors, allow_mismatch=True)
    assert not data.meta["statistics"]["matches_table1"]  # Though the counts are.
    with pytest.raises(UserError, match="`split` must be one of"):
        prepare("csv", folder, source=authors, split="as_released")


@pytest.mark.skipif(
    "TOYS_5CORE_ORDER" not in os.environ,
    reason="needs the Toys log of docs/datasets.md: TOYS_5CORE_ORDER=FILE",
)
def test_our_toys_log_has_the_sequences_of_the_published_file(tmp_path):
    """What our Toys tables were made of is what `--dataset=toys-5core` fetches."""
    import pandas as pd

    source = Path(os.environ["TOYS_5CORE_ORDER"])
    log = pd.read_csv(source, dtype={"user": str, "item": str})
    log = log.sort_values("order", kind="stable")
    by_user = log.groupby(log["user"].astype(int), sort=True)["item"].agg(" ".join)
    text = "".join(f"{user} {items}\n" for user, items in by_user.items())
    path = tmp_path / "Toys_and_Games.txt"
    path.write_text(text)
    fetch = DATASETS["toys-5core"].fetch
    assert "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest() == fetch.checksum
    ours = prepare("csv", tmp_path / "a", source=source, split="leave_one_out")
    theirs = prepare("toys-5core", tmp_path / "b", source=path)
    for name in ("items", "offsets"):
        np.testing.assert_array_equal(
            getattr(ours.store, name), getattr(theirs.store, name)
        )
    for part, rows in ours.instances.items():
        np.testing.assert_array_equal(rows, theirs.instances[part])


@pytest.mark.parametrize("name", ["paper", "toys-5core"])
def test_profiles_ask_for_named_data_by_their_own_splits(name):
    for dataset, split in PROFILES[name].datasets:
        assert DATASETS[dataset].split == split


def test_toys_by_its_published_name_has_the_settings_of_its_search():
    searched = {
        model: defaults.tuned_settings(model, "toys_5core_order")
        for model in defaults.MODEL_SETTINGS
    }
    assert any(searched.values())
    for model, settings in searched.items():
        assert defaults.tuned_settings(model, "toys-5core") == settings
