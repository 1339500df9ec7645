"""What is searched for each model, on validation. The embedding size is the paper's.

A class of one's own states its own space, `search_space` (docs/your_model.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn.model_selection import ParameterSampler

from data.errors import UserError
from harness.config import PAPER, STRONG, is_own

SHARED: dict[str, list[Any]] = {
    "learning_rate": [5e-3, 1e-2, 2e-2, 4e-2],
    # In the sum of Eq. 16, where a row's cross-entropy has the weight of one.
    "l2": [1e-5, 1e-3, 1e-2, 3e-2, 1e-1],
}
# The strong recipe's rows are histories, and its tables four times as wide.
SHARED_STRONG: dict[str, list[Any]] = {
    "learning_rate": [1e-3, 2e-3, 4e-3, 8e-3],
    "l2": [1e-2, 1e-1, 0.4, 1.0],
}
OWN: dict[str, dict[str, list[Any]]] = {
    "mgnm": {"num_interests": [2, 4, 6], "num_layers": [1, 2, 3]},
    "caser": {"window": [3, 5, 10], "dropout": [0.2, 0.5]},
    "a2svd": {},
    "gru4rec": {"dropout": [0.0, 0.2]},
    "sli_rec": {},
    # At the shared rates its loss stays where it starts.
    "tgsrec": {
        "learning_rate": [1e-3, 2e-3, 5e-3, 1e-2],
        "num_neighbors": [10, 20],
        "dropout": [0.1, 0.3],
    },
    "mimn": {"num_slots": [4, 8], "balance_weight": [0.0, 1e-6, 1e-4]},
    "mind": {"num_interests": [2, 4, 8], "readout": ["hard", "soft"]},
    "comirec_dr": {"num_interests": [2, 4, 8], "readout": ["hard", "soft"]},
    "comirec_sa": {"num_interests": [2, 4, 8], "readout": ["hard", "soft"]},
    "surge": {"pooled_length": [10, 20, 30]},
    "mean_pooling": {},
    "sasrec": {"num_blocks": [1, 2], "dropout": [0.0, 0.2, 0.5]},
    "mgnm_plus": {"num_layers": [1, 2, 3], "dropout": [0.2, 0.4, 0.6]},
}
# Their authors' readout is that of the recipe (`defaults.STRONG_MODEL_SETTINGS`).
_READOUTS = {"readout": ["positive", "hard", "soft"]}
OWN_STRONG: dict[str, dict[str, list[Any]]] = {
    model: {**OWN[model], **_READOUTS} for model in ("mind", "comirec_dr", "comirec_sa")
}


def draw(
    model: str, count: int, seed: int, recipe: str = PAPER
) -> list[dict[str, Any]]:
    """The settings of `count` trials: first none, which leaves the model as it is.

    Raises:
        UserError: if the model has nothing to search.
    """
    shared = SHARED_STRONG if recipe == STRONG else SHARED
    space = {**shared, **_of_model(model)}
    if recipe == STRONG:
        space |= OWN_STRONG.get(model, {})
    sampler = ParameterSampler(space, count - 1, random_state=seed)
    return [{}, *({name: drawn[name] for name in space} for drawn in sampler)]


def _of_model(model: str) -> Mapping[str, list[Any]]:
    if is_own(model):
        from harness import own_model

        return own_model.search_space(model)
    if model not in OWN:
        raise UserError(f"{model} has no settings to search.")
    return OWN[model]
