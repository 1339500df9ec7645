"""The released computation: what it leaks, and that it ends at MGNM."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from baselines.released.model import ReleasedMGNM
from baselines.released.switches import SWITCHES
from data import atomic
from experiments.reports import table2
from experiments.studies.waterfall import report
from experiments.studies.waterfall import runs as waterfall_runs
from experiments.studies.waterfall.steps import (
    STEPS,
    TRAINED_STEPS,
    Budget,
    chosen_steps,
    step_config,
)
from harness import build, defaults, metrics, run_folder, runner
from harness.ranker import Ranker
from mgnm_tf.lazy_adam import lazy_adam
from mgnm_tf.model import MGNM
from tests import seeds
from tests.runs import write_run
from tests.slow import slow_but

B, T, C, NUM_USERS, NUM_ITEMS, MAX_HISTORY = 5, 7, 4, 12, 40, 9


def make_batch(size=B):
    rng = np.random.default_rng(0)
    history = rng.integers(1, NUM_ITEMS, (size, T))
    history[np.arange(T) < np.arange(size)[:, None]] = 0
    batch = {
        "user": np.arange(1, size + 1),
        "history": history,
        "candidates": rng.integers(1, NUM_ITEMS, (size, C)),
    }
    return {key: tf.constant(value, tf.int32) for key, value in batch.items()}


def make(at_paper, **changes):
    model = ReleasedMGNM(
        NUM_USERS,
        NUM_ITEMS,
        max_history=MAX_HISTORY,
        at_paper=at_paper,
        seed=3,
        **changes,
    )
    model(make_batch())
    return model


def all_but(*names):
    return [name for name in SWITCHES if name not in names]


@pytest.mark.parametrize("training", slow_but([False, True], [True]))
def test_with_all_switches_at_paper_it_is_mgnm(training):
    ours = MGNM(NUM_USERS, NUM_ITEMS, max_history=MAX_HISTORY, seed=3)
    batch = make_batch()
    ours(batch)
    theirs = make([*SWITCHES])
    weights = [w for w in theirs.weights if "shuffles" not in w.name]
    assert [w.shape for w in weights] == [w.shape for w in ours.weights]
    for weight, value in zip(weights, ours.get_weights()):
        weight.assign(value)
    np.testing.assert_array_equal(
        theirs(batch, training=training), ours(batch, training=training)
    )
    steps = []
    for model in (ours, theirs):
        model.compile(optimizer="sgd")
        steps.append(float(model.train_step(batch)["loss"]))
    assert steps[0] == steps[1]


# The draw is as released only beside the switch that is looked at, for equal scores.
@pytest.mark.parametrize(
    "switch",
    slow_but((name for name in SWITCHES if name != "reshape"), ("encoder", "target")),
)
def test_a_switch_alone_changes_the_model(switch, at_paper):
    if switch == "encoder":
        changed = [*SWITCHES][:3]  # Those after it need not be at paper.
        base = loss_and_scores([*SWITCHES][:4])
    elif switch == "row_order":  # It matters to those who see their row's number.
        changed = all_but("reshape", "encoder", "row_order")
        base = loss_and_scores(all_but("reshape", "encoder"))
    else:
        base, changed = at_paper, all_but(switch)
    loss, scores = loss_and_scores(changed)
    assert loss != base[0]
    # Another loss moves the weights otherwise, by little in one step.
    assert np.allclose(scores, base[1]) == (switch == "loss")


@pytest.fixture(scope="module")
def at_paper():
    return loss_and_scores(all_but())


def loss_and_scores(switches):
    """The loss of a first step, and the scores after it, of weights drawn alike."""
    seeds.seed(0)
    model, batch = make(switches), make_batch()
    model.compile(optimizer="sgd")
    return float(model.train_step(batch)["loss"]), model(batch).numpy()


def test_as_released_a_score_depends_on_the_rest_of_the_batch():
    batch = make_batch()
    # No draw per row, and one batch of rows: what is left is the reshape.
    model = make(["routing_draw"], evaluation_positives=B)
    assert model.leaky
    before = model(batch)
    batch["history"] = tf.concat([batch["history"][:-1], batch["history"][:1]], axis=0)
    assert not np.allclose(model(batch)[:-1], before[:-1], rtol=1e-4)


def test_with_transposes_no_row_sees_another():
    batch = make_batch()
    # The draws of each row are its own, but not the other rows'.
    model = make(["reshape"], evaluation_positives=B)
    assert not model.leaky
    assert model.by_rows
    model.capsule.paper |= {"routing_draw"}
    before = model(batch)
    batch["history"] = tf.concat([batch["history"][:-1], batch["history"][:1]], axis=0)
    np.testing.assert_allclose(model(batch)[:-1], before[:-1], rtol=1e-5)


def test_rows_and_shared_histories_agree_where_they_must():
    batch = make_batch()
    rows, shared = make(["reshape"]), make(["reshape", "routing_draw"])
    assert rows.by_rows
    assert not shared.by_rows
    rows.set_weights(shared.get_weights())
    rows.capsule.paper |= {"routing_draw"}
    np.testing.assert_allclose(rows(batch), shared(batch), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_what_draws_while_scoring_is_ranked_in_order(tiny_data):
    model = ReleasedMGNM(
        tiny_data.num_users, tiny_data.num_items, max_history=8, at_paper=["reshape"]
    )
    ranker = Ranker(model, tiny_data, max_history=8, candidate_seed=5, batch_size=1)
    assert model.stateful_scoring
    ranker.rank("test", "uni1000")  # Builds it.
    found = []
    for _ in range(3):
        model.capsule.draws.assign(0)
        found.append(ranker.rank("test", "uni1000").ranks.pessimistic)
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
    assert int(model.capsule.draws) == len(tiny_data.instances["test"])


def test_rows_stand_by_label_as_released():
    candidates = tf.constant([[5, 6, 7], [8, 9, 0]])
    # Pairs are numbered along the rows of the table; the padded one has none.
    order = make([])._row_order(candidates)
    np.testing.assert_array_equal(order, [0, 3, 1, 2, 4])
    shuffled = make(["row_order"])
    orders = {tuple(shuffled._row_order(candidates).numpy()) for _ in range(20)}
    assert len(orders) > 5
    assert {tuple(sorted(order)) for order in orders} == {(0, 1, 2, 3, 4)}


def test_it_has_no_history_that_candidates_share():
    with pytest.raises(ValueError, match="one row for each candidate"):
        make([]).encode(make_batch())


@pytest.mark.parametrize(
    ("at_paper", "message"),
    [(["rows"], r"Received: \['rows'\]"), (["encoder"], "needs reshape")],
)
def test_switches_that_cannot_be_are_refused(at_paper, message):
    with pytest.raises(ValueError, match=message):
        make(at_paper)


def noise_batch(rng, size, width):
    """Users, histories and candidates that have nothing to do with each other."""
    batch = {
        "user": rng.integers(1, 200, size),
        "history": rng.integers(1, 500, (size, 8)),
        "candidates": rng.integers(1, 500, (size, width)),
    }
    return {key: tf.constant(value, tf.int32) for key, value in batch.items()}


def ranks_on_noise(model, targets_stay=True):
    batch = noise_batch(np.random.default_rng(1), 200, 101)
    if not targets_stay:
        batch["candidates"] = tf.roll(batch["candidates"], 1, axis=1)
    scores = tf.function(lambda rows: model(rows, training=False))(batch).numpy()
    valid = np.ones((200, 100), bool)
    ranks = metrics.rank_scores(scores[:, 0], scores[:, 1:], valid)
    return metrics.instance_metrics(ranks)


@pytest.mark.slow
def test_the_released_computation_ranks_pure_noise():
    seeds.seed(1)
    rng = np.random.default_rng(0)
    model = ReleasedMGNM(
        200, 500, 8, embedding_dim=8, num_layers=1, num_interests=4, seed=1
    )
    model.compile(optimizer=lazy_adam(1e-2))
    step = tf.function(model.train_step)
    for _ in range(100):
        step(noise_batch(rng, 42, 6))
    for targets_stay in (True, False):
        own = ranks_on_noise(model, targets_stay)
        assert own["gauc"] > 0.75
        assert own["hit@5"] > 5 * 5 / 101
    model.at_paper |= {"row_order"}
    shuffled = ranks_on_noise(model)
    # The mean of 200 uniform ranks has the deviation 0.02.
    assert abs(shuffled["gauc"] - 0.5) < 0.08
    assert shuffled["hit@5"] < 2.5 * 5 / 101


@pytest.mark.slow
def test_a_finished_step_is_found_and_another_refused(tmp_path):
    data = waterfall_runs.noise(tmp_path)
    budget = Budget(train_instances=100, max_history=4, checks=2, instances=4)
    path = tmp_path / "run.json"
    run = waterfall_runs.run_step("released", data, budget, 1, path)
    assert [check["step"] for check in run["training"]["checks"]] == [1, 3]
    views = {"as trained", "rows shuffled", "random targets"}
    assert run["metrics"]["test"]["test"].keys() == views
    assert run["evaluation"]["instances"] == 4
    assert waterfall_runs.run_step("released", data, budget, 1, path) == run
    with pytest.raises(ValueError, match="another config, seed, step"):
        waterfall_runs.run_step("reshape", data, budget, 2, path)
    for damage in ("[]", "{", path.read_text().replace("0.", "0.1", 1)):
        path.write_text(damage)
        with pytest.raises(ValueError, match=r"run\.json is damaged"):
            waterfall_runs.run_step("released", data, budget, 1, path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", "[" * 10_000])
def test_a_stored_step_that_is_damaged_is_named(content, tmp_path):
    path = waterfall_runs.run_path(tmp_path, "released", 1)
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(ValueError, match=r"released\.json is damaged"):
        waterfall_runs.stored_runs(tmp_path)


def test_steps_go_from_the_released_settings_to_ours():
    budget = Budget(epochs=2, max_history=6)
    first, last = (
        step_config(step, "noise", budget) for step in ("released", "recipe")
    )
    assert first.arguments["at_paper"] == []
    assert (first.batch_size, first.learning_rate) == (42, 1e-3)
    assert last.arguments["at_paper"] == [*SWITCHES]
    ours = defaults.get_config("mgnm", "noise", max_epochs=2, max_history=6)
    # Its maps are drawn at every step: where they start is no switch.
    last, ours = (
        defaults.dataclasses.replace(one, arguments={}) for one in (last, ours)
    )
    assert last == ours


@pytest.mark.slow
def test_a_run_of_the_variant_is_marked_and_kept_out(tiny_data, tmp_path):
    config = defaults.get_config(
        "mgnm", "tiny", variant="released", max_epochs=1, max_history=6
    )
    folder = run_folder.run_dir(
        str(tmp_path), "tiny", "leave_one_out", "mgnm", config.variant, 1
    )
    assert folder.endswith("mgnm-released/seed-1")
    passport = runner.run(config, tiny_data, Path(folder), seed=1)
    assert (passport["variant"], passport["leaky"]) == ("released", True)
    with pytest.raises(ValueError, match="no finished run"):
        table2.make_table(tmp_path, "tiny", "leave_one_out")
    model = build.build_model(config, tiny_data, seed=1)
    with pytest.raises(ValueError, match="cannot rank the catalogue"):
        build.make_ranker(model, tiny_data, config).rank("test", "full")


def test_no_other_model_has_this_variant():
    with pytest.raises(ValueError, match="gru4rec has no variant released"):
        defaults.get_config("gru4rec", "toys", variant="released")


def fabricated(step, seed):
    """A run whose every number tells step, view, grouping and seed apart."""
    at = TRAINED_STEPS.index(step) / 100

    def both(value):
        names = ("gauc", "ndcg@5", "hit@5", "mrr@5")
        return {
            grouping: {name: value + shift + seed / 1000 for name in names}
            for grouping, shift in (("user", 0.0), ("instance", 0.0005))
        }

    views = {"as trained": both(0.5 + at)}
    if step == "released":
        views.update({"rows shuffled": both(0.3), "random targets": both(0.4)})
    found = {"test": views}
    if step == "recipe":
        found["valid"] = {"as trained": both(0.9)}
    counts = {"users": 9, "items": 8, "interactions": 70, "train": 50, "test": 9}
    return {
        "step": step,
        "dataset": "shop",
        "split": "leave_one_out",
        "seed": seed,
        "leaky": step in ("released", "row_order"),
        "budget": {
            "epochs": 1,
            "train_instances": None,
            "max_history": 5,
            "checks": 2,
            "instances": 4,
        },
        "data": counts,
        "commit": "abc",
        "machine": {"cpu": "a CPU", "cores": 2},
        "evaluation": {
            "instances": 4,
            "users": 4,
            "chance": {"gauc": 0.5, "ndcg@5": 0.1, "hit@5": 0.1, "mrr@5": 0.1},
        },
        "metrics": {"test": found},
    }


def test_the_table_holds_every_step_and_its_change(tmp_path):
    runs = [fabricated(s, n) for n in (1, 2) for s in TRAINED_STEPS]
    popularity = {"user": {}, "instance": runs[0]["evaluation"]["chance"]}
    text = report.write(tmp_path, runs, popularity)
    rows = [line.split(" | ") for line in text.splitlines()]
    found = {row[1]: row for row in rows if row[0].lstrip("| ").isdigit()}
    assert [*found] == [*STEPS]
    assert found["released"][3:5] == ["0.5015 ± 0.0007", ""]
    assert found["grouping"][3:5] == ["0.5020 ± 0.0007", "+0.0005 ± 0.0000"]
    assert found["row_order"][3:5] == ["0.5120 ± 0.0007", "+0.0100 ± 0.0000"]
    assert found["selection"][3:5] == ["0.9020 ± 0.0007", "+0.2500 ± 0.0000"]
    assert "| its own row order | 0.5020 ± 0.0007 |" in text
    assert "| the same weights, rows shuffled | 0.3020 ± 0.0007 |" in text
    assert "Seeds 1, 2;" in text
    assert {row[-1] for row in found.values()} == {"2 |"}
    kept = {path.name for path in tmp_path.iterdir()}
    kinds = ("md", "csv", "jsonl", "png", "svg")
    assert kept == {f"waterfall.{kind}" for kind in kinds}
    lines = (tmp_path / "waterfall.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == runs
    lines = (tmp_path / "waterfall.csv").read_text().splitlines()
    # Six lines of rows and the steps, four metrics each.
    assert len(lines) == 1 + 4 * (6 + len(STEPS))
    assert {line.count(",") for line in lines} == {8}


def test_the_table_says_which_steps_have_fewer_seeds():
    runs = [fabricated(s, 1) for s in ("released", "reshape")]
    popularity = {"instance": runs[0]["evaluation"]["chance"]}
    text = report.to_markdown([*runs, fabricated("released", 2)], popularity)
    rows = [line.split(" | ") for line in text.splitlines()]
    found = {row[1]: row for row in rows if row[0].lstrip("| ").isdigit()}
    assert {name: row[-1] for name, row in found.items()} == {
        "released": "2 |",
        "grouping": "2 |",
        "reshape": "1 |",
    }
    # Against the seed that both have.
    assert found["reshape"][4] == "+0.0200"


def test_runs_of_two_budgets_share_no_table(tmp_path):
    for step, history in (("released", 5), ("reshape", 6)):
        run = fabricated(step, 1)
        run["budget"]["max_history"] = history
        path = waterfall_runs.run_path(tmp_path, step, 1)
        path.parent.mkdir(exist_ok=True)
        atomic.write_json(path, run)
    with pytest.raises(ValueError, match="differ in their budget"):
        waterfall_runs.stored_runs(tmp_path)


def test_an_unknown_step_is_named():
    with pytest.raises(ValueError, match=r"no \['gcn'\]"):
        chosen_steps(["gcn"])
    assert chosen_steps(["reshape", "released"]) == [
        "released",
        "reshape",
    ]


@pytest.mark.parametrize(
    ("folder", "marks"),
    [
        ("mgnm-released", {"variant": "released"}),
        ("mgnm-mine", {"variant": "mine", "leaky": True}),
    ],
)
def test_table_2_takes_no_leaky_run(tmp_path, folder, marks):
    write_run(tmp_path, "mgnm", 1, shift=3)
    write_run(tmp_path, folder, 1, shift=0, **marks)
    table = table2.make_table(tmp_path, "shop", "global_time")
    assert [*table.cells] == ["mgnm"]
    assert table.cells["mgnm"]["ndcg@5"].place == 1
    assert any("is left out" in warning for warning in table.warnings)


def test_a_table_of_leaky_runs_alone_is_refused(tmp_path):
    write_run(tmp_path, "mgnm-released", 1, shift=0, variant="released")
    with pytest.raises(ValueError, match="no finished run"):
        table2.make_table(tmp_path, "shop", "global_time")


def test_it_explains_nothing_and_draws_nothing_for_that():
    model = make(())
    before = [weight.numpy() for weight in model.weights]
    assert model.explain(make_batch()) == {}
    for weight, value in zip(model.weights, before):
        np.testing.assert_array_equal(weight, value)
