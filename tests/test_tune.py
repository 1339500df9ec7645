"""The search of settings: on validation, with a seed, resumable."""

from __future__ import annotations

import json

import pytest

from data import locks
from harness import build, defaults, epoch, search_space, training
from harness import search as searching
from harness.config import RECIPES, Config, with_settings
from harness.models import MODELS
from harness.ranker import Ranker
from tests.datasets import make_prepared
from tests.slow import slow_but

MODEL = "mean_pooling"  # The quickest to train.


def search(data, folder, **changes):
    arguments = {"model": MODEL, "trials": 3, "max_epochs": 2, "seed": 1}
    return searching.search(data, output_dir=folder, **{**arguments, **changes})


def log_of(folder, data):
    return folder / f"tiny-{data.meta['sha256'][:12]}" / f"{MODEL}.jsonl"


def lines_of(folder):
    (path,) = folder.glob(f"tiny-*/{MODEL}.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def searched(tiny_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuning")
    return folder, search(tiny_data, folder)


def test_the_best_line_of_the_log_is_returned(searched):
    folder, best = searched
    lines = lines_of(folder)
    assert [line["trial"] for line in lines] == [0, 1, 2]
    assert lines[0]["settings"] == {}
    assert best["ndcg@5"] == max(line["ndcg@5"] for line in lines)


@pytest.mark.slow
def test_a_search_goes_on_after_the_trials_it_has(searched, tiny_data, tmp_path):
    path = log_of(tmp_path, tiny_data)
    path.parent.mkdir()
    first, *_ = lines_of(searched[0])
    path.write_text(json.dumps(first) + "\n")
    assert search(tiny_data, tmp_path)["settings"] == searched[1]["settings"]
    timed = ("seconds", "sha256", "previous")
    assert [
        {key: value for key, value in line.items() if key not in timed}
        for line in lines_of(tmp_path)
    ] == [
        {key: value for key, value in line.items() if key not in timed}
        for line in lines_of(searched[0])
    ]


def test_a_log_of_another_seed_is_refused(searched, tiny_data):
    with pytest.raises(ValueError, match=rf"{MODEL}\.jsonl, line 2 is of another"):
        search(tiny_data, searched[0], seed=2)


def test_a_search_of_another_budget_is_refused(searched, tiny_data):
    with pytest.raises(ValueError, match="with max_epochs 2, and 20 is asked for"):
        search(tiny_data, searched[0], max_epochs=20)


def test_a_search_belongs_to_its_data(searched, monkeypatch):
    folder, best = searched
    sha256 = lines_of(folder)[0]["data"]
    monkeypatch.setattr(defaults, "OWN_SEARCHES", folder)
    found = defaults.get_config(MODEL, "tiny", data_sha256=sha256)
    default = defaults.get_config(MODEL, "tiny")
    assert found == with_settings(default, best["settings"])
    # Next month's log of the same name.
    assert defaults.get_config(MODEL, "tiny", data_sha256="0" * 64) == default


def test_own_data_called_as_ours_do_not_get_our_settings():
    name = "instruments_5core"
    known = json.loads((defaults.TUNED_DIR / "data.json").read_text())[name]
    ours = defaults.get_config("gru4rec", name, data_sha256=known)
    assert ours == defaults.get_config("gru4rec", name)
    theirs = defaults.get_config("gru4rec", name, data_sha256="0" * 64)
    assert theirs == defaults.get_config("gru4rec", name, tuned=False) != ours


@pytest.mark.parametrize(
    "line",
    [
        *("[1]", "{", '{"trial": 0}', "9" * 5_000),
        *('{"settings": 1, "ndcg@5": 0.1}', '{"settings": {}, "ndcg@5": "0.1"}'),
    ],
)
def test_a_damaged_line_of_a_log_is_named(line, tmp_path):
    (tmp_path / "log.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"log\.jsonl, line 1 is no"):
        defaults.read_trials(tmp_path / "log.jsonl")


def test_a_changed_number_or_a_removed_line_of_a_log_is_told(
    searched, tiny_data, tmp_path
):
    path = log_of(tmp_path, tiny_data)
    path.parent.mkdir()
    lines = lines_of(searched[0])
    changed = [lines[0], {**lines[1], "ndcg@5": 1.0}, lines[2]]
    for wrong in (changed, [lines[0], lines[2]]):
        path.write_text("".join(json.dumps(line) + "\n" for line in wrong))
        with pytest.raises(ValueError, match="line 2 is not as it was written"):
            search(tiny_data, tmp_path)


def test_two_searches_at_once_are_told(tiny_data, tmp_path):
    path = log_of(tmp_path, tiny_data)
    with (
        locks.writing(path, "searched"),
        pytest.raises(ValueError, match="is being searched by process"),
    ):
        search(tiny_data, tmp_path)


def test_test_instances_are_never_ranked(tiny_data, tmp_path, monkeypatch):
    parts = []
    rank = Ranker.rank

    def noting(self, part, *arguments, **named):
        parts.append(part)
        return rank(self, part, *arguments, **named)

    monkeypatch.setattr(Ranker, "rank", noting)
    search(tiny_data, tmp_path, trials=1)
    assert {*parts} == {"valid"}


def test_a_trial_that_diverges_is_logged_and_not_chosen(
    tiny_data, tmp_path, monkeypatch
):
    settings = [{"learning_rate": 1e30}, {"learning_rate": 1e-2}]
    monkeypatch.setattr(search_space, "draw", lambda *_: settings)
    assert search(tiny_data, tmp_path)["settings"] == settings[1]
    assert lines_of(tmp_path)[0]["ndcg@5"] is None


def test_a_loss_that_diverges_ends_its_trial_alone(tiny_data, tmp_path, monkeypatch):
    train, calls = training.train, []

    def diverging_first(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise epoch.Diverged("The loss is not a finite number.")
        return train(*arguments)

    monkeypatch.setattr(training, "train", diverging_first)
    found = search(tiny_data, tmp_path, trials=2, max_epochs=1)
    first, second = lines_of(tmp_path)
    assert (first["ndcg@5"], found["trial"]) == (None, second["trial"])


def test_training_uses_the_best_trial_of_its_data_set(monkeypatch, tmp_path):
    monkeypatch.setattr(defaults, "TUNED_DIR", tmp_path)
    (tmp_path / "shop").mkdir()
    trials = [
        {"settings": {}, "ndcg@5": 0.1},
        {"settings": {"learning_rate": 0.7, "dropout": 0.3}, "ndcg@5": 0.2},
        {"settings": {"learning_rate": 0.9}, "ndcg@5": None},
    ]
    lines = "".join(json.dumps(trial) + "\n" for trial in trials)
    (tmp_path / "shop" / "gru4rec.jsonl").write_text(lines)
    found = defaults.get_config("gru4rec", "shop")
    assert (found.learning_rate, found.arguments["dropout"]) == (0.7, 0.3)
    assert (
        defaults.get_config("gru4rec", "shop", learning_rate=0.5).learning_rate == 0.5
    )
    default = Config(model="gru4rec", arguments={})
    assert defaults.get_config("gru4rec", "shop", tuned=False) == default
    assert defaults.get_config("gru4rec", "other") == default


def test_a_model_without_settings_says_so(tiny_data, tmp_path):
    with pytest.raises(ValueError, match="popularity has no settings to search"):
        search(tiny_data, tmp_path, model="popularity")


@pytest.mark.slow
def test_a_model_of_times_is_searched_without_them_only_by_its_variant(tmp_path):
    undated = make_prepared(tmp_path, times=False)
    with pytest.raises(ValueError, match="--variant=no_times"):
        search(undated, tmp_path, model="sli_rec", trials=1)
    found = search(undated, tmp_path, model="sli_rec", trials=1, variant="no_times")
    assert found["settings"] == {}


def test_a_reading_of_mgnm_has_a_search_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(defaults, "TUNED_DIR", tmp_path)
    folder = tmp_path / "log"
    folder.mkdir()
    for name, rate in (("mgnm", 0.03), ("mgnm-linear", 0.007)):
        trial = {"settings": {"learning_rate": rate}, "ndcg@5": 0.1}
        (folder / f"{name}.jsonl").write_text(json.dumps(trial) + "\n")

    def rate(variant):
        return defaults.get_config("mgnm", "log", variant=variant).learning_rate

    assert [rate(None), rate("linear")] == [0.03, 0.007]
    assert rate("drawn") == defaults.get_config("mgnm", "other").learning_rate


@pytest.mark.slow
def test_a_search_of_a_reading_is_logged_under_its_name(tiny_data, tmp_path):
    search(tiny_data, tmp_path, model="mgnm", trials=1, variant="linear")
    (path,) = tmp_path.glob("tiny-*/*.jsonl")
    assert path.name == "mgnm-linear.jsonl"


def test_draws_are_those_of_the_seed():
    first, again, other = (search_space.draw("mgnm", 6, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len({json.dumps(settings) for settings in first}) == 6


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("model", ["mind", "comirec_dr", "comirec_sa"])
def test_the_readout_of_a_recipe_is_searched_with_other_rates(model, recipe):
    config = defaults.get_config(model, "none", recipe=recipe)
    trials = search_space.draw(model, 30, 1, recipe)
    rates = {
        trial["learning_rate"]
        for trial in trials[1:]
        if trial["readout"] == config.arguments.get("readout", "hard")
    }
    assert len(rates) > 2


@pytest.mark.parametrize(
    "model", slow_but(sorted(search_space.OWN), ("mgnm", "gru4rec"))
)
def test_every_setting_builds_its_model(model, tiny_data):
    config = defaults.get_config(model, tiny_data.name)
    space = {"l2": [0.5], **search_space.OWN[model]}
    # As many models as the longest list has values: each value stands in one.
    for number in range(max(map(len, space.values()))):
        settings = {
            name: values[number % len(values)] for name, values in space.items()
        }
        built = build.build_model(with_settings(config, settings), tiny_data, 1)
        assert built.l2 == 0.5


def test_every_model_that_trains_has_a_space():
    assert {*MODELS} - {*search_space.OWN} == {"popularity", "item_knn"}
