"""Every model of the comparison, by the name that flags and passports use."""

from __future__ import annotations

from baselines import BASELINES
from mgnm_tf.model import MGNM
from mgnm_tf.recommender import SequentialRecommender

MODELS: dict[str, type[SequentialRecommender]] = {"mgnm": MGNM, **BASELINES}
