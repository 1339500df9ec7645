"""Classes of others, named as package.module:Class, beside the registered models."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from data.errors import UserError
from mgnm_tf.batch import Batch, TrainEvents
from mgnm_tf.keras2 import is_of_keras3, keras
from mgnm_tf.recommender import SequentialRecommender

# What the harness reads of a class, which an adopted scorer may state too.
_STATED = (
    *("shares_items", "needs_times", "needs_events", "fits_xla", "leaky"),
    *("stateful_scoring", "recipe_settings", "search_space"),
)

_REMEDY = (
    "This project trains Keras 2: write `from mgnm_tf.keras2 import keras` in place of "
    "your file's import of keras."
)


@functools.cache
def find(path: str) -> type[SequentialRecommender]:
    """The class that "package.module:Class" names, found from the current folder.

    A Keras model or layer that has `encode` and `score` and is no
    `SequentialRecommender` is adopted: the class returned is one.

    Raises:
        UserError: if there is none, or it cannot follow the contract.
    """
    module_name, _, name = path.partition(":")
    module = _imported(module_name)
    kind = getattr(module, name, None)
    if not isinstance(kind, type):
        known = sorted(key for key, value in vars(module).items() if _scores(value))
        raise UserError(
            f"{module_name} has no class {name}; models in it: {', '.join(known)}."
            if known
            else f"{module_name} has no class {name}, nor any model."
        )
    if is_of_keras3(kind, "Layer"):
        raise UserError(f"{path} is a layer of Keras 3. {_REMEDY}")
    if not _scores(kind):
        raise UserError(
            f"{path} does not follow the contract: it must be a Keras model or layer "
            "with the methods encode(batch, training) and score(state, candidates)."
        )
    if issubclass(kind, SequentialRecommender):
        return kind
    stated = {key: getattr(kind, key) for key in _STATED if hasattr(kind, key)}
    return type(name, (Adopted,), {**stated, "adopts": kind})


def check_layers(model: SequentialRecommender, path: str) -> None:
    """Refuses layers of Keras 3, whose weights our optimizer cannot train.

    Raises:
        UserError: naming the first that an attribute of the model or of an adopted
            scorer holds.
    """
    for holder in (model, getattr(model, "scorer", model)):
        for name, value in vars(holder).items():
            if is_of_keras3(type(value), "Layer"):
                raise UserError(f"{path}: {name} is a layer of Keras 3. {_REMEDY}")


def check_scores(path: str, scores: tf.Tensor) -> None:
    """Refuses scores of two histories with three candidates that are not [2, 3].

    Raises:
        UserError: if they are of another shape, or no float32.
    """
    found = f"{scores.dtype.name} {[*scores.shape]}"
    if found != "float32 [2, 3]":
        raise UserError(
            f"{path} does not follow the contract: of 2 histories with 3 candidates "
            f"each it makes {found}, not float32 [2, 3]."
        )


def settings(path: str, recipe: str) -> Mapping[str, Any]:
    """What a class states as `recipe_settings` of a recipe: for it, beside the shared.

    Raises:
        UserError: if there is no such class.
    """
    return getattr(find(path), "recipe_settings", {}).get(recipe, {})


def search_space(path: str) -> Mapping[str, list[Any]]:
    """What a class states as `search_space`: values by argument, beside the shared.

    Raises:
        UserError: if there is no such class.
    """
    return getattr(find(path), "search_space", {})


def takes(path: str, argument: str) -> bool:
    """Whether the class's constructor, or one that it passes on to, has an argument.

    Raises:
        UserError: if there is no such class.
    """
    return argument in arguments(find(path))


def source_sha256(path: str) -> str:
    """The SHA-256 of the file that a class is written in, its package not included.

    Raises:
        UserError: if there is no such class.
    """
    kind = written_class(find(path))
    return hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()


def written_class(kind: type[Any]) -> type[Any]:
    """The class that somebody wrote: of an adopted scorer not the one around it."""
    return getattr(kind, "adopts", kind)


_POSITIONAL, _KEYWORD = (
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.VAR_KEYWORD,
)


def arguments(kind: type[Any]) -> dict[str, Any]:
    """Annotations of a constructor's arguments, and of those that it passes to bases.

    The bases up to Keras's own count, which have none that configures a model.
    """
    found: dict[str, Any] = {}
    for base in inspect.getmro(written_class(kind)):
        if base in (keras.Model, keras.layers.Layer):
            break
        parameters = inspect.signature(base).parameters.values()
        own = {
            p.name: p.annotation
            for p in parameters
            if p.kind not in (_POSITIONAL, _KEYWORD)
        }
        found = {**own, **found}
        if _KEYWORD not in [p.kind for p in parameters]:
            break
    return found


def _imported(module_name: str) -> Any:
    here = str(Path.cwd())
    if not {"", here} & {*sys.path}:
        sys.path.append(here)  # An installed command's path begins elsewhere.
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        logging.debug("%s", module_name, exc_info=True)
        raise UserError(
            f"The module {module_name} cannot be imported: {first_line(error)}"
        ) from error


def _scores(kind: Any) -> bool:
    return (
        isinstance(kind, type)
        and issubclass(kind, keras.layers.Layer)
        and callable(getattr(kind, "encode", None))
        and callable(getattr(kind, "score", None))
    )


class Adopted(SequentialRecommender):
    """A scorer that is no `SequentialRecommender`, trained on the shared objective.

    `find` makes a subclass of it for each scorer, whose class `adopts` is. `encode`,
    `score` and a call on a batch are passed on to the scorer, and `adapt`, if it has
    that.

    Args:
        num_users, num_items, max_history, arguments: of the scorer's constructor.
        l2: not used. Which rows of its tables a batch touches is not known.
    """

    adopts: type[Any]

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int,
        l2: float = 0.0,
        **arguments: Any,
    ) -> None:
        super().__init__(l2=0.0)
        del l2
        self.scorer = self.adopts(
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
        if "shared_negatives" in batch:
            return super().call(batch, training=training)
        return self.scorer(batch, training=training)

    def adapt(self, train: TrainEvents) -> None:
        if hasattr(self.scorer, "adapt"):
            self.scorer.adapt(train)


def first_line(error: Exception) -> str:
    """The error's text; Keras and TensorFlow add pages to it."""
    text = str(error).strip().split("\n")[0]
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
