"""Models to audit: registered ones, and classes that others wrote."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from absl import logging

from data.errors import UserError
from harness import defaults
from harness.config import PAPER, STRONG, Config, with_arguments, with_settings
from harness.models import MODELS, model_class
from mgnm_tf.batch import Batch, TrainEvents
from mgnm_tf.keras2 import keras
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
        name: of tables.
        kind: what `runner.build_model` calls.
        config: how it is trained.
    """

    name: str
    kind: Callable[..., SequentialRecommender]
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
    if model in MODELS:
        if variant not in (None, defaults.RELEASED, defaults.NO_TIMES):
            raise UserError(
                f"`--variant` is {defaults.RELEASED} or {defaults.NO_TIMES}. "
                f"Received: {variant}"
            )
        config = defaults.get_config(model, "audit", recipe=recipe, variant=variant)
        kind: Any = model_class(model, config.variant)
    elif ":" in model:
        if variant is not None:
            raise UserError("`--variant` is of registered models. Use --set.")
        config = Config(model=model, arguments={}, recipe=recipe)
        if recipe == STRONG:
            fields = {**defaults.STRONG_SETTINGS}
            del fields["embedding_dim"]  # A class of one's own need not have it.
            config = with_settings(config, fields)
        kind = _own_class(model)
    else:
        raise UserError(
            f"There is no model {model}. Registered are {', '.join(sorted(MODELS))}; "
            "`all` audits these, and package.module:Class a class of your own."
        )
    config = with_arguments(config, assignments)
    config = with_settings(config, BUDGET)
    if config.variant == defaults.RELEASED:
        # As many rows as its code reads; three times the steps of the others.
        config = with_settings(config, {"batch_size": 42, "max_epochs": 3})
    departures = [variant, None if recipe == PAPER else recipe]
    said = ", ".join(name for name in departures if name)
    name = f"{model} ({said})" if said else model
    return Subject(name, kind, config)


def _own_class(path: str) -> Callable[..., SequentialRecommender]:
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        logging.debug("%s", module_name, exc_info=True)
        raise UserError(
            f"The module {module_name} cannot be imported: {first_line(error)}"
        ) from error
    kind = getattr(module, name, None)
    if not isinstance(kind, type):
        known = sorted(key for key, value in vars(module).items() if _scores(value))
        raise UserError(
            f"{module_name} has no class {name}; models in it: {', '.join(known)}."
            if known
            else f"{module_name} has no class {name}, nor any model."
        )
    if not _scores(kind):
        raise UserError(
            f"{path} does not follow the contract: it must be a Keras model or layer "
            "with the methods encode(batch, training) and score(state, candidates)."
        )
    if issubclass(kind, SequentialRecommender):
        return kind
    return functools.partial(Adopted, kind)


def _scores(kind: Any) -> bool:
    return (
        isinstance(kind, type)
        and issubclass(kind, keras.layers.Layer)
        and callable(getattr(kind, "encode", None))
        and callable(getattr(kind, "score", None))
    )


class Adopted(SequentialRecommender):
    """A scorer that is no `SequentialRecommender`, trained on the shared objective.

    Args:
        kind: its class; `encode`, `score` and a call on a batch are passed on to it,
            and `adapt`, if it has that.
        num_users, num_items, max_history, arguments: of its constructor.
        l2: not used. Which rows of its tables a batch touches is not known.
    """

    def __init__(
        self,
        kind: Callable[..., Any],
        num_users: int,
        num_items: int,
        max_history: int,
        l2: float = 0.0,
        **arguments: Any,
    ) -> None:
        super().__init__(l2=0.0)
        del l2
        self.scorer = kind(
            num_users=num_users,
            num_items=num_items,
            max_history=max_history,
            **arguments,
        )

    def encode(self, batch: Batch, training: bool | None = None) -> Any:
        return self.scorer.encode(batch, training=training)

    def score(self, state: Any, candidates: tf.Tensor) -> tf.Tensor:
        return self.scorer.score(state, candidates)

    def call(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        return self.scorer(batch, training=training)

    def adapt(self, train: TrainEvents) -> None:
        if hasattr(self.scorer, "adapt"):
            self.scorer.adapt(train)


def first_line(error: Exception) -> str:
    """The error's text; Keras and TensorFlow add pages to it."""
    text = str(error).strip().split("\n")[0]
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
