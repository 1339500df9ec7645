"""From what the protocols measured to whether they order the models alike."""

from __future__ import annotations

import itertools

import numpy as np

from experiments.results import comparison, significance
from experiments.results.model_names import display_name
from harness.passport import Runs

# What the protocols are compared by.
COMPARED_METRICS = ("ndcg@5", "hit@5", "gauc")
_MOST_PAIRS = 10  # named in a sentence; all follow from the places.

# A protocol and a grouping, the key of a column.
Column = tuple[str, str]
# Mean and standard deviation over seeds.
MeanAndSd = tuple[float, "float | None"]


def is_own(column: Column) -> bool:
    """Whether a column has a list for each test instance."""
    return column[1] == "instance"


def pair_name(pair: tuple[Column, Column]) -> str:
    """Two columns in a sentence: by grouping if they are of one protocol."""
    (one, grouping), (other, pooled) = pair
    if one == other:
        return f"{one} by {grouping} and by {pooled}"
    return f"{one} and {other}"


def places(cells: dict[str, MeanAndSd]) -> dict[str, int]:
    """1 for the highest mean; models of one mean share the better place."""
    return {
        model: 1 + sum(other > mean for other, _ in cells.values())
        for model, (mean, _) in cells.items()
    }


def tau(
    columns: dict[Column, dict[str, MeanAndSd]], pair: tuple[Column, Column]
) -> float | None:
    """Kendall's tau of two columns, over the models that both have."""
    _, ours, theirs = _both(columns, pair)
    return significance.kendall_tau(ours, theirs)


def _both(
    columns: dict[Column, dict[str, MeanAndSd]], pair: tuple[Column, Column]
) -> tuple[list[str], list[float], list[float]]:
    """The models that two columns have, and their means under each."""
    one, other = (columns[column] for column in pair)
    models = [model for model in one if model in other]
    return models, [one[m][0] for m in models], [other[m][0] for m in models]


def order_changes(
    by_model: Runs,
    cells: dict[str, dict[Column, dict[str, MeanAndSd]]],
    pairs: list[tuple[Column, Column]],
) -> list[str]:
    """A sentence for each metric and pair of columns that disagree on an order."""
    sentences = []
    known: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for metric, pair in itertools.product(COMPARED_METRICS, pairs):
        models, ours, theirs = _both(cells[metric], pair)
        swaps = significance.swapped(ours, theirs)
        if not swaps:
            continue
        # The clearest first: by the smaller of the two differences.
        swaps.sort(
            key=lambda ij: (
                -min(abs(ours[ij[0]] - ours[ij[1]]), abs(theirs[ij[0]] - theirs[ij[1]]))
            )
        )
        changed = [(models[i], models[j]) for i, j in swaps]
        names = _names(changed)
        shown = "; ".join(names[:_MOST_PAIRS])
        if len(names) > _MOST_PAIRS:
            shown += f"; and {len(names) - _MOST_PAIRS} more"
        text = (
            f"By {metric.upper()}, {pair_name(pair)} disagree on the order of "
            f"{len(swaps)} of {len(models) * (len(models) - 1) // 2} pairs of models: "
            f"{shown}."
        )
        if all(map(is_own, pair)):
            sure = set(changed)
            for protocol, _ in pair:
                sure &= _sure(by_model, known, protocol, metric, changed)
            text += (
                " Beyond chance under both (paired bootstrap over users, p < "
                f"{comparison.LEVEL}, Holm-corrected over these pairs): "
                f"{'; '.join(_names(sorted(sure))) or 'none'}."
            )
        sentences.append(text)
    return sentences


def _names(pairs: list[tuple[str, str]]) -> list[str]:
    return [f"{display_name(one)} and {display_name(other)}" for one, other in pairs]


def _sure(
    by_model: Runs,
    known: dict[tuple[str, str], dict[str, np.ndarray]],
    protocol: str,
    metric: str,
    pairs: list[tuple[str, str]],
) -> set[tuple[str, str]]:
    """Pairs of models that differ under a protocol; `known` keeps what was read."""
    for model in {model for pair in pairs for model in pair}:
        if (protocol, model) not in known:
            known[protocol, model] = comparison.mean_ranks(by_model[model], protocol)
    p_values = comparison.user_p_values(
        [(known[protocol, one], known[protocol, other], metric) for one, other in pairs]
    )
    below = comparison.below(dict(zip(pairs, p_values)))
    return {pair for pair, is_below in below.items() if is_below}
