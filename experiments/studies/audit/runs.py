"""Audits of models: each trained twice, and all checks in turn."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from data import planted as worlds
from data.errors import UserError
from data.pipeline import NumpyBatch, gather_histories
from data.prepared import PreparedData
from experiments.studies.audit import checks, lists
from experiments.studies.audit.checks import Scorer
from experiments.studies.audit.findings import (
    CHECKS,
    LEAK,
    NOT_APPLICABLE,
    SCORE_BOUND,
    Finding,
)
from experiments.studies.audit.subjects import Subject
from harness import build, own_model, training
from harness.config import is_own
from mgnm_tf.keras2 import keras

# Rows and candidates of the batch whose scores are compared; lists whose ranks are.
_ROWS, _CANDIDATES, _LISTS = 16, 12, 150

NOT_REPEATABLE = Finding(
    NOT_APPLICABLE, reason="the same batch never has the same scores"
)


@dataclasses.dataclass(frozen=True)
class Audit:
    """What all checks found of one model.

    Attributes:
        name: the name of the model that was audited, as tables show it.
        arguments: of its constructor, beyond the shared ones.
        findings: by a name of `sentinels.CHECKS`, in that order.
        planted: GAUC over the users with planted interests.
        planted_bound: how far from 0.5 chance could have put it.
        seconds: how long the whole audit took, its trainings included.
    """

    name: str
    arguments: dict[str, Any]
    findings: dict[str, Finding]
    planted: float
    planted_bound: float
    seconds: float

    @property
    def leaks(self) -> list[str]:
        return [
            name for name, finding in self.findings.items() if finding.verdict == LEAK
        ]

    @property
    def has_learned(self) -> bool:
        """Without it, a check that compares scores has little to compare."""
        return self.planted > 0.5 + self.planted_bound


@dataclasses.dataclass(frozen=True)
class Grounds:
    """The data of an audit, one for all models.

    Attributes:
        world: the made data that models are trained on and ranked on.
        later: with other items from the validation targets on.
        tested: the same data with other test events; training must not notice.
        folder: the temporary folder that trainings write to.
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


def audit(subject: Subject, ground: Grounds, seed: int) -> Audit:
    """Trains a model twice and runs all checks.

    Raises:
        UserError: if it cannot be built, called or trained.
        KeyboardInterrupt: on Ctrl-C.
    """
    started = time.perf_counter()
    with _in_a_sentence(subject, "cannot be audited"):
        scorer = trained(subject, ground, ground.world.data, seed)
        by_check = findings(scorer, ground, subject.config.max_history, seed)
        if NOT_REPEATABLE not in by_check.values():
            by_check["test events"] = trained_again(subject, scorer, ground, seed)
        planted, bound = _planted(scorer, ground.world)
    return Audit(
        name=subject.name,
        arguments=subject.config.arguments,
        findings={name: by_check[name] for name in CHECKS},
        planted=planted,
        planted_bound=bound,
        seconds=round(time.perf_counter() - started, 1),
    )


def findings(
    scorer: Scorer, ground: Grounds, max_history: int, seed: int
) -> dict[str, Finding]:
    """Makes all checks but "test events", which trains, or says why most mean nothing.

    They mean nothing for a model whose scores change from one call to the next.
    """
    world = ground.world
    tests = world.data.instances["test"]
    own = lists.lists_of_a_kind(world, "test")
    noise = world.is_noise(tests)
    rng = np.random.default_rng(seed)
    batch = comparison_batch(world, max_history)
    by_check = {
        "noise": checks.chance(scorer, tests[noise], own[noise]),
        "random targets": checks.chance(scorer, tests, lists.shuffled(own, rng)),
        "repeated call": checks.repeated(scorer, scorer.again, batch),
    }
    if checks.change(scorer(batch), scorer(batch)) > SCORE_BOUND:
        return {**dict.fromkeys(CHECKS, NOT_REPEATABLE), **by_check}
    for name in checks.COMPARISONS:
        by_check[name] = checks.compare(name, scorer, batch)
    rows = np.linspace(0, len(tests) - 1, _LISTS).astype(int)
    return {
        **by_check,
        "encode": checks.encoded(scorer.encoded, scorer, batch),
        "ranks": checks.ranks(scorer, "test", rows),
        "later events": checks.later_events(
            scorer, world.data, ground.later, "valid", rows
        ),
    }


def trained_again(
    subject: Subject, scorer: Scorer, ground: Grounds, seed: int
) -> Finding:
    """Whether training beside other test events ends elsewhere than `scorer`."""
    batch = comparison_batch(ground.world, subject.config.max_history)
    expected = scorer(batch)
    scores = trained(subject, ground, ground.tested, seed)(batch)
    difference = checks.change(scores, expected)
    if difference > 0.0:
        repeat = trained(subject, ground, ground.world.data, seed)(batch)
        if checks.change(repeat, expected) > 0.0:
            reason = "two trainings with the same seed and data differ"
            return Finding(NOT_APPLICABLE, reason=reason)
    return Finding.of(difference, bound=0.0)


def _planted(scorer: Scorer, world: worlds.World) -> tuple[float, float]:
    tests = world.data.instances["test"]
    rows = ~world.is_noise(tests)
    own = lists.lists_of_a_kind(world, "test")
    return checks.gauc_of(scorer, tests[rows], own[rows])


def trained(subject: Subject, ground: Grounds, data: PreparedData, seed: int) -> Scorer:
    """A model trained, or only adapted where it has nothing to train."""
    config = subject.config
    keras.backend.clear_session()
    build.set_up_tensorflow(config, seed)
    with _in_a_sentence(subject, "cannot be built"):
        model = build.build_model(config, data, seed, kind=subject.kind)
    ranker = build.make_ranker(model, data, config)
    if model.trainable_variables:
        with tempfile.TemporaryDirectory(dir=ground.folder) as folder:
            training.train(model, data, config, ranker, Path(folder), seed)
    return Scorer(model, ranker)


def comparison_batch(world: worlds.World, max_history: int) -> NumpyBatch:
    """Test instances of both kinds of users, with room for more padding.

    The target stands first among the candidates, as in training and in ranking.
    """
    instances = world.data.instances["test"]
    short = np.flatnonzero(instances[:, 1] <= max_history - checks.MORE_PADDING)
    rows = short[np.linspace(0, len(short) - 1, _ROWS).astype(int)]
    batch = gather_histories(world.data, instances[rows], max_history)
    batch["candidates"] = lists.lists_of_all(world.data, "test")[rows, :_CANDIDATES]
    return batch


@contextmanager
def _in_a_sentence(subject: Subject, what: str) -> Iterator[None]:
    """Whatever a class of the user's raises; `--verbosity=1` logs where.

    What a registered model raises is a fault of ours, and shows where it came from.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not is_own(subject.config.model):
            raise
        logging.debug("%s %s", subject.name, what, exc_info=True)
        first_line = own_model.first_line(error)
        raise UserError(f"{subject.name} {what}: {first_line}") from error
