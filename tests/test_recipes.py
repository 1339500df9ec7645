"""A recipe is kept in passports, and apart from the others everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.reports import table2
from experiments.reproduction import grid
from experiments.studies.audit import subjects
from harness import defaults, ledger, run_folder, run_manifest, runner, search_space
from harness.config import OBJECTIVES, PAPER, RECIPES, STRONG
from harness.models import MODELS
from tests.runs import write_run

TRAINED = [name for name in MODELS if name not in defaults.UNTRAINED]
SMALL = {"max_epochs": 1, "max_history": 8, "valid_instances": 20}


def options(folder, recipe):
    return grid.Options("quick", None, folder, folder, folder, recipe=recipe)


def test_every_model_that_trains_has_its_strong_recipe():
    assert sorted(defaults.STRONG_MODEL_SETTINGS) == sorted(TRAINED)


@pytest.mark.parametrize("model", TRAINED)
def test_the_strong_recipe_shares_its_negatives_and_is_wide(model):
    config = defaults.get_config(model, "anything", recipe=STRONG)
    assert config.recipe == STRONG
    assert config.share_negatives
    assert config.arguments["embedding_dim"] == 64


@pytest.mark.parametrize("model", sorted(MODELS))
def test_the_recipe_of_the_paper_is_the_default(model):
    config = defaults.get_config(model, "anything")
    assert (config.recipe, config.objective) == (PAPER, "cross_entropy")
    assert not config.share_negatives


@pytest.mark.parametrize("model", defaults.UNTRAINED)
def test_what_only_counts_is_the_same_in_both(model):
    found = [defaults.get_config(model, "toys", recipe=r) for r in RECIPES]
    assert [config.arguments for config in found] == [{}, {}]


def test_the_strong_recipe_is_one_for_all_data_sets():
    one, other = (
        defaults.get_config("mgnm", name, tuned=False, recipe=STRONG)
        for name in ("micro_video", "toys")
    )
    assert one == other


def test_a_search_is_of_its_recipe_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(defaults, "TUNED_DIR", tmp_path)
    for folder, rate in ((tmp_path / "shop", 0.7), (tmp_path / STRONG / "shop", 0.3)):
        folder.mkdir(parents=True)
        trial = {"settings": {"learning_rate": rate}, "ndcg@5": 0.2}
        (folder / "gru4rec.jsonl").write_text(json.dumps(trial) + "\n")
    assert defaults.get_config("gru4rec", "shop").learning_rate == 0.7
    strong = defaults.get_config("gru4rec", "shop", recipe=STRONG)
    assert strong.learning_rate == 0.3
    (tmp_path / STRONG / "shop" / "gru4rec.jsonl").unlink()
    strong = defaults.get_config("gru4rec", "shop", recipe=STRONG)
    assert strong.learning_rate == defaults.STRONG_SETTINGS["learning_rate"]


def test_each_recipe_draws_from_its_own_space():
    drawn = search_space.draw("gru4rec", 25, 1, STRONG)[1:]
    rates = {settings["learning_rate"] for settings in drawn}
    assert rates == {*search_space.SHARED_STRONG["learning_rate"]}
    assert rates != {*search_space.SHARED["learning_rate"]}


def test_the_released_computation_has_no_strong_recipe():
    with pytest.raises(ValueError, match="leave out --recipe=strong"):
        defaults.get_config("mgnm", "toys", recipe=STRONG, variant="released")


def test_runs_of_a_recipe_have_a_root_of_their_own():
    assert defaults.of_recipe(Path("runs"), PAPER) == Path("runs")
    assert defaults.of_recipe(Path("runs"), STRONG) == Path("runs/strong")


def test_the_commands_of_a_grid_say_the_recipe(tmp_path):
    run = grid.GridRun("toys", "leave_one_out", 1, "sasrec")
    assert "--recipe=strong" in run.command(options(tmp_path, STRONG))
    assert not [
        flag for flag in run.command(options(tmp_path, PAPER)) if "recipe" in flag
    ]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_passport_has_the_recipe_and_a_folder_is_of_one(tiny_data, tmp_path, recipe):
    config = defaults.get_config("mean_pooling", "tiny", recipe=recipe, **SMALL)
    passport = runner.run(config, tiny_data, tmp_path / "run", 1)
    assert passport["recipe"] == passport["config"]["recipe"] == recipe
    other = next(name for name in RECIPES if name != recipe)
    config = defaults.get_config("mean_pooling", "tiny", recipe=other, **SMALL)
    with pytest.raises(ValueError, match=r"holds a run with another .*recipe"):
        runner.run(config, tiny_data, tmp_path / "run", 1)


def test_a_run_of_before_recipes_is_of_the_paper(tiny_data, tmp_path):
    config = defaults.get_config("mean_pooling", "tiny", **SMALL)
    passport = runner.run(config, tiny_data, tmp_path, 1)
    for name in (run_manifest.MANIFEST, ledger.SEAL):  # Both came later.
        (tmp_path / name).unlink()
    for name in (run_folder.CONFIG, run_folder.PASSPORT):
        stored = json.loads((tmp_path / name).read_text())
        for fields in (stored, stored.get("config", {})):
            for key in ("recipe", "objective", "calibration"):
                fields.pop(key, None)
        (tmp_path / name).write_text(json.dumps(stored))
    assert run_folder.read_config(tmp_path) == config
    # It is found finished, and not trained again.
    again = runner.run(config, tiny_data, tmp_path, 1)
    assert again["metrics"] == passport["metrics"]


def test_a_table_mixes_no_recipes(tmp_path):
    write_run(tmp_path, "mgnm", 1, 0)
    write_run(tmp_path, "mind", 1, 3, recipe=PAPER)
    assert len(table2.make_table(tmp_path, "shop", "global_time").by_model) == 2
    write_run(tmp_path, "sasrec", 1, 3, recipe=STRONG)
    with pytest.raises(ValueError, match="have different recipes"):
        table2.make_table(tmp_path, "shop", "global_time")


def test_a_strong_table_says_so(tmp_path):
    write_run(tmp_path, "mgnm", 1, 0, recipe=STRONG)
    caption = table2.caption(table2.make_table(tmp_path, "shop", "global_time"))
    assert "Recipe: strong" in caption


def test_an_audit_is_of_the_recipe_that_is_asked_for():
    subject = subjects.find("gru4rec", None, [], STRONG)
    assert subject.name == "gru4rec (strong)"
    assert subject.config.share_negatives
    own = subjects.find("baselines.gru4rec:GRU4Rec", None, [], STRONG)
    assert own.config.share_negatives


def test_every_objective_can_be_asked_for():
    from mgnm_tf import objectives

    assert OBJECTIVES == objectives.OBJECTIVES


def test_another_objective_is_an_option_of_either_recipe(tiny_data, tmp_path):
    config = defaults.get_config(
        "mean_pooling", "tiny", objective="gbce", num_negatives=9, **SMALL
    )
    passport = runner.run(config, tiny_data, tmp_path, 1)
    assert passport["config"]["objective"] == "gbce"
    assert passport["recipe"] == PAPER
