"""Section 4.3's variants of MGNM, around the paper's L = 3 and K = 4.

Everything else of a run is what Table 2's MGNM has on the data set, so that where that
one has L = 3 and K = 4 its runs serve here too. A study's other runs have variants
that begin with `PREFIX`, and no place in Table 2.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from harness import defaults, run_folder

PREFIX = "study-"
# The constructor's defaults, and the paper's.
FULL = {"num_layers": 3, "num_interests": 4}

# Table 3, by its own names: the variant, and what it changes.
_ABLATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    # Without the levels of the graph there is H[0] alone, as where Figure 3 has L = 0.
    "w/o UGCN": ("layers_0", {"num_layers": 0}),
    "w/o L1Norm": ("no_l1", {"l1": 0.0}),
    "w/o BiLSTM": ("no_bilstm", {"sequence_encoder": "none"}),
    # The paper does not say what predicts instead; Figure 7 has the sum. Training has
    # no maximum (Eq. 16), so that only the choice of the epoch and the test change.
    "w/o MaxPool": ("sum_levels", {"level_pooling": "sum"}),
    "SCN → BiLSTM": ("bilstm", {"interest_extractor": "bilstm"}),
    "SCN → SumPool": ("sum_items", {"interest_extractor": "sum"}),
    "SCN → SelfAtt": ("self_attention", {"interest_extractor": "self_attention"}),
    "SCN (Transformer)": ("transformer", {"sequence_encoder": "transformer"}),
}
FULL_NAME = "MGNM"


@dataclasses.dataclass(frozen=True)
class Variant:
    """A variant of MGNM: its name, and arguments that differ from Table 2's."""

    name: str
    arguments: dict[str, Any]

    @property
    def folder(self) -> str:
        return run_folder.run_folder("mgnm", self.name)


def full(dataset: str) -> Variant:
    """L = 3 and K = 4: Table 2's own where it has them."""
    return _variant(dataset, "full", {})


def with_layers(dataset: str, count: int) -> Variant:
    return _variant(dataset, f"layers_{count}", {"num_layers": count})


def with_interests(dataset: str, count: int) -> Variant:
    return _variant(dataset, f"interests_{count}", {"num_interests": count})


def table3(dataset: str) -> dict[str, Variant]:
    """The rows of Table 3 by their printed names, the full model last."""
    rows = {
        printed: _variant(dataset, name, changes)
        for printed, (name, changes) in _ABLATIONS.items()
    }
    return {**rows, FULL_NAME: full(dataset)}


def is_study(folder: str) -> bool:
    """Whether runs of a folder, named as `configs.run_folder` does, are a study's."""
    return folder.partition("-")[2].startswith(PREFIX)


def _variant(dataset: str, name: str, changes: dict[str, Any]) -> Variant:
    arguments = {**FULL, **changes}
    if arguments == FULL:
        name = "full"
    table2 = {**FULL, **defaults.get_config("mgnm", dataset).arguments}
    if {**table2, **arguments} == table2:
        return Variant("paper", {})
    return Variant(PREFIX + name, arguments)
