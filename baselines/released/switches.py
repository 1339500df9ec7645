"""The quirks of the released code, each a switch, to measure what it is worth."""

from __future__ import annotations

# What each switch means as released, and in the paper; in the order in which
# `experiments.waterfall` turns them.
SWITCHES: dict[str, tuple[str, str]] = {
    "row_order": (
        "the rows of a batch stand by label, positives first",
        "in random order",
    ),
    "reshape": (
        "reshapes around the BiLSTM mix rows, times and capsules",
        "transposes keep each row by itself",
    ),
    "routing_draw": (
        "first routing logits drawn for each row, at test time too",
        "one draw a batch in training, one kept for inference",
    ),
    "encoder": (
        "one BiLSTM reads the K capsules side by side",
        "one BiLSTM, shared by the capsules, reads each",
    ),
    "encoded_votes": (
        "what the BiLSTM adds is dropped before the last iteration",
        "it stays, Eq. 10",
    ),
    "padding": (
        "padded positions enter graph layers and BiLSTM",
        "they are zero throughout",
    ),
    "user_in_graph": (
        "the adjacency leaves the user out",
        "Eq. 1",
    ),
    "graph_layers": (
        "each graph layer reads the items, and has a bias",
        "each reads the one before, without a bias, Eq. 2",
    ),
    "normalization": (
        "the adjacency is not normalised",
        "I + D^-1/2 A D^-1/2, Eq. 3",
    ),
    "routing_axis": (
        "routing weights sum to one over the capsules",
        "over the items, Eq. 6",
    ),
    "projection": (
        "a projection of its own for each position, from N(0, 1)",
        "shared by the positions, Glorot, Eq. 5",
    ),
    "output_layer": (
        "no layer after the capsules",
        "ReLU(o W'), Eq. 11",
    ),
    "loss": (
        "both penalties weigh 1e-5, L2 of all variables",
        "theta_1 = 1e-6, L2 of what the batch touches",
    ),
    "initialisation": (
        "item embeddings from Glorot's uniform of the whole table",
        "from N(0, 0.1^2), as the users'",
    ),
}


def check_switches(paper: frozenset[str]) -> None:
    unknown = sorted(paper - {*SWITCHES})
    if unknown:
        raise ValueError(
            f"`at_paper` names switches of {[*SWITCHES]}. Received: {unknown}"
        )
    if "encoder" in paper and "reshape" not in paper:
        raise ValueError(
            "`at_paper` with encoder needs reshape: the shared BiLSTM has no reshape "
            "that could be as released."
        )
