"""The fidelity cards in docs/baselines say what code and logs say."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from pathlib import Path

import pytest

from harness import defaults, search_space
from harness.config import Config
from harness.models import MODELS

ROOT = Path(__file__).parent.parent
# Of MGNM and MGNM+ docs/mgnm_readings.md tells.
WITHOUT_CARD = ("mgnm", "mgnm_plus", "popularity", "item_knn")
CARDS = {name: name for name in MODELS if name not in WITHOUT_CARD}
CARDS.update(comirec_dr="comirec", comirec_sa="comirec")
# Every model has these, and they mean the same in each.
SHARED = {"num_users", "num_items", "max_history", "embedding_dim", "kwargs"}
SHARED |= {"embedding_stddev", "seed"}
FIELDS = {field.name for field in dataclasses.fields(Config)}


def card(model):
    return (ROOT / "docs" / "baselines" / f"{CARDS[model]}.md").read_text()


def tuned_row(model, log):
    """What training uses on the log's data set, and the trial that says so."""
    dataset = log.parent.name
    config = defaults.get_config(model, dataset)
    arguments = inspect.signature(MODELS[model]).parameters
    settings = []
    for name in {**search_space.SHARED, **search_space.OWN[model]}:
        if name in FIELDS:
            value = getattr(config, name)
        else:
            value = config.arguments.get(name, arguments[name].default)
        settings.append(f"{name} {value}")
    trials = [json.loads(line) for line in log.read_text().splitlines()]
    best = defaults.best_trial(trials)
    number = f"{best['trial'] + 1} of {len(trials)}"
    scores = f"{best['ndcg@5']:.4f} | {best['gauc']:.4f}"
    return f"| `{model}` | {dataset} | {number} | {', '.join(settings)} | {scores} |"


@pytest.mark.parametrize("model", CARDS)
def test_the_tuned_settings_of_a_card_are_those_that_training_uses(model):
    logs = sorted(defaults.TUNED_DIR.glob(f"*/{model}.jsonl"))
    lines = card(model).splitlines()
    written = [line for line in lines if line.startswith(f"| `{model}` | ")]
    # After another search, the right side has the rows to write.
    assert written == [tuned_row(model, log) for log in logs]


@pytest.mark.parametrize("model", CARDS)
def test_a_card_names_every_argument_of_its_model(model):
    own = {*inspect.signature(MODELS[model]).parameters} - SHARED
    assert {name for name in own if f"`{name}`" not in card(model)} == set()


@pytest.mark.parametrize("model", CARDS)
def test_the_files_that_a_card_names_exist(model):
    named = set(re.findall(r"`([\w/]+\.(?:py|md|jsonl))`", card(model)))
    assert f"tests/test_{CARDS[model]}.py" in named
    assert {name for name in named if not (ROOT / name).exists()} == set()
