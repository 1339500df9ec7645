"""Whole requests, from files to files: streamed, and whole or not at all."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from absl import logging as absl_logging

from harness import runner
from harness.config import Config
from serving import files, recommender, writers
from serving.answer import answer
from serving.index import Index
from serving.recommender import Recommender
from tests.calls import call
from tests.datasets import NUM_USERS


@pytest.fixture(scope="module")
def run_dir(tiny_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "comirec"
    config = Config("comirec_sa", {"embedding_dim": 4}, max_history=6, max_epochs=1)
    runner.run(config, tiny_data, folder, seed=1)
    return folder


@pytest.fixture(scope="module")
def loaded(run_dir, tiny_data):
    return Recommender.load(run_dir, tiny_data.folder.parent.parent)


def read(path):
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype={"user": str, "item": str})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return pd.DataFrame(lines)


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_a_file_streamed_in_slabs_holds_what_one_call_returns(
    suffix, loaded, tmp_path, monkeypatch
):
    users = loaded.vocabulary.users.tolist()
    expected = loaded.recommend(users=users, k=4)
    monkeypatch.setattr(recommender, "_SLAB", 7)
    path = tmp_path / f"all{suffix}"
    answer(loaded, loaded.everyone(), path, k=4)
    found = read(path)
    assert found["user"].nunique() == NUM_USERS
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_a_slab_without_a_row_leaves_no_line(suffix, tmp_path):
    table = pd.DataFrame({"user": ["a"], "rank": 1, "item": "i", "score": 0.5})
    path = tmp_path / f"answers{suffix}"
    with writers.writing(path) as append:
        for part in (table[:0], table, table[:0]):
            append(part)
    pd.testing.assert_frame_equal(read(path), table, check_dtype=False)
    if suffix != ".parquet":
        assert "\n\n" not in f"\n{path.read_text()}"


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_reasons_are_lists_in_every_kind_of_file(suffix, loaded, tmp_path):
    asked = loaded.requests(users=["u1", "u2"])
    expected = loaded.recommend(users=["u1", "u2"], k=2, explain=True)
    path = tmp_path / f"why{suffix}"
    answer(loaded, asked, path, k=2, explain=True)
    found = read(path)["because"]
    if suffix == ".csv":
        found = found.map(json.loads)
    assert [list(few) for few in found] == expected["because"].tolist()


def test_standard_output_has_what_a_csv_file_has(loaded, tmp_path, capsys):
    asked = loaded.requests(users=["u1", "u2"])
    answer(loaded, asked, tmp_path / "why.csv", k=2, explain=True)
    answer(loaded, asked, None, k=2, explain=True)
    assert capsys.readouterr().out == (tmp_path / "why.csv").read_text()


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_what_fails_on_the_way_leaves_no_file(suffix, loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(recommender, "_SLAB", 7)
    table = Recommender.table
    calls = []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return table(*arguments)

    monkeypatch.setattr(Recommender, "table", failing)
    with pytest.raises(KeyboardInterrupt):
        answer(loaded, loaded.everyone(), tmp_path / f"all{suffix}", k=4)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence(loaded, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Recommender, "table", fail)
    with pytest.raises(ValueError, match=r"all\.csv: the disk is full.*Nothing was"):
        answer(loaded, loaded.everyone(), tmp_path / "all.csv", k=4)
    assert list(tmp_path.iterdir()) == []


def test_a_parquet_file_may_have_no_row(loaded, tmp_path):
    everything = loaded.vocabulary.items.tolist()
    asked = loaded.requests(history=everything)
    answer(loaded, asked, tmp_path / "none.parquet", k=2)
    found = pd.read_parquet(tmp_path / "none.parquet")
    assert found.columns.tolist() == ["rank", "item", "score", "basis"]
    assert len(found) == 0


def test_an_index_says_what_it_proves_and_finds(loaded, tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    said = []
    monkeypatch.setattr(
        absl_logging, "info", lambda text, *values: said.append(text % values)
    )
    index = Index(loaded.model, "flat", depth=30)
    answer(loaded, loaded.everyone(), tmp_path / "all.csv", k=3, index=index)
    assert said == [
        f"100.0% of {NUM_USERS} answers are proven to be exact. Recall@3 on "
        f"{NUM_USERS} of them: 1.0000."
    ]
    exact = loaded.recommend(users=loaded.vocabulary.users, k=3)
    found = read(tmp_path / "all.csv")
    np.testing.assert_allclose(found["score"], exact["score"], rtol=1e-4, atol=1e-6)


def test_histories_are_read_from_csv_and_parquet(tmp_path, loaded):
    ids = {"user": ["a", "b", "a"], "item": ["i1", "007", "i3"]}
    table = pd.DataFrame({**ids, "order": [1, 0, 0]})
    table.to_csv(tmp_path / "h.csv", index=False)
    table.to_parquet(tmp_path / "h.parquet")
    expected = loaded.recommend(history=table, k=3)
    for name in ("h.csv", "h.parquet"):
        found = files.read_histories(str(tmp_path / name))
        pd.testing.assert_frame_equal(loaded.recommend(history=found, k=3), expected)


def test_histories_of_any_form_are_read_as_their_flags_say(tmp_path, run_dir):
    (tmp_path / "h.csv").write_text("who;thing;step;kind\na;i1;0;x\na;i3;1;y\n")
    asked = (f"--run_dir={run_dir}", f"--histories_file={tmp_path}/h.csv", "--k=2")
    refused = call("experiments.recommend", *asked)
    assert refused.code == 1
    assert "Name the columns: --columns=" in refused.sentence
    output = f"--output={tmp_path}/answers.csv"
    flags = ("--columns=user=who,item=thing,order=step", "--where=kind=x", output)
    taken = call("experiments.recommend", *asked, *flags)
    assert taken.code == 0, taken.err
    assert [*read(tmp_path / "answers.csv")["user"]] == ["a", "a"]


def test_flags_of_histories_need_a_file_of_histories():
    done = call(
        *("experiments.recommend", "--run_dir=x", "--all_users"),
        "--columns=user=who,item=thing",
    )
    assert done.code == 1
    assert "--columns=user=who,item=thing says how histories are read" in done.sentence
    assert "--histories_file" in done.sentence


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"user,thing,order\na,b,0\n", "no column that is known as the item"),
        (b"user,item\na,b\n", "has neither a time"),
        (b"user,item,timestamp\na,b,soon\n", "row 2: `timestamp` is no time"),
        (b"\xff\xfe", "is UTF-16 text"),
        (b"", "is empty"),
    ],
)
def test_a_bad_file_of_histories_is_named(content, message, tmp_path):
    (tmp_path / "h.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        files.read_histories(str(tmp_path / "h.csv"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "has no line"), (b"\n \n", "has no line"), (b"\xff\xfe", "cannot be read")],
)
def test_a_bad_file_of_ids_is_named(content, message, tmp_path):
    (tmp_path / "ids.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        files.read_ids(str(tmp_path / "ids.txt"))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_ids_as_a_log_has_them(tmp_path, end):
    ids = ["a", " b c ", "007", "d\u2028e", "\u0085f", "g\x1c", "h\x0bi", "\tj"]
    text = end.join(["\ufeffa", "", *ids[1:], "  ", ""])
    (tmp_path / "ids.txt").write_bytes(text.encode())
    assert files.read_ids(str(tmp_path / "ids.txt")) == ids
    rows = [f"{name},x,{n}" for n, name in enumerate(ids)]
    log = end.join(["user,item,order", *rows, ""])
    (tmp_path / "log.csv").write_bytes(log.encode())
    assert files.read_histories(str(tmp_path / "log.csv"))["user"].tolist() == ids


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--history=i1", "--output=x.txt"], "the name must end in .parquet"),
        (["--history=i1", "--output=absent/x.csv"], "there is no folder absent"),
        (["--history=i1", "--users=u1"], "Say for whom"),
        ([], "Say for whom"),
        (
            ["--history=i1", "--candidates=absent.txt"],
            "absent.txt cannot be read: No such file or directory.",
        ),
        (["--histories_file=absent.csv"], "There is no file absent.csv"),
    ],
)
def test_the_command_refuses_in_one_sentence(arguments, message):
    done = call("experiments.recommend", "--run_dir=nowhere", *arguments)
    assert done.code == 1
    assert message in done.err
    assert "Traceback" not in done.err


def test_the_command_answers_on_standard_output(run_dir, loaded):
    asked = (f"--run_dir={run_dir}", "--history=i1,i2", "--k=3")
    done = call("experiments.recommend", *asked)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    expected = loaded.recommend(history=["i1", "i2"], k=3)
    assert lines[0] == "rank,item,score,basis"
    assert [line.split(",")[1] for line in lines[1:]] == expected["item"].tolist()
