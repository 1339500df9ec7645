"""The authors' files: look-alikes of the released form, right and wrong ones."""

from __future__ import annotations

import dataclasses
import os
import pickle

import numpy as np
import pandas as pd
import pytest

from data import authors_files, authors_records
from data.authors_files import check, fetch, rebuild
from data.errors import UserError
from data.raw_comparison import compare
from data.releases import INSTRUMENTS, TOYS, URL
from tests.authors_release import ITEMS, SEQUENCES, USERS, records_of, release_of


def rebuilt(tmp_path, *args, allow_mismatch=False, **kwargs):
    folder = tmp_path / "files"
    release = release_of(folder, *args, **kwargs)
    return rebuild(release, folder, tmp_path / "scratch", allow_mismatch)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [tuple, list])
@pytest.mark.parametrize("pack", [False, True], ids=["pkl", "zip"])
def test_sequences_come_back_from_their_records(tmp_path, protocol, kind, pack):
    found = rebuilt(tmp_path, records_of(kind=kind), protocol=protocol, pack=pack)
    store = found.store
    for user, (items, times) in SEQUENCES.items():
        mine = slice(store.offsets[user], store.offsets[user + 1])
        assert store.items[mine].tolist() == items
        # No record has the time of a first event: it takes that of the second.
        assert store.times[mine].tolist() == [times[1], *times[1:]]
        assert found.known_times[mine].tolist() == [False] + [True] * (len(items) - 1)
    assert found.keys["users"].tolist() == list(USERS)
    assert found.keys["items"].tolist() == list(ITEMS)
    assert found.odd == []
    assert not list((tmp_path / "scratch").glob("*"))


def test_the_split_is_by_place_in_the_file_as_the_released_code_does_it(tmp_path):
    found = rebuilt(tmp_path)
    records = records_of()
    places = {
        name: [(user, len(history)) for user, history, *_ in part]
        for name, part in {
            "train": records[:7],  # floor(0.7 * 11)
            "valid": records[7:9],
            "test": records[-2:],  # 11 // 5
        }.items()
    }
    for name, expected in places.items():
        assert found.parts[name].tolist() == [list(pair) for pair in sorted(expected)]
        assert found.parts[name].dtype == np.int32


@pytest.mark.parametrize("total", range(5, 60))
def test_the_cuts_are_those_of_the_released_code(total):
    records = authors_records.Records(
        users=np.ones(total, np.int32),
        targets=np.ones(total, np.int32),
        times=np.arange(total),
        lengths=np.arange(1, total + 1, dtype=np.int32),
        events=np.zeros(0, np.int32),
    )
    parts = authors_files._parts(records, np.ones(total, bool))
    every = list(range(1, total + 1))
    train, test = every[: int(np.floor(total * 0.7))], every[-(total // 5) :]
    assert parts["train"][:, 1].tolist() == train
    assert parts["test"][:, 1].tolist() == test
    assert parts["valid"][:, 1].tolist() == every[len(train) : total - len(test)]


def test_a_record_that_is_no_prefix_is_counted_and_left_out(tmp_path):
    records = records_of()
    user, history, target, label, time = records[3]
    wrong = (user, [*history[:-1], 4], target, label, time)
    other = (user, history, target % 6 + 1, label, time)
    with pytest.raises(UserError, match=r"2 of 13 records are not.*--allow_mismatch"):
        rebuilt(tmp_path, [*records[:3], wrong, other, *records[3:]])
    found = rebuilt(
        tmp_path, [*records[:3], wrong, other, *records[3:]], allow_mismatch=True
    )
    assert found.counts["not_a_prefix"] == 2
    assert sum(map(len, found.parts.values())) == len(records)
    assert "2 of 13 records are not the beginning" in found.odd[0]


def test_few_records_that_are_no_prefix_are_said_and_do_not_stop(tmp_path):
    many = {
        user: ([1 + (user + place) % 6 for place in range(12)], list(range(12)))
        for user in range(1, 31)
    }
    records = records_of(many)
    records[5] = (*records[5][:2], records[5][2] % 6 + 1, *records[5][3:])
    users = {f"A{number}": number for number in many}
    found = rebuilt(tmp_path, records, users=users)
    assert found.odd == [
        "Like_train_set.pkl: 1 of 330 records are not the beginning of their user's "
        "sequence and are left out."
    ]


def test_repeated_records_missing_users_and_odd_times_are_said(tmp_path):
    records = records_of()
    records.insert(4, records[3])
    users = {**USERS, "A9": 6}
    found = rebuilt(tmp_path, records, users=users)
    assert found.counts["repeated"] == 1
    assert found.counts["users_without_record"] == 1
    assert found.counts["not_a_prefix"] == 0
    assert sum(map(len, found.parts.values())) == len(records) - 1
    assert [text.split(": ")[1] for text in found.odd] == [
        "1 of 12 records repeat another and are left out.",
        "1 users of the file of ids have no record.",
    ]


def test_records_of_one_user_out_of_their_order_are_said(tmp_path):
    swapped = {**SEQUENCES, 5: ([3, 1, 2], [50, 99, 60])}
    found = rebuilt(tmp_path, records_of(swapped))
    assert found.counts["earlier_than_before"] == 1
    assert found.store.times[-3:].tolist() == [99, 99, 60]


def test_histories_that_are_shared_count_as_written_out(tmp_path):
    """A pickle may hold one list for two records."""
    history = [1, 2]
    records = [(1, [1], 2, "1", 5), *((1, history, 3, "1", 6),) * 3]
    records += [(user, history, 3, "1", 7) for user in (2, 3, 4, 5)]
    found = rebuilt(tmp_path, records)
    assert found.store.items[:6].tolist() == [1, 2, 3, 1, 2, 3]
    assert found.counts["repeated"] == 2


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ((1, [2], 3, "1"), r"record 3 is not \(user, history.* a tuple of 4"),
        ((1, [2], 3, "0", 99), "record 3 is not"),
        ((1, [2], 3, 1, 99), "record 3 is not"),
        ((1, ["2"], 3, "1", 99), "record 3 is not"),
        ((1, [[2]], 3, "1", 99), "record 3 is not"),
        ((1, "2", 3, "1", 99), "record 3 is not"),
        ((1, {2: 3}, 3, "1", 99), "record 3 is not"),
        ((1.5, [2], 3, "1", 99), "record 3 is not"),
        ((1, [2], 3, "1", "late"), "record 3 is not"),
        ((1, [2], 3, "1", float("nan")), "record 3 is not"),
        ((1, [2], 3, "1", 10**30), "record 3 is not"),
        ((1, [2**40], 3, "1", 99), "record 3 is not"),
        ("12345", "record 3 is not"),
        (None, "record 3 is not"),
        ((6, [2], 3, "1", 99), "record 3: the user 6 is not one of the 5"),
        ((1, [2], 7, "1", 99), "record 3: the target 7 is not one of the 6"),
        ((1, [2, 0], 3, "1", 99), "record 3: the item of the history 0"),
        ((1, [], 3, "1", 99), "record 3 has an empty history"),
        ((1, [2], 3, "1", 0), "record 3 is earlier than the one before"),
    ],
)
def test_a_record_of_another_form_is_named(tmp_path, record, message):
    with pytest.raises(UserError, match=message):
        rebuilt(tmp_path, [*records_of()[:2], record])


@pytest.mark.parametrize(
    "users",
    [
        {"A": 1, "B": 3},
        {"A": 1, "B": 1},
        {"A": 0, "B": 1},
        {"A": 1, "B": "2"},
        {"A": 1, 2: 2},
        {"A": 1, "B": True},
        {},
    ],
    ids=str,
)
def test_ids_that_do_not_count_from_one_are_refused(tmp_path, users):
    with pytest.raises(UserError, match=r"user2id\.pkl (must number|holds no ids)"):
        rebuilt(tmp_path, users=users)


def test_a_bomb_of_repeated_histories_is_left_early(tmp_path):
    """One history of 1,000 events for 100,000 records: a hundred million."""
    history = [1 + number % 6 for number in range(1_000)]
    record = (1, history, 1, "1", 5)
    with pytest.raises(UserError, match="cannot hold unless it repeats them"):
        rebuilt(tmp_path, [record] * 100_000)


def test_laughs_in_a_record_are_refused_in_one_line(tmp_path):
    laughs = ["1"]
    for _ in range(60):
        laughs = (laughs, laughs)
    for records, users in (([laughs], USERS), ([(1, laughs, 3, "1", 1)], USERS)):
        with pytest.raises(UserError, match="record 1 is not") as caught:
            rebuilt(tmp_path, records, users=users)
        assert len(str(caught.value)) < 400


class Calls:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize("place", ["records", "users", "items"])
def test_nothing_is_executed(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    hostile = {
        "records": [*records_of(), Calls()],
        "users": {**USERS, "x": Calls()},
        "items": {**ITEMS, "x": Calls()},
    }[place]
    with pytest.raises(UserError, match="Nothing of it was executed"):
        rebuilt(tmp_path, **{place: hostile})
    assert not (tmp_path / "executed").exists()


def test_the_size_of_the_released_map_is_that_of_the_expected_form():
    """56,301 ids of ten characters, numbered from 1, are 1,294,023 bytes in protocol 3.

    So many has the published file, and so many users Table 1; numbered from 0 it would
    have one byte less, and Python 2's strings would be shorter.
    """
    made = {f"B{number:09d}": number for number in range(1, 56_302)}
    size = INSTRUMENTS.sizes["Musical_Instruments_item2id.pkl"]
    assert len(pickle.dumps(made, protocol=3)) == size
    assert len(pickle.dumps(made, protocol=4)) != size
    from_zero = {key: number - 1 for key, number in made.items()}
    assert len(pickle.dumps(from_zero, protocol=3)) == size - 1


def test_a_folder_that_the_user_names_is_verified(tmp_path):
    release = release_of(tmp_path / "files")
    check(release, tmp_path / "files")
    path = tmp_path / "files" / release.users[0]
    content = bytearray(path.read_bytes())
    content[30] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"user2id.*is not the released file"):
        check(release, tmp_path / "files")
    check(release, tmp_path / "files", allow_mismatch=True)
    path.unlink()
    with pytest.raises(UserError, match=r"has no file Like_user2id\.pkl"):
        check(release, tmp_path / "files", allow_mismatch=True)


def test_the_files_are_fetched_by_name_and_verified(tmp_path, file_server):
    release = release_of(file_server.folder, pack=True)
    folder = fetch(release, tmp_path / "raw", file_server.url)
    assert {path.name for path in folder.iterdir() if path.name[0] != "."} == {
        *release.files
    }
    asked = len(file_server.asked)
    fetch(release, tmp_path / "raw", file_server.url)
    assert len(file_server.asked) == asked  # They are there already.
    name, _ = release.items
    changed = dataclasses.replace(release, items=(name, "git-blob:" + "0" * 40))
    with pytest.raises(UserError, match=r"item2id.*has the git blob id"):
        fetch(changed, tmp_path / "raw", file_server.url)


def test_the_released_files_have_their_names_and_a_commit():
    assert URL.startswith("https://github.com/WHUIR/MGNM/raw/7637726")
    for release in (INSTRUMENTS, TOYS):
        assert len(release.files) == 3
        assert all(name.startswith(release.category) for name in release.files)


def test_the_files_and_the_raw_ratings_are_compared(tmp_path):
    found = rebuilt(tmp_path)
    users, items = list(USERS), list(ITEMS)
    rows = [
        (users[user - 1], items[item - 1], 5.0, time)
        for user, (their, times) in SEQUENCES.items()
        for item, time in zip(their, times)
    ]
    rows[0] = (*rows[0][:2], 1.0, 10)  # Not positive: user 1 has another sequence.
    rows[-1] = (*rows[-1][:3], 98)  # Another time.
    rows += [("A-other", items[0], 5.0, 3), ("A-other", "B-other", 4.0, 3)]
    rows += [("A-single", items[0], 5.0, 3)]
    ratings = pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])
    counts, lines = compare(found, ratings, rating_above=2.0)
    assert counts == {
        "raw_rows": 19,
        "raw_positive_rows": 17,
        "raw_users": 6,
        "raw_users_in_files": 5,
        "users_in_files": 5,
        "raw_items": 7,
        "raw_items_in_files": 6,
        "items_in_files": 6,
        "pairs_in_files": 15,
        "pairs_in_raw": 15,
        "pairs_in_raw_positive": 14,
        "dated_in_files": 11,
        "dated_in_raw": 10,
        "same_sequences": 4,
    }
    assert "users of these in the files: 5 of 6; the files have 5" in lines
