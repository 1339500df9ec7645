"""The steps from the released code's computation to the paper's."""

from __future__ import annotations

import dataclasses

from baselines.released.switches import SWITCHES
from data.errors import UserError
from harness import defaults
from harness.config import Config

# Beside the model's own switches: how it is trained, selected and evaluated.
PROTOCOL_STEPS: dict[str, tuple[str, str]] = {
    "grouping": (
        "all test instances of a user in one list",
        "one list a test instance",
    ),
    "recipe": (
        "42 positives a batch, Adam at 1e-3",
        "256 positives a batch, 2e-2 to zero along a cosine, L2 of 2e-2",
    ),
    "selection": (
        "the best check by GAUC against 5 negatives, on the test instances",
        "by NDCG@5 against 1,000, on validation instances",
    ),
}


# Those with a training of their own. Grouping reads the first run otherwise, and comes
# first, so that all later lines hold the same lists; selection reads the last run.
TRAINED_STEPS = ("released", *SWITCHES, "recipe")


STEPS = ("released", "grouping", *TRAINED_STEPS[1:], "selection")


@dataclasses.dataclass(frozen=True)
class Budget:
    """What bounds the work of each run.

    Attributes:
        epochs: how many passes over the training instances each step makes.
        train_instances: a fixed sample of them at most; None trains on all.
        max_history: T, how many of the newest events the model is shown.
        checks: evenly spaced; the best of them is evaluated.
        instances: of test, and of validation, at least this many are ranked: all those
            of users drawn with a fixed seed.
    """

    epochs: int = 1
    train_instances: int | None = None
    max_history: int = 20
    checks: int = 4
    instances: int = 300


def chosen_steps(names: list[str] | None) -> list[str]:
    """The steps of these names that need a training, in order; None is all.

    Raises:
        UserError: for a name that is none of them.
    """
    unknown = sorted({*(names or [])} - {*TRAINED_STEPS})
    if unknown:
        raise UserError(f"`--steps`: no {unknown}; there are {[*TRAINED_STEPS]}.")
    return [step for step in TRAINED_STEPS if names is None or step in names]


def step_config(step: str, dataset: str, budget: Budget) -> Config:
    """The configuration of a step: all switches up to it at their paper value."""
    variant = None if step == "recipe" else defaults.RELEASED
    config = defaults.get_config(
        "mgnm",
        dataset,
        tuned=False,
        variant=variant,
        max_epochs=budget.epochs,
        max_history=budget.max_history,
    )
    at_paper = [*SWITCHES][: TRAINED_STEPS.index(step)]
    return dataclasses.replace(config, arguments={"at_paper": at_paper})


def explain(step: str) -> str:
    """What a step turns, from its released value to the paper's."""
    if step == "released":
        return "everything as released, in its own row order"
    was, now = {**SWITCHES, **PROTOCOL_STEPS}[step]
    return f"{was} → {now}"
