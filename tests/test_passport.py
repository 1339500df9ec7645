"""A finished run: its passport, its configuration, and how it is opened again."""

from __future__ import annotations

import json
import subprocess

import pytest

from data.errors import UserError
from harness import passport, provenance, reopen, run_folder, run_manifest, runner
from harness.build import build_model
from harness.config import Config, with_arguments, with_settings
from harness.models import construct, model_class


@pytest.fixture(scope="module")
def finished(tiny_data, tmp_path_factory):
    """A run of a small model."""
    folder = tmp_path_factory.mktemp("runs") / "seed-1"
    config = Config("mean_pooling", {"embedding_dim": 4}, max_history=8, max_epochs=1)
    return folder, config, runner.run(config, tiny_data, folder, seed=1)


def edited(folder, copy, name, change):
    """A copy of a run's file with other content, in a folder of its own."""
    for path in folder.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    content = json.loads((copy / name).read_text())
    change(content)
    (copy / name).write_text(json.dumps(content))
    run_manifest.write(copy)  # What another version wrote is not damaged.
    return copy


def test_what_is_written_is_read(finished):
    folder, config, made = finished
    run = passport.read(folder)
    assert run.passport == made
    assert run.seed == 1
    assert run.test_metrics("full") == made["metrics"]["test"]["full"]["instance"]
    assert run_folder.read_config(folder) == config


def test_a_passport_tells_the_threads_that_tensorflow_was_given(finished, monkeypatch):
    assert finished[2]["machine"]["intra_op_threads"] >= 1
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "7")
    assert provenance.describe()["intra_op_threads"] == 7


def test_no_run_and_damage_are_said(finished, tmp_path):
    with pytest.raises(UserError, match="holds no finished run"):
        passport.read(tmp_path)
    (tmp_path / run_folder.PASSPORT).write_text("[1]")
    with pytest.raises(UserError, match=r"passport\.json is damaged: .*no JSON object"):
        passport.read(tmp_path)
    (tmp_path / run_folder.PASSPORT).write_text('{"model": "mgnm"}')
    with pytest.raises(UserError, match=r"damaged: it lacks data, dataset, metrics"):
        passport.read(tmp_path)
    (tmp_path / run_folder.PASSPORT).write_bytes(b"\xff{")
    with pytest.raises(UserError, match=r"passport\.json is damaged"):
        passport.read(tmp_path)


def test_a_setting_of_another_version_is_not_dropped(finished, tmp_path):
    copy = edited(
        finished[0], tmp_path, run_folder.CONFIG, lambda c: c.update(warmup=3)
    )
    with pytest.raises(UserError, match="sets warmup, which this version does not"):
        run_folder.read_config(copy)


def test_a_run_of_several_workers_is_opened_by_one(finished, tiny_data, tmp_path):
    folder = finished[0]
    copy = edited(
        folder,
        tmp_path,
        run_folder.CONFIG,
        lambda c: c.update(strategy="multi_worker"),
    )
    opened = reopen.open_run(copy, tiny_data.folder.parent.parent)
    assert opened.config.strategy == "multi_worker"
    stored = passport.read(folder).passport["evaluation"]["instances"]
    assert len(opened.ranker.rank("test", "uni1000").instances) == stored


@pytest.mark.parametrize("name", ["num_interest", "learning_rat"])
def test_a_mistyped_setting_is_named_with_those_that_there_are(tiny_data, name):
    config = with_settings(Config(model="mgnm", arguments={}), {name: 2})
    with pytest.raises(UserError, match=rf"mgnm has no setting {name} .*num_interests"):
        build_model(config, tiny_data, seed=1)


@pytest.mark.parametrize(
    ("model", "name", "value", "wanted"),
    [
        ("popularity", "half_life", "fast", "a number"),
        ("popularity", "half_life", True, "a number"),
        ("mgnm", "num_layers", "two", "a whole number"),
        ("mgnm", "num_layers", 2.0, "a whole number"),
        ("mgnm", "num_layers", None, "a whole number"),
        ("mgnm", "squash_last", 7, "true or false"),
        ("mgnm_plus", "newest_item", "yes", "true or false"),
        ("mind", "readout", 3, "a word"),
    ],
)
def test_a_value_of_another_type_is_said(model, name, value, wanted):
    config = Config(model=model, arguments={name: value})
    said = f"{model}: {name} must be {wanted} .* Received: {value}"
    with pytest.raises(UserError, match=said):
        construct(model_class(model, "paper"), config, 9, 9, seed=1)


def test_a_value_that_may_be_none_is_taken():
    config = Config(model="popularity", arguments={"half_life": None})
    assert construct(model_class("popularity", "paper"), config, 9, 9, seed=1)


def test_a_value_that_the_model_does_not_take_is_said(tiny_data):
    config = with_arguments(Config(model="mgnm", arguments={}), ["normalization=odd"])
    with pytest.raises(UserError, match=r"mgnm does not take .*normalization"):
        build_model(config, tiny_data, seed=1)


def test_the_mark_of_edited_code_outlives_the_cut_of_the_commit():
    assert provenance.short("a" * 40) == "a" * 12
    assert provenance.short("a" * 40 + "-dirty") == "a" * 12 + "-dirty"
    assert provenance.short("unknown") == "unknown"


def test_an_untracked_source_makes_a_commit_dirty(tmp_path, monkeypatch):
    def git(*arguments):
        named = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        subprocess.run(["git", *named, *arguments], cwd=tmp_path, check=True)

    git("init", "-q")
    (tmp_path / "provenance.py").write_text("")
    git("add", ".")
    git("commit", "-qm", "first")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert not provenance.commit().endswith(provenance.DIRTY)
    (tmp_path / "notes.txt").write_text("not code")
    assert not provenance.commit().endswith(provenance.DIRTY)
    (tmp_path / "my_model.py").write_text("")  # The passport has its hash.
    assert not provenance.commit().endswith(provenance.DIRTY)
    (tmp_path / "harness" / "board").mkdir(parents=True)
    (tmp_path / "harness" / "board" / "new.py").write_text("")
    assert provenance.commit().endswith(provenance.DIRTY)
