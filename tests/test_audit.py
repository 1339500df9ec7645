"""The audit as a command: whom it accuses, what it says, and how it ends."""

from __future__ import annotations

import json
import signal
import time

import pytest
import tensorflow as tf

from data.errors import UserError
from experiments import audit
from experiments.studies.audit import report, runs, subjects
from experiments.studies.audit.audit_models import audit_models
from experiments.studies.audit.findings import CHECKS, LEAK, NOT_APPLICABLE, OK, Finding
from harness import training
from mgnm_tf.keras2 import keras
from mgnm_tf.recommender import SequentialRecommender
from tests.calls import call
from tests.commands import Running

HERE = "tests.test_audit"


class Own(keras.layers.Layer):
    """A scorer that follows the contract without deriving from anything of ours."""

    def __init__(self, num_users, num_items, max_history, size=4, leak=False):
        super().__init__()
        del num_users, max_history
        self.items = keras.layers.Embedding(num_items, size)
        self.leak = leak

    def encode(self, batch, training=None):
        mask = tf.cast(batch["history"] > 0, tf.float32)[..., None]
        return tf.reduce_mean(self.items(batch["history"]) * mask, axis=1)

    def score(self, state, candidates):
        if self.leak:  # What is left of the mean of all rows, a batch norm's slip.
            state -= tf.reduce_mean(state, axis=0)
        return tf.einsum("bd,bcd->bc", state, self.items(candidates))

    def call(self, batch, training=None):
        return self.score(self.encode(batch), batch["candidates"])


class Narrow(Own):
    def score(self, state, candidates):
        return super().score(state, candidates)[:, :1]


class Broken(Own):
    def encode(self, batch, training=None):
        raise RuntimeError("no such layer\nand a page of more")


class Shy(SequentialRecommender):
    def __init__(self, num_users):
        super().__init__()


NOT_A_MODEL = 3


@pytest.fixture
def output(tmp_path):
    return tmp_path / "audit.json"


@pytest.mark.slow
def test_an_honest_scorer_from_outside_is_found_honest(output, capsys):
    # The mean over the history's length, padding included, would be a leak: see below.
    model = f"{HERE}:Mean"
    assert not audit_models(model, output=output)
    found = json.loads(output.read_text())["audits"][0]
    assert found["verdict"] == OK
    assert {check["verdict"] for check in found["checks"].values()} == {OK}
    assert [*found["checks"]] == [*CHECKS]
    assert found["planted"]["gauc"] > 0.5 + found["planted"]["bound"]
    assert f"| {model} | verdict |" in capsys.readouterr().out


class Mean(Own):
    """The mean of the history's items, however much padding stands before them."""

    def encode(self, batch, training=None):
        real = tf.cast(batch["history"] > 0, tf.float32)
        count = tf.maximum(tf.reduce_sum(real, axis=1, keepdims=True), 1.0)
        return super().encode(batch) * tf.cast(tf.shape(real)[1], tf.float32) / count


def test_the_leak_of_a_scorer_from_outside_is_named(output):
    assert audit_models(f"{HERE}:Own", assignments=["leak=true"], output=output)
    found = json.loads(output.read_text())["audits"][0]
    leaks = {name for name, c in found["checks"].items() if c["verdict"] == LEAK}
    # `Own` divides by the length of the batch, padding included.
    assert {"batch size", "other users", "padding", "ranks"} <= leaks
    assert not leaks & {"noise", "repeated call", "candidate order", "test events"}
    assert found["arguments"] == {"leak": True}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("bert", "There is no model bert. Registered are a2svd,"),
        ("nowhere.models:Mine", "nowhere.models cannot be imported: ModuleNotFound"),
        (
            f"{HERE}:Missing",
            "no class Missing; models in it: Broken, Mean, Narrow, Own",
        ),
        (f"{HERE}:NOT_A_MODEL", "no class NOT_A_MODEL; models in it"),
        ("harness.config:Nothing", "has no class Nothing, nor any model"),
        ("harness.config:Config", "must be a Keras model or layer with"),
    ],
)
def test_what_cannot_be_audited_is_said(path, message):
    with pytest.raises(ValueError, match=message):
        subjects.find(path, None, [])


@pytest.mark.parametrize(
    ("variant", "model"), [("mine", "mgnm"), ("released", f"{HERE}:Own")]
)
def test_variants_are_of_registered_models(variant, model):
    with pytest.raises(ValueError, match="`--variant` is"):
        subjects.find(model, variant, [])


@pytest.fixture(scope="module")
def ground():
    with runs.grounds(1) as made:
        yield made


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Narrow", r"2 histories with 3 candidates each it makes float32 \[2, 1\]"),
        ("Broken", "cannot be built: RuntimeError: [^\n]*$"),
        ("Shy", "cannot be built: TypeError: [^\n]*num_items[^\n]*$"),
    ],
)
def test_a_class_that_breaks_the_contract_is_told_how(ground, name, message):
    subject = subjects.find(f"{HERE}:{name}", None, [])
    with pytest.raises(ValueError, match=message):
        runs.audit(subject, ground, 1)


def test_a_fault_of_a_registered_model_is_no_sentence(ground, monkeypatch):
    def fails(*arguments, **options):
        raise ValueError("shapes")

    monkeypatch.setattr(runs.build, "build_model", fails)
    subject = subjects.find("gru4rec", None, [])
    with pytest.raises(ValueError, match=r"^shapes$") as caught:
        runs.audit(subject, ground, 1)
    assert not isinstance(caught.value, UserError)


def test_a_bad_argument_is_one_line(ground):
    subject = subjects.find("mgnm", None, ["num_interests=0"])
    with pytest.raises(
        ValueError,
        match=r"^mgnm does not take .*`num_interests` must",
    ):
        runs.audit(subject, ground, 1)


@pytest.mark.parametrize(
    "given", [f"--model={HERE}:Narrow", ("--model=mgnm", "--set=num_interest=2")]
)
def test_what_cannot_be_audited_ends_with_2_and_one_sentence(given):
    given = (given,) if isinstance(given, str) else given
    called = call("experiments.audit", *given)
    assert called.code == audit.WRONG_USE
    assert not called.out
    (line,) = called.err.splitlines()
    assert line.startswith("error: ")


def test_ctrl_c_in_training_stops_the_audit(ground, monkeypatch):
    def stopped(*arguments):
        raise training.Interrupted

    monkeypatch.setattr(training, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        runs.audit(subjects.find("gru4rec", None, []), ground, 1)


@pytest.mark.slow
def test_ctrl_c_is_one_sentence_and_leaves_no_file(tmp_path):
    output = tmp_path / "audit.md"
    command = ["experiments.audit", "--model=mgnm", f"--output={output}"]
    command += ["--verbosity=0"]  # So that it says when its trainings are under way.
    running = Running(*command)
    while "Epoch 1" not in running.text("stderr"):
        assert running.process.is_alive()
        time.sleep(0.05)
    running.interrupt(signal.SIGINT)
    code, _, told = running.finish()
    assert code == audit.WRONG_USE
    assert told.splitlines()[-1] == "Stopped before the end; nothing was written."
    assert "Traceback" not in told
    assert not [*tmp_path.iterdir()]


def fabricated(name, **verdicts):
    findings = {
        check: Finding(OK, 0.5, 0.07, 0.5)
        if check in ("noise", "random targets")
        else Finding(OK, 2e-6, 1e-3)
        for check in CHECKS
    }
    return runs.Audit(name, {}, {**findings, **verdicts}, 0.8, 0.07, 12.3)


LEAKY = fabricated(
    "theirs",
    noise=Finding(LEAK, 0.93, 0.07, 0.5),
    encode=Finding(NOT_APPLICABLE, reason="it has none"),
)


def test_a_table_of_one_has_a_line_a_check():
    text = report.to_markdown([LEAKY], seed=1)
    lines = text.splitlines()
    assert lines[2] == (
        "| noise | **LEAK** | 0.930 | 0.5 ± 0.070 | users of pure noise are ranked by "
        "chance |"
    )
    assert len([line for line in lines if line.startswith("| ")]) == 2 + len(CHECKS)
    assert "Not applicable (encode): theirs: it has none" in text


def test_a_table_of_several_has_a_line_a_model():
    text = report.to_markdown([fabricated("ours"), LEAKY], seed=1)
    rows = [
        line for line in text.splitlines() if line.startswith(("| ours", "| theirs"))
    ]
    assert rows[0].split(" | ")[1:3] == ["ok 0.500", "ok 0.500"]
    assert rows[1].split(" | ")[1] == "**LEAK** 0.930"
    assert rows[1].count("| – |") == 1
    assert report.conclusion(LEAKY) == "theirs: LEAK in noise (12 s)"


def test_a_model_that_learned_nothing_is_said_to():
    idle = runs.Audit("idle", {}, LEAKY.findings, 0.55, 0.07, 1.0)
    assert "idle: no better than chance" in report.to_markdown([idle], seed=1)
    assert "no better" not in report.to_markdown([LEAKY], seed=1)
