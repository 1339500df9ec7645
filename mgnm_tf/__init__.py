"""MGNM (SIGIR 2022) in TensorFlow 2: layers, the model, the base of all models."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from mgnm_tf import checkout

__version__ = "0.1.0"

# Where each public name lives. Imported when first used: commands answer `--help`
# without waiting for TensorFlow.
_HOMES = {
    "MGNM": "mgnm_tf.model",
    "SequentialRecommender": "mgnm_tf.recommender",
    "UserAwareGraph": "mgnm_tf.layers.user_aware_graph",
    "SharedGCN": "mgnm_tf.layers.shared_gcn",
    "SequentialCapsule": "mgnm_tf.layers.sequential_capsule",
    "LevelScorer": "mgnm_tf.layers.level_scorer",
    "BiLSTMInterest": "mgnm_tf.layers.interest_extractors",
    "SumInterest": "mgnm_tf.layers.interest_extractors",
    "SelfAttentionInterests": "mgnm_tf.layers.interest_extractors",
}
if checkout.is_one():
    # Before Python's own, which would find a room's modules and make second copies.
    sys.meta_path.insert(0, checkout.Rooms())

__all__ = sorted(["__version__", *_HOMES])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
