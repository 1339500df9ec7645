"""Audits of models: what to build, how it is trained, and all checks in turn."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow import keras

from data.pipeline import NumpyBatch, gather_histories
from data.prepared import PreparedData
from experiments import configs, runner, sentinels, training, worlds
from experiments.models import MODELS, model_class
from experiments.sentinels import LEAK, NOT_APPLICABLE, Finding, Scorer
from mgnm_tf.batch import Batch, TrainEvents
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
# Rows and candidates of the batch whose scores are compared; lists whose ranks are.
_ROWS, _CANDIDATES, _LISTS = 16, 12, 150
_MORE_PADDING = 3

NOT_REPEATABLE = Finding(
    NOT_APPLICABLE, reason="the same batch never has the same scores"
)


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
    config: configs.Config


@dataclasses.dataclass(frozen=True)
class Audit:
    """What all checks found of one model.

    Attributes:
        name: of the subject.
        arguments: of its constructor, beyond the shared ones.
        findings: by a name of `sentinels.CHECKS`, in that order.
        planted: GAUC over the users with planted interests.
        planted_bound: how far from 0.5 chance could have put it.
        seconds: that it took.
    """

    name: str
    arguments: dict[str, Any]
    findings: dict[str, Finding]
    planted: float
    planted_bound: float
    seconds: float

    @property
    def leaks(self) -> list[str]:
        return [name for name, found in self.findings.items() if found.verdict == LEAK]

    @property
    def has_learned(self) -> bool:
        """Without it, a check that compares scores has little to compare."""
        return self.planted > 0.5 + self.planted_bound


@dataclasses.dataclass(frozen=True)
class Grounds:
    """The data of an audit, one for all models.

    Attributes:
        world: what is learned and ranked.
        later: with other items from the validation targets on.
        tested: with other test events.
        folder: to train in.
    """

    world: worlds.World
    later: PreparedData
    tested: PreparedData
    folder: Path


@contextmanager
def grounds(seed: int) -> Iterator[Grounds]:
    """Makes the data in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="audit-") as name:
        folder = Path(name)
        world = worlds.world(folder, seed)
        yield Grounds(
            world=world,
            later=worlds.rewritten(world.data, "valid", folder / "later", True),
            tested=worlds.rewritten(world.data, "test", folder / "tested"),
            folder=folder,
        )


def find(model: str, variant: str | None, assignments: list[str]) -> Subject:
    """The subject that a name of `MODELS`, or "package.module:Class", stands for.

    Raises:
        ValueError: if there is none, or it cannot follow the contract.
    """
    if model in MODELS:
        if variant not in (None, configs.RELEASED, configs.NO_TIMES):
            raise ValueError(
                f"`--variant` is {configs.RELEASED} or {configs.NO_TIMES}. "
                f"Received: {variant}"
            )
        config = configs.get_config(model, "audit", variant=variant)
        kind: Any = model_class(model, config.variant)
    elif ":" in model:
        if variant is not None:
            raise ValueError("`--variant` is of registered models. Use --set.")
        config = configs.Config(model=model, arguments={})
        kind = _own_class(model)
    else:
        raise ValueError(
            f"There is no model {model}. Registered are {', '.join(sorted(MODELS))}; "
            "`all` audits these, and package.module:Class a class of your own."
        )
    config = configs.with_arguments(config, assignments)
    config = configs.with_settings(config, BUDGET)
    if config.variant == configs.RELEASED:
        # As many rows as its code reads; three times the steps of the others.
        config = configs.with_settings(config, {"batch_size": 42, "max_epochs": 3})
    name = model if variant is None else f"{model} ({variant})"
    return Subject(name, kind, config)


def _own_class(path: str) -> Callable[..., SequentialRecommender]:
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        logging.debug("%s", module_name, exc_info=True)
        raise ValueError(
            f"The module {module_name} cannot be imported: {_first_line(error)}"
        ) from error
    kind = getattr(module, name, None)
    if not isinstance(kind, type):
        known = sorted(key for key, value in vars(module).items() if _scores(value))
        raise ValueError(
            f"{module_name} has no class {name}; models in it: {', '.join(known)}."
            if known
            else f"{module_name} has no class {name}, nor any model."
        )
    if not _scores(kind):
        raise ValueError(
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


def audit(subject: Subject, ground: Grounds, seed: int) -> Audit:
    """Trains a model twice and runs all checks.

    Raises:
        ValueError: if it cannot be built, called or trained.
        KeyboardInterrupt: on Ctrl-C.
    """
    started = time.perf_counter()
    try:
        with _in_a_sentence(f"{subject.name} cannot be audited"):
            scorer = trained(subject, ground, ground.world.data, seed)
            found = findings(scorer, ground, subject.config.max_history, seed)
            if NOT_REPEATABLE not in found.values():
                found["test events"] = test_events(subject, scorer, ground, seed)
            planted, bound = _planted(scorer, ground.world)
    except training.Interrupted as stop:
        raise KeyboardInterrupt from stop
    return Audit(
        name=subject.name,
        arguments=subject.config.arguments,
        findings={name: found[name] for name in sentinels.CHECKS},
        planted=planted,
        planted_bound=bound,
        seconds=round(time.perf_counter() - started, 1),
    )


def findings(
    scorer: Scorer, ground: Grounds, max_history: int, seed: int
) -> dict[str, Finding]:
    """All checks but "test events", which trains; or why most have no sense."""
    world = ground.world
    tests = world.data.instances["test"]
    own = sentinels.lists_of_a_kind(world, "test")
    noise = world.is_noise(tests)
    rng = np.random.default_rng(seed)
    batch = comparison_batch(world, max_history)
    found = {
        "noise": sentinels.chance(scorer, tests[noise], own[noise]),
        "random targets": sentinels.chance(scorer, tests, sentinels.shuffled(own, rng)),
        "repeated call": sentinels.repeated(scorer, scorer.again, batch),
    }
    if sentinels.change(scorer(batch), scorer(batch)) > sentinels.SCORE_BOUND:
        return {**dict.fromkeys(sentinels.CHECKS, NOT_REPEATABLE), **found}
    for name in sentinels.COMPARISONS:
        found[name] = sentinels.compare(name, scorer, batch)
    rows = np.linspace(0, len(tests) - 1, _LISTS).astype(int)
    return {
        **found,
        "encode": sentinels.encoded(scorer.encoded, scorer, batch),
        "ranks": sentinels.ranks(scorer, "test", rows),
        "later events": sentinels.later_events(
            scorer, world.data, ground.later, "valid", rows
        ),
    }


def test_events(
    subject: Subject, scorer: Scorer, ground: Grounds, seed: int
) -> Finding:
    """Whether training beside other test events ends elsewhere than `scorer`."""
    batch = comparison_batch(ground.world, subject.config.max_history)
    expected = scorer(batch)
    found = trained(subject, ground, ground.tested, seed)(batch)
    difference = sentinels.change(found, expected)
    if difference > 0.0:
        repeat = trained(subject, ground, ground.world.data, seed)(batch)
        if sentinels.change(repeat, expected) > 0.0:
            reason = "two trainings with the same seed and data differ"
            return Finding(NOT_APPLICABLE, reason=reason)
    return Finding.of(difference, bound=0.0)


def _planted(scorer: Scorer, world: worlds.World) -> tuple[float, float]:
    tests = world.data.instances["test"]
    rows = ~world.is_noise(tests)
    own = sentinels.lists_of_a_kind(world, "test")
    return sentinels.gauc_of(scorer, tests[rows], own[rows])


def trained(subject: Subject, ground: Grounds, data: PreparedData, seed: int) -> Scorer:
    """A model trained, or only adapted where it has nothing to train."""
    config = subject.config
    keras.backend.clear_session()
    runner.set_up_tensorflow(config, seed)
    with _in_a_sentence(f"{subject.name} cannot be built"):
        model = runner.build_model(config, data, seed, kind=subject.kind)
    ranker = runner.make_ranker(model, data, config)
    batch = comparison_batch(ground.world, config.max_history)
    _check_scores(subject.name, ranker.score(batch), batch)
    if model.trainable_variables:
        with tempfile.TemporaryDirectory(dir=ground.folder) as folder:
            training.train(model, data, config, ranker, Path(folder), seed)
    return Scorer(model, ranker)


def _check_scores(name: str, scores: np.ndarray, batch: NumpyBatch) -> None:
    shape = batch["candidates"].shape
    if scores.shape != shape or scores.dtype != np.float32:
        raise ValueError(
            f"{name} does not follow the contract: of {shape[0]} histories with "
            f"{shape[1]} candidates each it makes {scores.dtype} {[*scores.shape]}, "
            f"not float32 {[*shape]}."
        )


def comparison_batch(world: worlds.World, max_history: int) -> NumpyBatch:
    """Test instances of both kinds of users, with room for more padding.

    The target stands first among the candidates, as in training and in ranking.
    """
    instances = world.data.instances["test"]
    short = np.flatnonzero(instances[:, 1] <= max_history - _MORE_PADDING)
    rows = short[np.linspace(0, len(short) - 1, _ROWS).astype(int)]
    batch = gather_histories(world.data, instances[rows], max_history)
    batch["candidates"] = sentinels.lists_of_all(world.data, "test")[rows, :_CANDIDATES]
    return batch


@contextmanager
def _in_a_sentence(what: str) -> Iterator[None]:
    """Whatever a class of the user's raises; `--verbosity=1` logs where."""
    try:
        yield
    except training.Interrupted:
        raise
    except _Said:
        raise
    except Exception as error:
        logging.debug("%s", what, exc_info=True)
        raise _Said(f"{what}: {_first_line(error)}") from error


class _Said(ValueError):
    """An error that is one sentence already."""


def _first_line(error: Exception) -> str:
    """The error's text; Keras and TensorFlow add pages to it."""
    text = str(error).strip().split("\n")[0]
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
