"""Exports: loaded by TensorFlow alone, served over HTTP, and sealed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness import runner
from harness.config import Config
from serving.export import export
from serving.recommender import Recommender

DOC = Path(__file__).parent.parent / "docs/serve.md"
ALONE = Path(__file__).with_name("served_alone.py")
SMALL = {
    "sli_rec": {"embedding_dim": 4},
    "tgsrec": {"embedding_dim": 4},
    "item_knn": {},
}


@pytest.fixture(scope="module")
def exported(tiny_data, mgnm_run, tmp_path_factory):
    made = {}
    prepared = tiny_data.folder.parent.parent

    def train(name, run_dir):
        config = Config(
            model=name,
            arguments=SMALL[name],
            max_history=6,
            max_epochs=1,
            batch_size=64,
        )
        runner.run(config, tiny_data, run_dir, seed=1)
        return run_dir

    def export_one(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            run_dir = mgnm_run[0] if name == "mgnm" else train(name, folder / "run")
            export(run_dir, folder / "bundle", prepared)
            made[name] = run_dir, folder / "bundle"
        return made[name]

    return export_one


def ask(bundle, requests, tmp_path):
    done = subprocess.run(
        [sys.executable, str(ALONE), str(bundle / "1")],
        input=json.dumps(requests),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ours"] == []
    return found["answers"]


def flat_list(rows):
    return [value for row in rows for value in row]


def expected(recommender, k=3, **given):
    """Items and scores [k] that the Python API gives."""
    found = recommender.recommend(k=k, **given)
    return found["item"].tolist(), found["score"].tolist()


@pytest.mark.slow
def test_tensorflow_alone_gives_the_answers_of_the_recommender(exported, tmp_path):
    run, bundle = exported("mgnm")
    long = [f"i{n}" for n in range(1, 12)]  # Longer than the model reads.
    histories = [["i4", "absent", "i9"], ["i2"], long, ["absent"]]
    table = pd.DataFrame(
        [
            (f"u{row + 1}", item)
            for row, items in enumerate(histories)
            for item in items
        ],
        columns=["user", "item"],
    )
    table.loc[table["user"] == "u2", "user"] = "somebody"
    users = ["u1", "somebody", "u3", "u4"]
    width = max(map(len, histories))
    right = [items + [""] * (width - len(items)) for items in histories]
    left = [[""] * (width - len(items)) + items for items in histories]
    flat = [item for items in histories for item in items]
    lengths = [len(items) for items in histories]
    asked = {"user": users, "k": 3, "exclude_seen": True}
    answers = ask(
        bundle,
        [
            ("serving_default", {"history": right, **asked}),
            ("serving_default", {"history": left, **asked}),
            ("ragged", {"items": flat, "lengths": lengths, **asked}),
            ("serving_default", {"history": right, **asked, "exclude_seen": False}),
            ("serving_default", {"history": right, **asked, "k": 31}),
            ("serving_default", {"history": right, **asked, "k": 0}),
            ("interests", {"history": right, "user": users}),
            ("items", {"first": 2, "count": 3}),
        ],
        tmp_path,
    )
    recommender = Recommender.load(run)
    for answer, exclude in zip(answers[:4], [True, True, True, False]):
        found = recommender.recommend(history=table, k=3, exclude_seen=exclude)
        assert flat_list(answer["items"]) == found["item"].tolist()
        np.testing.assert_allclose(
            flat_list(answer["scores"]), found["score"], rtol=1e-4, atol=1e-6
        )
        assert flat_list(answer["levels"]) == found["level"].tolist()
        assert answer["popular"] == [False, False, False, True]
    assert "k is larger than the catalogue" in answers[4]
    assert "k must be positive" in answers[5]
    batch = recommender.batch(
        np.array([1, 0, 3, 4], np.int32),
        recommender.requests(history=table).histories,
        None,
    )
    interests = recommender.model.encode(batch).vectors.numpy()
    np.testing.assert_allclose(answers[6]["interests"], interests, rtol=1e-4, atol=1e-6)
    rows = recommender.model.item_embedding.embeddings.numpy()[3:6]
    assert answers[7]["items"] == ["i3", "i4", "i5"]
    np.testing.assert_allclose(answers[7]["vectors"], rows, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sli_rec", "tgsrec"])
def test_times_are_read_by_models_that_read_them(name, exported, tmp_path):
    run, bundle = exported(name)
    times = [10**9, 10**9 + 40]
    at = 10**9 + 2 * 10**6
    asked = {"history": [["i4", "i9"]], "history_times": [times]}
    asked = {**asked, "k": 3, "exclude_seen": True}
    if name == "tgsrec":  # It reads users, too.
        asked["user"] = ["somebody"]
    now, default = ask(
        bundle,
        [
            ("serving_default", {**asked, "at": [at]}),
            ("serving_default", {**asked, "at": [0]}),
        ],
        tmp_path,
    )
    recommender = Recommender.load(run)
    for answer, when in ((now, at), (default, None)):
        items, scores = expected(
            recommender, history=["i4", "i9"], times=times, at=when
        )
        assert answer["items"] == [items]
        np.testing.assert_allclose(answer["scores"], [scores], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_table_of_neighbours_is_exported_as_it_is(exported, tmp_path):
    run, bundle = exported("item_knn")
    asked = {"history": [["i4", "i9"]], "k": 3, "exclude_seen": True}
    (answer,) = ask(bundle, [("serving_default", asked)], tmp_path)
    items, scores = expected(Recommender.load(run), history=["i4", "i9"])
    assert answer["items"] == [items]
    np.testing.assert_allclose(answer["scores"], [scores], rtol=1e-5)
    assert answer["levels"] == [[-1, -1, -1]]
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert sorted(manifest["signatures"]) == ["ragged", "serving_default"]


@pytest.mark.slow
def test_a_bundle_answers_for_the_users_of_the_log(exported, tiny_data):
    run, bundle = exported("mgnm")
    prepared = tiny_data.folder.parent.parent
    of_run = Recommender.load(run, prepared).recommend(users=["u5", "u2"], k=4)
    of_bundle = Recommender.load(bundle).recommend(users=["u5", "u2"], k=4)
    pd.testing.assert_frame_equal(of_run, of_bundle)


@pytest.mark.parametrize(
    "name",
    ["model.weights.h5", "items.parquet", "histories/items.npy", "1/saved_model.pb"],
)
def test_a_tampered_bundle_is_refused(name, exported, tmp_path):
    _, bundle = exported("item_knn")
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    content = bytearray((copy / name).read_bytes())
    content[-1] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is not the file that was written"):
        Recommender.load(copy)
    (copy / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        Recommender.load(copy)


def test_another_folder_is_not_overwritten(exported, tmp_path):
    run, _ = exported("item_knn")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(ValueError, match=r"did not write: thesis\.txt\. It stays"):
        export(run, tmp_path / "mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


@pytest.mark.parametrize(
    "manifest", ["{}", '{"name": "my app"}', '{"format": 1, "files": {"a": ""}}']
)
def test_a_folder_with_a_manifest_of_its_own_is_not_overwritten(
    exported, tmp_path, manifest
):
    run, _ = exported("item_knn")
    (tmp_path / "thesis.txt").write_text("years")
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(ValueError, match=r"did not write: .*thesis\.txt"):
        export(run, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years"


def test_a_bundle_is_replaced_unless_something_was_added(exported, tmp_path):
    run, _ = exported("item_knn")
    folder = tmp_path / "bundle"
    for _ in range(2):
        export(run, folder)
    (folder / "models.config").write_text("mine")
    with pytest.raises(ValueError, match=r"did not write: models\.config"):
        export(run, folder)
    assert (folder / "models.config").read_text() == "mine"


def test_an_export_that_fails_leaves_nothing(exported, tmp_path, monkeypatch):
    run, _ = exported("item_knn")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.bundle.write_manifest", fail)
    with pytest.raises(ValueError, match=r"the disk is full.*Nothing was written"):
        export(run, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def served(exported):
    _, bundle = exported("mgnm")
    process = subprocess.Popen(
        [sys.executable, str(ALONE), str(bundle / "1"), "http"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_the_documented_request_is_answered_over_http(served, exported):
    run, _ = exported("mgnm")
    (body,) = re.findall(
        r"```json\n(\{\s*\"signature_name\".*?)```", DOC.read_text(), re.S
    )
    request = json.loads(body)
    history = ["i4", "i9"]
    request["inputs"].update(history=[history], user=["u1"], k=3)
    sent = urllib.request.Request(
        f"{served}/v1/models/shop:predict", data=json.dumps(request).encode()
    )
    with urllib.request.urlopen(sent) as found:
        answer = json.loads(found.read())["outputs"]
    table = pd.DataFrame({"user": "u1", "item": history})
    items, scores = expected(Recommender.load(run), history=table)
    assert answer["items"] == [items]
    np.testing.assert_allclose(answer["scores"], [scores], rtol=1e-4, atol=1e-6)
