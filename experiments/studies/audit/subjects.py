"""Models to audit: registered ones, and classes that others wrote."""

from __future__ import annotations

import dataclasses
from typing import Any

from data.errors import UserError
from harness import defaults
from harness.config import PAPER, Config, is_own, with_arguments, with_settings
from harness.models import model_class
from mgnm_tf.recommender import SequentialRecommender

# Bounds the work, and is enough for every model to learn of the planted interests,
# and for the released computation to learn of its row order.
BUDGET: dict[str, Any] = {
    "batch_size": 128,
    "max_epochs": 5,
    "patience": 5,
    "max_history": 12,
    "valid_instances": 100,
}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model to audit.

    Attributes:
        name: what tables call the model, e.g. `gru4rec` or `package.module:Class`.
        kind: the class that `build.build_model` calls to make the model.
        config: the configuration that the model is trained with.
    """

    name: str
    kind: type[SequentialRecommender]
    config: Config


def find(
    model: str,
    variant: str | None,
    assignments: list[str],
    recipe: str = PAPER,
) -> Subject:
    """The subject that a name of `MODELS`, or "package.module:Class", stands for.

    Raises:
        UserError: if there is none, or it cannot follow the contract.
    """
    if is_own(model) and variant is not None:
        raise UserError("`--variant` is of registered models. Use --set.")
    if variant not in (None, defaults.RELEASED, defaults.NO_TIMES):
        raise UserError(
            f"`--variant` is {defaults.RELEASED} or {defaults.NO_TIMES}. "
            f"Received: {variant}"
        )
    config = defaults.get_config(model, "audit", recipe=recipe, variant=variant)
    kind = model_class(model, config.variant)
    config = with_arguments(config, assignments)
    config = with_settings(config, BUDGET)
    if config.variant == defaults.RELEASED:
        # As many rows as its code reads; three times the steps of the others.
        config = with_settings(config, {"batch_size": 42, "max_epochs": 3})
    departures = [variant, None if recipe == PAPER else recipe]
    said = ", ".join(name for name in departures if name)
    name = f"{model} ({said})" if said else model
    return Subject(name, kind, config)
