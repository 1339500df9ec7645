"""Tables 1, 3, 4 and the figures: their runs, and what fabricated runs make of them."""

from __future__ import annotations

import csv
import inspect
import io
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from experiments.reports import table1, table2, table3, table4
from experiments.reproduction import figures, grid
from experiments.results import paper, variants
from experiments.studies.levels import figures as level_figures
from experiments.studies.levels import look
from harness import defaults
from mgnm_tf.model import MGNM
from tests.calls import call
from tests.commands import run as run_command
from tests.runs import write_run

SHOP = [("shop", "global_time")]
CONFIG = {"split_rule": "by time", "batch_size": 256, "num_negatives": 5}


def write_study(runs, seeds=(1, 2), budget=30, **shifts):
    """The full model, and variants whose positives stand some places lower."""
    settings = {"config": CONFIG, "budget": budget}
    for seed in seeds:
        write_run(runs, "mgnm", seed, shift=2, **settings)
        for name, shift in shifts.items():
            write_run(runs, f"mgnm-study-{name}", seed, shift=shift, **settings)


def read_csv(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


# The variants


def test_the_full_model_is_that_of_table_2_where_it_has_l_3_and_k_4():
    assert variants.full("toys").folder == "mgnm"
    assert defaults.get_config("mgnm", "instruments_5core").arguments != {}
    own = variants.full("instruments_5core")
    assert own.folder == "mgnm-study-full"
    assert own.arguments == {"num_layers": 3, "num_interests": 4}


def test_where_table_2_has_other_values_its_runs_serve_for_those():
    arguments = defaults.get_config("mgnm", "instruments_5core").arguments
    searched = {"num_layers": 1, "num_interests": 2}
    assert arguments == {**defaults.MODEL_SETTINGS["mgnm"], **searched}
    assert variants.with_layers("instruments_5core", 1).folder != "mgnm"  # K = 4 there.


@pytest.mark.parametrize("dataset", ["toys", "instruments_5core", "micro_video"])
def test_one_configuration_has_one_name(dataset):
    rows = variants.table3(dataset)
    assert rows["w/o UGCN"] == variants.with_layers(dataset, 0)
    assert rows["MGNM"] == variants.with_layers(dataset, 3)
    assert rows["MGNM"] == variants.with_interests(dataset, 4)
    every = [*rows.values()]
    every += [variants.with_layers(dataset, count) for count in range(6)]
    every += [variants.with_interests(dataset, count) for count in range(1, 9)]
    by_name = {variant.name: variant.arguments for variant in every}
    assert len(by_name) == 8 + 1 + 4 + 7
    assert all(by_name[variant.name] == variant.arguments for variant in every)
    assert len({json.dumps(found) for found in by_name.values()}) == len(by_name)


def test_every_ablation_is_a_switch_that_mgnm_has():
    parameters = inspect.signature(MGNM).parameters
    for name, variant in variants.table3("toys").items():
        changed = {
            key: value
            for key, value in variant.arguments.items()
            if parameters[key].default != value
        }
        assert len(changed) == (0 if name == "MGNM" else 1), name
        MGNM(5, 5, **variant.arguments)


def test_table_3_has_the_rows_of_the_paper_in_its_order():
    assert list(variants.table3("toys")) == list(paper.TABLE3)


def test_the_command_of_a_run_says_what_differs(tmp_path):
    options = grid.Options("quick", None, tmp_path, tmp_path / "r", tmp_path, None, 1)
    variant = variants.table3("ml-100k")["w/o L1Norm"]
    run = grid.GridRun("ml-100k", "s", 1, "mgnm", variant.name, variant.arguments)
    command = run.command(options)
    assert {"--set=l1=0.0", "--set=num_layers=3", "--max_epochs=2"} <= set(command)
    assert "--variant=study-no_l1" in command
    folder = tmp_path / "r/ml-100k/s/mgnm-study-no_l1/seed-1"
    assert f"--run_dir={folder}" in command


# The tables


def test_studies_have_no_place_in_table_2(tmp_path):
    write_study(tmp_path, no_l1=0)
    write_run(tmp_path, "mgnm-mine", 1, shift=0)
    table = table2.make_table(tmp_path, *SHOP[0])
    assert set(table.cells) == {"mgnm", "mgnm-mine"}


def test_table_3_compares_with_the_full_model_in_either_direction(tmp_path):
    write_study(tmp_path, seeds=range(1, 6), no_bilstm=30, transformer=0, no_l1=2)
    table = table3.make_table(tmp_path, *SHOP[0])
    worse, better = table.cells["w/o BiLSTM"], table.cells["SCN (Transformer)"]
    assert worse["hit@5"].mean < table.cells["MGNM"]["hit@5"].mean
    assert better["hit@5"].mean > table.cells["MGNM"]["hit@5"].mean
    assert (worse["hit@5"].by_seeds, worse["hit@5"].by_users) == (True, True)
    assert (better["hit@5"].by_seeds, better["hit@5"].by_users) == (True, True)
    same = table.cells["w/o L1Norm"]["hit@5"]
    assert (same.by_seeds, same.by_users) == (False, False)
    assert better["hit@5"].place == 1
    assert not table.cells["MGNM"]["hit@5"].by_users


def test_table_3_says_what_is_missing_and_whose_data(tmp_path):
    write_study(tmp_path, seeds=(1, 2), no_l1=3)
    write_run(tmp_path, "mgnm", 3, shift=2, config=CONFIG)
    text = table3.write(tmp_path / "out", tmp_path, SHOP)
    assert "w/o L1Norm lacks the seeds 3." in text
    assert "w/o UGCN lacks the seeds 1, 2, 3." in text
    assert "not the paper's data" in text
    rows = read_csv(tmp_path / "out/table3.csv")
    assert {row["row"] for row in rows} == {"w/o L1Norm", "MGNM"}
    assert rows[0]["paper_toys"] == "0.7757"
    latex = (tmp_path / "out/table3.tex").read_text()
    assert latex.count(r"\\") == 3
    assert "→" not in latex


def test_table_3_of_short_runs_has_no_marks_and_says_why(tmp_path):
    write_study(tmp_path, seeds=(1, 2, 3), budget=9, no_l1=3)
    text = table3.write(tmp_path / "out", tmp_path, SHOP)
    measured = text[: text.index("No number is marked as the best")]
    assert not [mark for mark in ("†", "**", "<u>") if mark in measured]
    assert "t-test" not in text


def test_table_3_without_the_full_model_is_refused(tmp_path):
    write_run(tmp_path, "mgnm-study-no_l1", 1, shift=0)
    with pytest.raises(ValueError, match="no finished run of the full MGNM"):
        table3.make_table(tmp_path, *SHOP[0])


def test_mgnm_of_table_2_is_shown_beside_another_full_model(tmp_path):
    config = {**CONFIG, "arguments": {"num_layers": 1, "num_interests": 2}}
    write_run(tmp_path, "mgnm", 1, shift=9, config=config)
    write_run(tmp_path, "mgnm-study-full", 1, shift=0, config=CONFIG)
    (tmp_path / "shop").rename(tmp_path / "instruments_5core")
    table = table3.make_table(tmp_path, "instruments_5core", "global_time")
    assert list(table.cells) == ["MGNM", "MGNM as in Table 2"]
    assert "num_layers = 1, num_interests = 2" in table3.caption(table)


def test_table_4_by_hand(tmp_path):
    training = {
        "epochs": 10,
        "best_epoch": 4,
        "max_epochs": 30,
        "steps": 2_000,
        "seconds": 120.0,
    }
    write_run(tmp_path, "gru4rec", 1, 0, training=training, config=CONFIG)
    counted = {**training, "steps": 0, "seconds": 0.0}
    write_run(tmp_path, "popularity", 1, 0, training=counted, config=CONFIG)
    text = table4.write(tmp_path / "out", tmp_path, SHOP)
    assert "| GRU4Rec | 0.0600 | 200 | 0.2 | 800 | 0.8 | 2,000 | 2 |" in text
    assert "Popularity: counted once" in text
    rows = read_csv(tmp_path / "out/table4.csv")
    assert float(rows[0]["minutes_to_best"]) == pytest.approx(0.8)
    assert rows[1]["seconds_per_iteration"] == ""
    assert rows[-1]["iterations_per_epoch"] == "2373"


def test_table_4_of_the_paper_multiplies_out():
    for seconds, iterations, minutes in paper.TABLE4.values():
        assert seconds * iterations / 60 == pytest.approx(minutes, rel=0.003)


def test_table_1_has_our_reading_of_the_interactions(tmp_path):
    # 2,373 x 42 / 0.7 + 60,739 users.
    assert paper.implied_interactions("instruments") == 203_119
    assert paper.implied_interactions("micro_video") is None
    statistics = {
        **{key: 7 for key in ("users", "items", "interactions")},
        **{key: 2 for key in ("train", "valid", "test")},
        "lengths": {"min": 2, "median": 3.5, "mean": 4.0, "max": 9},
        "same_time_share": None,
        "matches_table1": False,
    }
    meta = {"name": "shop", "dataset": "csv", "split": "x", "statistics": statistics}
    (tmp_path / "shop/x").mkdir(parents=True)
    (tmp_path / "shop/x/meta.json").write_text(json.dumps(meta))
    options = grid.Options("folder", None, tmp_path, tmp_path, tmp_path / "out")
    text = table1.write(options.reports_dir, options.prepared_dir, [("shop", "x")])
    row = "| shop | x | 7 | 7 | 7 | 2 | 2 | 2 | 2 / 3.5 / 9 | – | not in it |"
    assert row in text
    printed = "| Musical Instruments | 60,739 | 56,301 | 946,627 | about 203,000 | "
    printed += "about 929,000 |"
    assert printed in text
    rows = read_csv(tmp_path / "out/table1.csv")
    assert [row["data"] for row in rows] == ["shop", *paper.DATASET_NAMES]


# The figures


def write_levels(folder, sum_of):
    """What `experiments.levels` leaves: user 1 has level 1, user 2 mostly level 0."""
    (folder / "levels").mkdir()
    wins = [
        (1, "positive", 0, 0),
        (1, "positive", 1, 1),
        (1, "negative", 0, 0),
        (1, "negative", 1, 99),
        (2, "positive", 0, 1),
        (2, "positive", 1, 0),
        (2, "negative", 0, 66),
        (2, "negative", 1, 33),
    ]
    table = pd.DataFrame(wins, columns=["user", "kind", "level", "wins"])
    table.to_csv(folder / "levels/wins.csv", index=False)
    passport = json.loads((sum_of / "passport.json").read_text())
    (folder / "levels/sum.json").write_text(json.dumps(passport))


@pytest.mark.slow
def test_figures_are_drawn_alike_twice_from_stored_runs(tmp_path):
    runs = tmp_path / "runs"
    write_study(runs, layers_0=5, layers_1=0, interests_1=9)
    home = runs / "shop/global_time"
    for seed in (1, 2):
        write_levels(
            home / f"mgnm/seed-{seed}", home / f"mgnm-study-layers_0/seed-{seed}"
        )
    drawn = figures.write(tmp_path / "a", runs, SHOP)
    again = figures.write(tmp_path / "b", runs, SHOP)
    names = ["fig3", "fig4", "fig6", "fig7"]  # No micro-video, no Figure 5.
    assert {path.stem for path in drawn} == set(names)
    for one, two in zip(drawn, again):
        assert one.read_bytes() == two.read_bytes()
        if one.suffix == ".svg":
            texts = {node.text for node in ElementTree.parse(one).iter() if node.text}
            assert any("Figure" in text for text in texts)
    read = {name: pd.read_csv(tmp_path / "a/figures" / f"{name}.csv") for name in names}
    assert {*read["fig3"]["x"]} == {0, 1, 3}
    assert {*read["fig4"]["x"]} == {1, 4}
    full = table2.make_table(runs, *SHOP[0]).cells["mgnm"]["hit@5"]
    by_l, by_pool = read["fig3"], read["fig7"]
    hits = by_l[by_l["metric"] == "hit@5"].set_index("x")["mean"]
    assert hits[3] == pytest.approx(full.mean, abs=1e-6)
    pooled = by_pool[by_pool["metric"] == "hit@5"].set_index("pooling")["mean"]
    assert pooled.to_dict() == pytest.approx({"max": hits[3], "sum": hits[0]})
    assert read["fig6"]["wins"].sum() == 2 * (99 + 1)
    assert {*read["fig6"]["seed"]} == {1}


def test_shares_of_the_items_of_a_user_add_up_to_one():
    wins = [(1, 0, 3), (1, 1, 1), (2, 0, 0), (2, 1, 5)]
    table = pd.DataFrame(wins, columns=["user", "level", "wins"]).assign(
        kind="negative"
    )
    found = level_figures.shares(table, "negative")
    np.testing.assert_allclose(found, [[0.75, 0.0], [0.25, 1.0]])


@pytest.mark.slow
def test_micro_video_logs_are_figure_5(tmp_path):
    runs = tmp_path / "runs"
    write_study(runs, seeds=(1,))
    folder = runs / "shop/global_time/mgnm/seed-1"
    write_levels(folder, folder)
    (runs / "shop").rename(runs / "kuairand_likes_hates")
    drawn = figures.write(tmp_path, runs, [("kuairand_likes_hates", "global_time")])
    assert {path.stem for path in drawn} == {"fig5", "fig7"}


@pytest.mark.slow
def test_the_report_draws_the_levels_of_data_without_studies(tmp_path):
    runs, output = tmp_path / "runs", tmp_path / "reports"
    for model in ("mgnm", "gru4rec"):
        write_run(runs, model, 1, shift=2, config=CONFIG)
    folder = runs / "shop/global_time/mgnm/seed-1"
    write_levels(folder, folder)
    done = run_command(
        "experiments.report", f"--runs_dir={runs}", f"--output_dir={output}"
    )
    assert done.returncode == 0, done.stderr
    drawn = {path.stem for path in (output / "figures").iterdir()}
    assert drawn == {"fig6", "fig7"}


def test_without_a_run_of_a_figure_nothing_is_drawn(tmp_path):
    write_run(tmp_path, "gru4rec", 1, 0)
    assert figures.write(tmp_path / "out", tmp_path, SHOP) == []
    assert not (tmp_path / "out").exists()


def test_wins_are_counted_of_real_candidates_by_user(tiny_data):
    from data.candidates import candidate_negatives
    from data.pipeline import targets

    def model(batch, training, return_levels):
        """An item's own level, its id modulo 3, scores highest."""
        assert (training, return_levels) == (False, True)
        return tf.one_hot(batch["candidates"] % 3, 3, axis=1)

    found = look.count_wins(model, tiny_data, 8, 1)
    instances = tiny_data.instances["test"]  # One a user, of 24.
    negatives = candidate_negatives(tiny_data, "test", "uni1000", 1)
    assert found["user"].nunique() == len(instances)
    wins = found.set_index(["user", "kind", "level"])["wins"]
    for (user, _), row, target in zip(
        instances, negatives, targets(tiny_data, instances)
    ):
        real = row[row != 0]
        for level in range(3):
            assert wins[user, "negative", level] == np.sum(real % 3 == level)
            assert wins[user, "positive", level] == (target % 3 == level)


def test_the_users_of_a_figure_are_drawn_once_for_all():
    users = np.repeat(np.arange(200), 2)
    rows = look.rows_of_some_users(users)
    assert len(rows) == 2 * look.NUM_USERS
    np.testing.assert_array_equal(rows, look.rows_of_some_users(users))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """All runs of Table 3 over a small file, but one, which has to be made."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "csv").mkdir()
    rows = [(u, (u * t) % 23 + 1, t) for u in range(1, 31) for t in range(1, 8)]
    table = pd.DataFrame(rows, columns=["user", "item", "order"])
    table.to_csv(folder / "csv/shop.csv", index=False)
    arguments = [
        *("--profile=folder", f"--data_dir={folder}/csv", "--seeds=1"),
        *(f"--prepared_dir={folder}/prepared", f"--runs_dir={folder}/runs"),
        *(f"--reports_dir={folder}/reports", "--max_epochs=1"),
    ]
    return folder, arguments


@pytest.mark.slow
def test_the_run_of_a_study_is_made_and_looked_into(shop):
    folder, arguments = shop
    variant = variants.table3("shop")["SCN → SumPool"]
    done = run_command("experiments.reproduce", "--what=table1", *arguments)
    assert done.returncode == 0, done.stderr
    assert "| shop | leave_one_out |" in done.stdout
    options = grid.Options(
        "folder", None, folder / "prepared", folder / "runs", folder, None, 1, 1
    )
    run = grid.GridRun(
        "shop", "leave_one_out", 1, "mgnm", variant.name, variant.arguments
    )
    assert grid.make(options, [run]) == []
    run_dir = run.folder(options)
    passport = json.loads((run_dir / "passport.json").read_text())
    assert passport["variant"] == "study-sum_items"
    assert passport["config"]["arguments"]["interest_extractor"] == "sum"
    look.look(run_dir, folder / "prepared")
    kept = json.loads((run_dir / "levels/sum.json").read_text())
    ranks = pd.read_parquet(run_dir / "levels/ranks.parquet")
    hit = float((ranks["rank_pessimistic"] < 5).mean())
    found = kept["metrics"]["test"]["uni1000"]["instance"]
    assert found["hit@5"] == pytest.approx(hit)
    # The maximum of the same weights is the run's own: its ranks are others.
    own = pd.read_parquet(run_dir / "ranks.parquet").query("protocol == 'uni1000'")
    assert (own["rank_pessimistic"] != ranks["rank_pessimistic"]).any()
    stamp = (run_dir / "levels").stat().st_mtime_ns
    look.look(run_dir, folder / "prepared")
    assert (run_dir / "levels").stat().st_mtime_ns == stamp


def test_what_is_finished_is_only_written(shop):
    folder, arguments = shop
    made = folder / "finished"
    for variant in variants.table3("shop").values():
        write_run(made, variant.folder, 1, shift=1, config=CONFIG)
    (made / "shop/global_time").rename(made / "shop/leave_one_out")
    last = f"--runs_dir={made}"
    done = call("experiments.reproduce", "--what=table3", *arguments, last)
    assert done.code == 0, done.err
    assert "| SCN (Transformer) |" in done.out
    assert (folder / "reports/table3.md").read_text() in done.out
    assert "training" not in done.err  # Nothing was run.
