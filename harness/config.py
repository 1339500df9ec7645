"""The configuration of one run. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from data.errors import UserError

# Candidate sets are drawn once for a table: every model and seed ranks the same.
CANDIDATE_SEED = 2022


# How models are trained: "paper" with the paper's objective, size and budget, and with
# rates and penalties that validation chose, which are not those that it prints;
# "strong" as the field trains today. docs/recipe.md describes both.
PAPER, STRONG = RECIPES = ("paper", "strong")


# Of `mgnm_tf.objectives`, which `--help` must not import: it imports TensorFlow.
OBJECTIVES = ("cross_entropy", "sampled_softmax", "gbce")

SCHEDULES = ("cosine", "constant")


STRATEGIES = ("none", "mirrored", "multi_worker")


def is_own(model: str) -> bool:
    """Whether a name is of a class of one's own, "package.module:Class"."""
    return ":" in model


def file_name(model: str) -> str:
    """The model's name as a part of a path; no two models share one."""
    return model.replace(":", ".")


@dataclasses.dataclass(frozen=True)
class Config:
    """One run, but for its data and its seed.

    Attributes:
        model: which model is trained: a key of `MODEL_SETTINGS`, or a class of one's
            own as "package.module:Class".
        arguments: of the model's constructor, beyond vocabularies and history.
        recipe: of `RECIPES`; runs of several never share a folder or a table.
        variant: "paper", or the name under which departures are kept apart.
        max_history: m; older events are not shown to the model.
        batch_size: how many training instances (positives) make a batch.
        num_negatives: in training; of each positive by itself under the objective
            "cross_entropy", shared by the positives of a batch under the others.
        objective: the loss that training minimises: a name of `OBJECTIVES`.
        calibration: t of the objective "gbce".
        prior_shift: whether ranking adds what `harness.prior_shift` knows of recent
            popularity; without times it changes nothing.
        learning_rate: the learning rate of LazyAdam at the first step.
        schedule: of the learning rate; "cosine" takes it to zero along half a cosine
            over the budget, "constant" keeps it.
        l2: weight of the L2 penalty, the paper's theta_2, in the sum of Eq. 16; the
            paper prints 1e-5.
        max_epochs: the budget: training stops after so many epochs at the latest.
        patience: epochs without a better validation metric before stopping.
        selection_metric: of validation, under uni1000; the best epoch is kept.
        valid_instances: a seeded sample of validation instances ranked after each
            epoch; None ranks all.
        test_instances: a seeded sample of test instances that the final metrics are
            of, the same for all models; None, of every profile but the quick one,
            ranks all.
        candidate_seed: the seed that the candidate sets of a protocol are drawn with.
        mixed_precision: float16 compute, float32 weights; for GPUs.
        jit_compile: whether XLA compiles the train step.
        deterministic: whether TensorFlow takes only kernels that give the same bits
            each time; matters on GPUs.
        strategy: of `tf.distribute`; a batch is shared among the replicas.
        init_from: folder of a finished run whose weights training starts from, matched
            by raw ids.
    """

    model: str
    arguments: dict[str, Any]
    recipe: str = PAPER
    variant: str = "paper"
    max_history: int = 100
    batch_size: int = 256
    num_negatives: int = 5
    objective: str = "cross_entropy"
    calibration: float = 0.75
    prior_shift: bool = False
    learning_rate: float = 2e-2
    schedule: str = "cosine"
    l2: float = 2e-2
    max_epochs: int = 30
    patience: int = 8
    selection_metric: str = "ndcg@5"
    valid_instances: int | None = 5_000
    test_instances: int | None = None
    candidate_seed: int = CANDIDATE_SEED
    mixed_precision: bool = False
    jit_compile: bool = False
    deterministic: bool = False
    strategy: str = "none"
    init_from: str | None = None

    @property
    def share_negatives(self) -> bool:
        """Whether a batch has one set of negatives for all its positives."""
        return self.objective != "cross_entropy"


def with_settings(config: Config, settings: dict[str, Any]) -> Config:
    """The configuration with these fields and constructor arguments in place."""
    fields = {field.name for field in dataclasses.fields(Config)}
    changes = {key: value for key, value in settings.items() if key in fields}
    arguments = {key: value for key, value in settings.items() if key not in fields}
    return dataclasses.replace(
        config, **changes, arguments={**config.arguments, **arguments}
    )


def with_arguments(config: Config, assignments: list[str]) -> Config:
    """Adds constructor arguments written as "name=value".

    Raises:
        UserError: if one is not of that form.
    """
    arguments = dict(config.arguments)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not (name and equals):
            raise UserError(f"`--set` takes name=value. Received: {assignment}")
        arguments[name] = _parse(text)
    return dataclasses.replace(config, arguments=arguments)


def _parse(text: str) -> Any:
    """A JSON value (2, 0.1, true) if it is one, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
