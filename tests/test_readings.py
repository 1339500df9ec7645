"""The readings of MGNM that have a name, and the models that are ours to add."""

from __future__ import annotations

import pytest

from experiments.results import model_names
from harness import defaults
from harness.build import build_model

IDENTITY = {"map_initialization": "identity", "routing_init": "learned"}


@pytest.mark.parametrize(
    ("variant", "changes"),
    [
        ("drawn", {"map_initialization": "glorot", "routing_init": "drawn"}),
        ("linear", {"interest_activation": "linear"}),
        ("linear_long", {"interest_activation": "linear", "squash_last": False}),
    ],
)
@pytest.mark.parametrize("recipe", ["paper", "strong"])
def test_a_variant_of_mgnm_is_its_reading(variant, changes, recipe):
    options = {"tuned": False, "recipe": recipe}
    plain = defaults.get_config("mgnm", "shop", **options)
    config = defaults.get_config("mgnm", "shop", variant=variant, **options)
    assert config.arguments == {**plain.arguments, **IDENTITY, **changes}
    assert config.variant == variant


def test_another_model_has_no_readings():
    config = defaults.get_config("sasrec", "shop", variant="linear")
    assert config.arguments == defaults.get_config("sasrec", "shop").arguments


def test_the_released_code_has_none_of_what_was_chosen_for_the_printed_one():
    config = defaults.get_config("mgnm", "shop", variant=defaults.RELEASED)
    assert config.arguments == {}


def test_a_reading_stands_under_the_name_of_mgnm_and_is_marked_as_added():
    assert model_names.display_name("mgnm-linear") == "MGNM (no ReLU in Eq. 11)"
    assert model_names.is_added("mgnm-linear")
    assert model_names.display_name("mgnm_plus") == "MGNM+"
    assert model_names.is_added("mgnm_plus")


@pytest.mark.parametrize("variant", sorted(defaults.READINGS))
def test_a_reading_is_built(variant, tiny_data):
    config = defaults.get_config("mgnm", tiny_data.name, variant=variant)
    model = build_model(config, tiny_data, seed=1)
    reading = defaults.READINGS[variant]
    assert model.capsule.routing_init == reading["routing_init"]
    assert model.capsule.interest_activation == reading.get(
        "interest_activation", "relu"
    )


def test_mgnm_in_time_is_refused_data_without_times(tmp_path):
    from tests.datasets import make_prepared

    config = defaults.get_config("mgnm", "tiny")
    config = defaults.with_settings(config, {"time_in_routing": True})
    data = make_prepared(tmp_path, times=False)
    with pytest.raises(ValueError, match="tiny has no times"):
        build_model(config, data, seed=1)
