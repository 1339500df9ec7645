"""What a finished run says of itself: a typed passport, and the folder it lies in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from data import atomic
from data.errors import UserError
from harness import provenance, run_folder, run_manifest
from harness.config import Config

if TYPE_CHECKING:  # Reports read passports without TensorFlow.
    from data.prepared import PreparedData
    from harness.rankings import Ranking
    from mgnm_tf.recommender import SequentialRecommender

COMPLETE = "complete"
# By metric: "gauc", "hit@5", ...
Metrics = dict[str, float]


class _Data(TypedDict):
    users: int
    items: int
    interactions: int
    train: int
    valid: int
    test: int
    sha256: str


class Data(_Data, total=False):
    """The prepared data; `train`, `valid` and `test` are counts of instances."""

    matches_table1: bool  # whether users and items are the paper's
    same_time_share: float | None  # of events; None where there are no times
    keeps_past: bool  # whether the past stays among the candidates
    source: str | None  # a file's name, or where the file was had
    log: dict[str, Any] | None  # what was read, dropped, repeated and odd


class Training(TypedDict, total=False):
    """What training took.

    `positives_per_s` and `first_step_s` are None for a model that only counts.
    `commits` are the code's commits: several where another commit went on with a
    stopped run. `tensorflow` has the versions of TensorFlow in the same way.
    """

    epochs: int
    max_epochs: int
    best_epoch: int
    steps: int
    seconds: float
    positives_per_s: float | None
    first_step_s: float | None
    stopped_because: str
    commits: list[str]
    tensorflow: list[str]
    parameters: int


class Evaluation(TypedDict, total=False):
    """What ranking the test instances took; by protocol under `protocols`."""

    seconds: float
    instances_per_s: float
    instances: int
    protocols: dict[str, Any]


class ByPart(TypedDict):
    """Metrics of validation under `uni1000`, and of the test.

    Those of the test are by protocol, grouping and metric.
    """

    valid: Metrics
    test: dict[str, dict[str, Metrics]]


class _Required(TypedDict):
    model: str
    variant: str
    dataset: str
    split: str
    seed: int
    status: str  # `COMPLETE`
    commit: str  # of the code that finished the run, "-dirty" if files differed
    versions: dict[str, str]
    machine: dict[str, Any]
    data: Data
    config: dict[str, Any]  # `Config`, and the rule of the split
    candidates: dict[str, int]  # the seed of the candidate sets
    training: Training
    evaluation: Evaluation
    peak_memory_mb: float
    metrics: ByPart


class Passport(_Required, total=False):
    """`passport.json`. The keys below came later: an old passport lacks them."""

    recipe: str
    leaky: bool
    replicas: int
    class_source: str  # SHA-256 of the file of a class of one's own
    init_from: dict[str, Any]  # where the first weights came from, `harness.warm_start`
    ties: dict[str, float]  # by protocol, what NDCG@5 gains if they go the model's way


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where its files are.
        passport: what it says.
    """

    folder: Path
    passport: Passport

    @property
    def seed(self) -> int:
        return self.passport["seed"]

    def test_metrics(
        self, protocol: str = "uni1000", grouping: str = "instance"
    ) -> Metrics:
        """What Table 2 shows, unless another protocol or grouping is asked for."""
        return self.passport["metrics"]["test"][protocol][grouping]


# Runs by the name of their model's folder, one a seed.
Runs = dict[str, list[Run]]


# What every reader of a passport needs.
_READ_BY_ALL = {"model", "dataset", "split", "seed", "status", "data", "metrics"}


def make(
    config: Config,
    data: PreparedData,
    seed: int,
    model: SequentialRecommender,
    trained: Training,
    valid: Metrics,
    rankings: Mapping[str, Ranking],
) -> Passport:
    """The passport of a run that has just been trained and ranked.

    Args:
        config: the run's configuration.
        data: the prepared data that it was trained on.
        seed: the run's seed.
        model: the model in the state in which it was ranked.
        trained: what training took.
        valid: the chosen epoch's validation metrics.
        rankings: of the test instances, by protocol.
    """
    import tensorflow as tf

    from harness.metrics import tie_gap
    from harness.rankings import summarise

    evaluation = {name: _took(ranking) for name, ranking in rankings.items()}
    counts = not model.trainable_variables  # Counts may tie.
    test = {
        name: summarise(ranking, may_tie=counts) for name, ranking in rankings.items()
    }
    own = {key: data.meta.get(key) for key in ("sha256", "log")}
    own["source"] = data.meta.get("source", {}).get("name")
    rule = {"split_rule": data.meta["split_rule"]}
    return {
        "model": config.model,
        "recipe": config.recipe,
        "variant": config.variant,
        "leaky": model.leaky,
        "dataset": data.name,
        "split": data.split,
        "seed": seed,
        "status": COMPLETE,
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "machine": provenance.describe(),
        "replicas": tf.distribute.get_strategy().num_replicas_in_sync,
        "data": cast(
            Data,
            {**data.meta["statistics"], **own, "keeps_past": data.keeps_past},
        ),
        "config": {**dataclasses.asdict(config), **rule},
        "candidates": {"seed": config.candidate_seed},
        "training": {**trained, "parameters": model.num_parameters()},
        "evaluation": {**evaluation["uni1000"], "protocols": evaluation},
        "peak_memory_mb": round(provenance.peak_memory_mb(), 1),
        "metrics": {"valid": valid, "test": test},
        "ties": {name: tie_gap(ranking.ranks) for name, ranking in rankings.items()},
    }


def untrained() -> Training:
    """What training took of a model that has nothing to train."""
    return {
        "epochs": 0,
        "max_epochs": 0,
        "best_epoch": 0,
        "steps": 0,
        "seconds": 0.0,
        "positives_per_s": None,
        "first_step_s": None,
        "stopped_because": "nothing to train: counted once over the training events",
    }


def _took(ranking: Ranking) -> Evaluation:
    count = len(ranking.instances)
    return {
        "seconds": round(ranking.seconds, 3),
        "instances_per_s": round(count / ranking.seconds, 1),
        "instances": count,
    }


def read(folder: Path) -> Run:
    """The finished run in a folder.

    Raises:
        UserError: if there is none, or its passport is damaged.
    """
    path = folder / run_folder.PASSPORT
    if not run_manifest.is_finished(folder):
        raise UserError(
            f"{folder} holds no finished run. Run `python -m experiments.train "
            f"... --run_dir={folder}` first."
        )
    run_manifest.check(folder, (run_folder.PASSPORT,))
    passport = run_folder.read_json(path)
    missing = sorted(_READ_BY_ALL - passport.keys())
    if missing:
        raise UserError(f"{path} is damaged: it lacks {', '.join(missing)}.")
    return Run(folder, cast(Passport, passport))


def is_refit(run: Run) -> bool:
    """Whether a run's model was trained on the events that would test it."""
    return "refit" in run.passport


def write(run: Run, path: Path | None = None) -> None:
    """Writes the passport into the run's folder, or to `path`, whole or not at all."""
    atomic.write_json(path or run.folder / run_folder.PASSPORT, run.passport)
