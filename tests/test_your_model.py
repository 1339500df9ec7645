"""A class of one's own goes wherever a registered model goes: docs/your_model.md."""

from __future__ import annotations

import json
import re
import shlex
import sys
import types
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

from data.errors import UserError
from experiments.reports import table2_text
from experiments.reproduction import grid
from experiments.results import model_names
from experiments.studies import own_log
from experiments.studies.audit.audit_models import audit_models
from harness import defaults, own_model, reopen, run_folder, runner, search_space
from harness.config import file_name
from harness.search import search
from harness.standalone import open_run
from mgnm_tf.keras2 import keras
from serving.export import export
from serving.recommender import Recommender
from tests import commands
from tests.datasets import make_prepared
from tests.logs import PLAIN

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "your_model.md").read_text(encoding="utf-8")
(CODE,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
COMMANDS = "".join(re.findall(r"```bash\n(.*?)```", PAGE, flags=re.S)).splitlines()
MODEL = "my_pooling:MyPooling"
HERE = "tests.test_your_model"
SMALL = {"max_epochs": 1, "batch_size": 16, "max_history": 8}


class Bare(keras.layers.Layer):
    """A scorer that knows nothing of this project, but for what it states."""

    needs_times = True
    recipe_settings: ClassVar = {
        "paper": {"learning_rate": 0.125},
        "strong": {"size": 3},
    }
    search_space: ClassVar = {"size": [2, 4]}

    def __init__(self, num_users, num_items, max_history, size=4, seed=0):
        super().__init__()
        del num_users, max_history
        start = keras.initializers.RandomNormal(seed=seed)
        self.items = keras.layers.Embedding(num_items, size, start)

    def encode(self, batch, training=None):
        mask = tf.cast(batch["history"] > 0, tf.float32)[..., None]
        return tf.reduce_sum(self.items(batch["history"]) * mask, axis=1)

    def score(self, state, candidates):
        return tf.einsum("bd,bcd->bc", state, self.items(candidates))

    def call(self, batch, training=None):
        return self.score(self.encode(batch), batch["candidates"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The current folder of these tests: it holds the page's class."""
    path = tmp_path_factory.mktemp("mine")
    (path / "my_pooling.py").write_text(CODE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.syspath_prepend(path)
        yield path


@pytest.fixture(scope="module")
def runs(folder, tiny_data):
    """The page's class and a registered model, where a table looks for them."""
    for model in (MODEL, "gru4rec"):
        config = defaults.get_config(model, tiny_data.name, **SMALL)
        place = run_folder.run_dir(
            "runs", tiny_data.name, tiny_data.split, model, "paper", 1
        )
        runner.run(config, tiny_data, Path(place), 1)
    return folder / "runs"


@pytest.fixture(scope="module")
def run_dir(runs, tiny_data):
    return runs / tiny_data.name / tiny_data.split / "my_pooling.MyPooling" / "seed-1"


def test_no_file_of_ours_has_to_be_edited(folder):
    assert not any(name in CODE for name in ("BASELINES", "MODEL_SETTINGS"))
    assert defaults.get_config(MODEL, "any").model == MODEL
    assert model_names.is_added(file_name(MODEL))


def test_the_passport_names_the_class_and_its_text(run_dir):
    passport = json.loads((run_dir / "passport.json").read_text())
    assert passport["model"] == MODEL
    assert passport["class_source"] == own_model.source_sha256(MODEL)


def test_the_class_has_a_row_of_the_table(runs, tiny_data, tmp_path):
    pair = (tiny_data.name, tiny_data.split)
    text = table2_text.write(tmp_path, runs, [pair])
    (row,) = [line for line in text.splitlines() if f"{MODEL} ‡" in line]
    assert text.index("*ours to add:*") < text.index(row)
    assert f"| {MODEL} |" in text.split("s per epoch")[1]
    assert (
        f"{pair[0]},{pair[1]},{file_name(MODEL)},gauc,"
        in (tmp_path / "table2.csv").read_text()
    )


def test_its_run_opens_with_and_without_the_data(run_dir, tiny_data):
    data_dir = tiny_data.folder.parent.parent
    opened = reopen.open_run(run_dir, data_dir)
    alone = open_run(run_dir)
    for ours, theirs in zip(opened.model.weights, alone.model.weights):
        np.testing.assert_array_equal(ours, theirs)


def test_it_recommends_and_its_bundle_needs_no_class(run_dir, tmp_path):
    found = Recommender.load(run_dir).recommend(history=["i1", "i2"], k=3)
    export(run_dir, tmp_path / "bundle")
    served = tf.saved_model.load(str(tmp_path / "bundle" / "1"))
    answer = served.signatures["serving_default"](
        history=tf.constant([["i1", "i2"]]),
        k=tf.constant(3),
        exclude_seen=tf.constant(True),
    )
    assert [item.decode() for item in answer["items"][0].numpy()] == [*found["item"]]
    np.testing.assert_allclose(answer["scores"][0], found["score"], rtol=1e-5)


def test_an_edited_class_is_another_run_and_is_said_when_it_is_opened(
    run_dir, tiny_data, monkeypatch, caplog
):
    monkeypatch.setattr(own_model, "source_sha256", lambda path: "another")
    config = defaults.get_config(MODEL, tiny_data.name, **SMALL)
    with pytest.raises(ValueError, match="holds a run with another class_source"):
        runner.run(config, tiny_data, run_dir, 1)
    open_run(run_dir)
    assert f"The file of {MODEL} was edited after the run" in caplog.text


@pytest.mark.slow
def test_its_search_is_kept_apart_and_used(folder, tiny_data):
    data = tiny_data.meta["sha256"]
    best = search(
        tiny_data, MODEL, folder / "runs" / "tuned", trials=2, max_epochs=1, seed=1
    )
    name = f"{tiny_data.name}-{data[:12]}"
    log = folder / "runs" / "tuned" / name / "my_pooling.MyPooling.jsonl"
    second = json.loads(log.read_text().splitlines()[1])
    assert second["settings"]["decay"] in (0.5, 0.8, 0.95)
    used = defaults.get_config(MODEL, tiny_data.name, data_sha256=data)
    assert {**used.arguments}.get("decay") == best["settings"].get("decay")


def test_recipes_give_a_class_what_it_takes():
    assert defaults.get_config(f"{HERE}:Bare", "any").learning_rate == 0.125
    strong = defaults.get_config(f"{HERE}:Bare", "any", recipe="strong")
    assert strong.arguments == {"size": 3}  # No embedding_dim, which it has not.
    assert strong.objective == "sampled_softmax"
    drawn = search_space.draw(f"{HERE}:Bare", 4, 1)
    assert {settings["size"] for settings in drawn[1:]} <= {2, 4}


def test_the_strong_recipe_widens_a_class_that_can_be(folder):
    strong = defaults.get_config(MODEL, "any", recipe="strong")
    assert strong.arguments == {"embedding_dim": 64}


def test_a_scorer_without_our_base_class_trains_and_recommends(tiny_data, tmp_path):
    config = defaults.get_config(f"{HERE}:Bare", tiny_data.name, **SMALL)
    runner.run(config, tiny_data, tmp_path / "run", 2)
    recommender = Recommender.load(tmp_path / "run")
    found = recommender.recommend(history=["i1"], times=[10**9], k=2)
    assert len(found) == 2


def test_what_a_class_states_is_kept(tmp_path):
    undated = make_prepared(tmp_path, times=False)
    config = defaults.get_config(f"{HERE}:Bare", undated.name, **SMALL)
    with pytest.raises(ValueError, match="reads when events happened"):
        runner.run(config, undated, tmp_path / "run", 1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("bert", "There is no model bert. Registered are a2svd, .* package.module:Cl"),
        ("../my:Model", r"There is no model \.\./my:Model"),
        ("my-models:Mine", "There is no model my-models:Mine"),
        ("nowhere:Mine", "The module nowhere cannot be imported: ModuleNotFound"),
        (f"{HERE}:Missing", "has no class Missing; models in it: Bare"),
    ],
)
def test_what_is_no_model_is_one_sentence(model, message):
    with pytest.raises(ValueError, match=message):
        defaults.get_config(model, "any")


def test_settings_that_a_class_has_not_are_listed(folder, tiny_data, tmp_path):
    config = defaults.get_config(MODEL, tiny_data.name, **SMALL)
    config = run_folder.Config(**{**vars(config), "arguments": {"decai": 0.5}})
    with pytest.raises(ValueError, match=r"no setting decai .* It has decay, embed"):
        runner.run(config, tiny_data, tmp_path / "run", 1)


def test_a_grid_takes_classes_after_the_registered_models():
    chosen = grid.chosen_models([MODEL, "mgnm", "caser", MODEL])
    assert chosen == ["mgnm", "caser", MODEL]
    with pytest.raises(ValueError, match=r"no \['bert'\]; there are"):
        grid.chosen_models(["bert"])


def test_an_own_model_of_a_shop_has_a_folder_beside_the_others(tmp_path):
    assert own_log.run_dir_of(tmp_path, MODEL).name == "my_pooling.MyPooling"


@pytest.mark.slow
def test_the_class_of_the_page_passes_its_audit(folder):
    assert not audit_models(MODEL, output=folder / "audit.json")


@pytest.mark.slow
def test_the_commands_of_the_page_run_as_they_stand(tmp_path):
    """As a reader types them, on a log at hand in place of a download, for one epoch.

    The audit has a test of its own.
    """
    (tmp_path / "my_pooling.py").write_text(CODE)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "shop.csv").write_bytes(PLAIN)
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": "/tmp"}
    own_log = "--dataset=csv --source=logs/shop.csv --name=shop"

    def run(line):
        line = line.replace("data.prepare --dataset=ml-100k", f"data.prepare {own_log}")
        line = line.replace("--dataset=ml-100k", "--dataset=shop")
        line = re.sub(
            r"make reproduce-table2 ARGS=",
            "python -m experiments.reproduce --what=table2 --profile=folder "
            "--data_dir=logs --seeds=1 --max_epochs=1 ",
            line,
        )
        line = re.sub(r"RUNS_DIR=(\S+)$", r"--runs_dir=\1", line)
        line = re.sub(
            r"make recommend SOURCE=log.csv ARGS=",
            "python -m experiments.from_log --source=logs/shop.csv --k=3 ",
            line,
        )
        line = line.replace("--history=50,181,174", "--history=1,2 --k=1")
        line = line.replace("--trials=6 --max_epochs=6", "--trials=2 --max_epochs=1")
        if "experiments.train" in line or "from_log" in line:
            line += " --max_epochs=1"
        python, flag, module, *arguments = shlex.split(" ".join(shlex.split(line)))
        assert (python, flag) == ("python", "-m")
        done = commands.run(module, *arguments, environment=environment, cwd=tmp_path)
        assert done.returncode == 0, (line, done.stderr[-2000:])
        return done.stdout

    assert COMMANDS[0] == "source .venv/bin/activate"
    outputs = {line: run(line) for line in COMMANDS[1:] if "audit" not in line}
    (table,) = [text for line, text in outputs.items() if "reproduce-table2" in line]
    assert f"{MODEL} ‡" in table


def _of_keras_3(**attributes):
    """A layer as Keras 3 makes them: it only looks like one of ours."""
    base = type("Layer", (), {"__module__": "keras.src.layers.layer"})
    own = {"encode": None, "score": None, **attributes}
    return type("Foreign", (base,), own)


def test_a_class_of_keras_3_is_refused(monkeypatch):
    module = types.SimpleNamespace(Foreign=_of_keras_3())
    monkeypatch.setitem(sys.modules, "of_keras_3", module)
    with pytest.raises(UserError, match="Foreign is a layer of Keras 3"):
        own_model.find("of_keras_3:Foreign")


def test_layers_of_keras_3_are_refused(tiny_data, folder):
    kind = own_model.find(MODEL)
    model = kind(tiny_data.num_users, tiny_data.num_items, 8)
    own_model.check_layers(model, MODEL)
    # Keras 2 would track what it knows; this it holds as it is.
    object.__setattr__(model, "table", _of_keras_3()())
    with pytest.raises(UserError, match="MyPooling: table is a layer of Keras 3"):
        own_model.check_layers(model, MODEL)
