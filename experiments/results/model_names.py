"""From the name of a run's folder to its model's name and place in Table 2."""

from __future__ import annotations

from typing import Any

from experiments.results.paper import ADDED_NAMES, MODEL_NAMES
from harness.defaults import NO_TIMES

# Readings of MGNM, docs/mgnm_readings.md.
_READINGS = {
    "drawn": "drawn maps",
    "linear": "no ReLU in Eq. 11",
    "linear_long": "no ReLU in Eq. 11, no last squash",
}


def display_name(model: str) -> str:
    """The name in Table 2; a variant keeps its suffix: "mgnm-x" is "MGNM (x)".

    A class of one's own gets the last name of its module and its own name:
    "shop.models.Mine" is "models:Mine".
    """
    base, _, variant = model.partition("-")
    own = ":".join(base.split(".")[-2:])
    name = {**MODEL_NAMES, **ADDED_NAMES}.get(base, own)
    return f"{name} ({_READINGS.get(variant, variant)})" if variant else name


def is_added(model: str) -> bool:
    """Whether a model is not in the paper's Table 2; without times it still is."""
    base, _, variant = model.partition("-")
    return base not in MODEL_NAMES or variant not in ("", NO_TIMES)


def marked_name(model: str) -> str:
    """The display name, with ‡ if the model is not in the paper's Table 2."""
    return display_name(model) + (" ‡" if is_added(model) else "")


def ordered(models: Any) -> list[str]:
    """Models of the paper in its order, then the others, each with its variants."""
    order = [*MODEL_NAMES, *ADDED_NAMES]

    def place(model: str) -> tuple[bool, int, str]:
        base = model.partition("-")[0]
        number = order.index(base) if base in order else len(order)
        return is_added(model), number, model

    return sorted(models, key=place)
