"""Every model of the comparison, by the name that flags and passports use."""

from __future__ import annotations

from baselines import BASELINES
from baselines.released.model import ReleasedMGNM
from harness import own_model
from harness.config import is_own
from harness.defaults import RELEASED
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
