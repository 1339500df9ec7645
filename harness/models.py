"""Every model of the comparison, by the name that flags and passports use."""

from __future__ import annotations

from typing import Any

from baselines import BASELINES
from baselines.released.model import ReleasedMGNM
from data.errors import UserError
from harness import own_model
from harness.config import Config, is_own
from harness.defaults import RELEASED
from harness.prior_shift import PriorShift
from mgnm_tf.model import MGNM
from mgnm_tf.recommender import SequentialRecommender

MODELS: dict[str, type[SequentialRecommender]] = {"mgnm": MGNM, **BASELINES}


def model_class(model: str, variant: str) -> type[SequentialRecommender]:
    """What a configuration builds; the released computation is no model of `MODELS`.

    Raises:
        UserError: if it is of a class of one's own that is not there, or no model.
    """
    if variant == RELEASED:
        return ReleasedMGNM
    if is_own(model):
        return own_model.find(model)
    return MODELS[model]


def construct(
    kind: type[SequentialRecommender],
    config: Config,
    num_users: int,
    num_items: int,
    seed: int,
) -> SequentialRecommender:
    """A model as its configuration says, whose weights may not be made yet.

    Args:
        kind: its class.
        config: the configuration.
        num_users: size of the user vocabulary, the unknown user included.
        num_items: size of the item vocabulary, padding included.
        seed: of what the model draws by itself.

    Raises:
        UserError: if the class does not take the configuration.
    """
    arguments = {**config.arguments}
    known = own_model.arguments(kind)
    _check_names(config.model, {*known}, arguments)
    for name, value in arguments.items():
        _check_value(config.model, name, value, known.get(name))
    if "seed" in known:
        arguments["seed"] = seed
    try:
        model = kind(
            num_users=num_users,
            num_items=num_items,
            max_history=config.max_history,
            l2=config.l2,
            **arguments,
        )
    except (TypeError, ValueError) as error:
        if not config.arguments:
            raise
        raise UserError(
            f"{config.model} does not take {config.arguments}: {error}"
        ) from error
    if config.prior_shift:
        model.prior_shift = PriorShift(num_items)
    return model


def _check_names(model: str, names: set[str], arguments: dict[str, Any]) -> None:
    """Refuses names that the constructor, its bases included, does not have.

    Raises:
        UserError: with the names that there are.
    """
    known = names | {"l2_scope"}
    known -= {"num_users", "num_items", "max_history", "l2", "seed", "self"}
    unknown = sorted(arguments.keys() - known)
    if unknown:
        raise UserError(
            f"{model} has no setting {', '.join(unknown)} (`--set`). It has "
            f"{', '.join(sorted(known))}."
        )


# Types by the names that annotations have, and what to call them.
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "a word"),
}


def _check_value(model: str, name: str, value: Any, annotation: Any) -> None:
    """Refuses a value of another type than the argument's annotation, if it is simple.

    Raises:
        UserError: if it is.
    """
    # Text where annotations are postponed, else a type.
    text = getattr(annotation, "__name__", str(annotation))
    wanted = {part.strip() for part in text.split("|")}
    named = sorted(wanted - {"None"})
    if not _TYPES.keys() >= {*named} or (value is None and "None" in wanted):
        return
    for part in named:
        # To Python true and false are numbers.
        if isinstance(value, _TYPES[part][0]) and (
            part == "bool" or not isinstance(value, bool)
        ):
            return
    said = " or ".join(_TYPES[part][1] for part in named)
    raise UserError(f"{model}: {name} must be {said} (`--set`). Received: {value}")
