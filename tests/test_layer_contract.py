"""What every public layer must satisfy."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import tensorflow as tf

import mgnm_tf.layers
from mgnm_tf.keras2 import keras
from mgnm_tf.layers.gap_embedding import GapEmbedding
from mgnm_tf.layers.interest_extractors import (
    BiLSTMInterest,
    SelfAttentionInterests,
    SumInterest,
)
from mgnm_tf.layers.level_scorer import LevelScorer
from mgnm_tf.layers.sequential_capsule import ROUTING_INITS, SequentialCapsule
from mgnm_tf.layers.shared_gcn import NORMALIZATIONS, SharedGCN
from mgnm_tf.layers.user_aware_graph import UserAwareGraph
from mgnm_tf.sequence_encoders import SEQUENCE_ENCODERS

L, D, K, MAX_HISTORY = 3, 4, 2, 9


def history(batch, length, seed=0):
    rng = np.random.default_rng(seed)
    return tf.constant(rng.normal(size=(batch, length, D)), tf.float32)


def mask(batch, length):
    """Row b has b positions of padding."""
    return tf.range(length)[None] >= tf.range(batch)[:, None]


def levels(batch, length):
    deep = [history(batch, length, seed) for seed in range(L)]
    return (
        tf.stack(deep, axis=1)
        * tf.cast(mask(batch, length), "float32")[:, None, :, None]
    )


def adjacency(batch, length):
    drawn = np.random.default_rng(9).random((batch, length, length))
    valid = tf.cast(mask(batch, length), tf.float32)
    return tf.constant(drawn, tf.float32) * valid[:, :, None] * valid[:, None, :]


def gaps(batch, length):
    drawn = np.random.default_rng(8).integers(0, 10**9, (batch, length))
    return tf.constant(drawn, tf.int64)


# One call a layer: the tensors by name, the main one first, unknown B and T as None.
CALLS = {
    UserAwareGraph: {
        "history": (history, [None, None, D]),
        "user": (lambda batch, length: history(batch, length, 1)[:, 0], [None, D]),
        "mask": (mask, [None, None]),
    },
    SharedGCN: {
        "history": (history, [None, None, D]),
        "adjacency": (adjacency, [None, None, None]),
        "mask": (mask, [None, None]),
    },
    SequentialCapsule: {
        "levels": (levels, [None, L, None, D]),
        "mask": (mask, [None, None]),
    },
    **{
        kind: {"levels": (levels, [None, L, None, D]), "mask": (mask, [None, None])}
        for kind in (BiLSTMInterest, SumInterest, SelfAttentionInterests)
    },
    GapEmbedding: {"gaps": (gaps, [None, None])},
    LevelScorer: {
        "interests": (
            lambda batch, length: levels(batch, 7)[:, :, :K],
            [None, L, K, D],
        ),
        "candidates": (history, [None, None, D]),
    },
}
# Every constructor argument, other than its default.
ARGUMENTS = {
    UserAwareGraph: {"l1": 0.5},
    SharedGCN: {
        "num_layers": 1,
        "normalization": "none",
        "negative_slope": 0.3,
        "map_initialization": "identity",
    },
    SequentialCapsule: {
        "num_interests": 3,
        "max_history": 7,
        "num_iterations": 4,
        "routing_axis": "capsules",
        "stop_routing_gradient": False,
        "sequence_encoder": "gru",
        "interest_activation": "linear",
        "map_initialization": "identity",
        "routing_init": "learned",
        "squash_last": False,
        "seed": 5,
    },
    LevelScorer: {},
    GapEmbedding: {"shape": (3, 2)},
    BiLSTMInterest: {},
    SumInterest: {},
    SelfAttentionInterests: {},
}
VARIANTS = [
    (UserAwareGraph, {}),
    *((SharedGCN, {"normalization": name}) for name in NORMALIZATIONS),
    *(
        (SequentialCapsule, {"sequence_encoder": encoder, "routing_axis": axis})
        for encoder in SEQUENCE_ENCODERS
        for axis in ("items", "capsules")
    ),
    *((kind, {}) for kind in (BiLSTMInterest, SumInterest, SelfAttentionInterests)),
    (LevelScorer, {}),
    (GapEmbedding, {}),
    *(
        (SequentialCapsule, {"routing_init": name})
        for name in ROUTING_INITS
        if name != "drawn"
    ),
]
DTYPES = {"mask": tf.bool, "gaps": tf.int64}
# One form of each layer, and of the capsule; the other forms are slow.
QUICK = [
    *((kind, {}) for kind in CALLS if kind not in (SharedGCN, SequentialCapsule)),
    (SharedGCN, {"normalization": NORMALIZATIONS[0]}),
    (SequentialCapsule, {"sequence_encoder": "bilstm", "routing_axis": "items"}),
    (SequentialCapsule, {"routing_init": "recency"}),
]
over_variants = pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        pytest.param(*variant, marks=() if variant in QUICK else pytest.mark.slow)
        for variant in VARIANTS
    ],
    ids=lambda part: getattr(part, "__name__", None) or "-".join(part.values()),
)


def make(kind, arguments):
    sizes = {"num_interests": K, "max_history": MAX_HISTORY}
    layer = kind(**arguments, **(sizes if kind is SequentialCapsule else {}))
    call(layer, 2, 5)
    for number, weight in enumerate(layer.trainable_weights):
        drawn = tf.random.stateless_normal(weight.shape, [2, number]) / 2
        weight.assign(weight.constraint(drawn) if weight.constraint else drawn)
    return layer


def call(layer, batch, length):
    inputs = [make(batch, length) for make, _ in CALLS[type(layer)].values()]
    main, *others = inputs
    return layer(main, **dict(zip([*CALLS[type(layer)]][1:], others)))


def public_layers():
    found = set()
    for info in pkgutil.iter_modules(mgnm_tf.layers.__path__):
        module = importlib.import_module(f"mgnm_tf.layers.{info.name}")
        for name, kind in inspect.getmembers(module, inspect.isclass):
            own = kind.__module__ == module.__name__ and not name.startswith("_")
            if own and issubclass(kind, keras.layers.Layer):
                found.add(kind)
    return found


def test_no_public_layer_is_missing_here():
    assert public_layers() == set(CALLS) == set(ARGUMENTS)


@over_variants
def test_a_graph_of_unknown_sizes_equals_eager(kind, arguments):
    layer = make(kind, arguments)
    names = [*CALLS[kind]]

    def traced(main, *others):
        return layer(main, **dict(zip(names[1:], others)))

    dtypes = [DTYPES.get(name, tf.float32) for name in names]
    shapes = [shape for _, shape in CALLS[kind].values()]
    graph = tf.function(
        traced,
        input_signature=[tf.TensorSpec(*pair) for pair in zip(shapes, dtypes)],
    )
    for batch, length in [(2, 5), (4, 1), (3, MAX_HISTORY)]:
        inputs = [make(batch, length) for make, _ in CALLS[kind].values()]
        eager = call(layer, batch, length)
        np.testing.assert_allclose(graph(*inputs), eager, rtol=1e-4, atol=1e-6)


@over_variants
def test_every_weight_has_a_finite_gradient_that_is_not_zero(kind, arguments):
    layer = make(kind, arguments)
    main = next(iter(CALLS[kind].values()))[0](3, 7)
    watched = {"its input": main} if main.dtype.is_floating else {}
    with tf.GradientTape() as tape:
        tape.watch([*watched.values()])
        others = [make(3, 7) for make, _ in list(CALLS[kind].values())[1:]]
        found = layer(main, **dict(zip([*CALLS[kind]][1:], others)))
        weights = {weight.name: weight for weight in layer.trainable_weights}
        loss = tf.reduce_sum(found**2)
    gradients = tape.gradient(loss, {**weights, **watched})
    for name, gradient in gradients.items():
        gradient = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(gradient).all(), name
        # A key's bias adds one constant to a softmax: it cancels.
        assert name.endswith("key/bias:0") or np.abs(gradient).max() > 0, name


@over_variants
def test_a_history_of_padding_alone_is_finite(kind, arguments):
    layer = make(kind, arguments)
    inputs = {name: make(2, 5) for name, (make, _) in CALLS[kind].items()}
    nothing = {name: tf.zeros_like(value) for name, value in inputs.items()}
    main, *others = nothing.values()
    found = layer(main, **dict(zip([*nothing][1:], others)))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("kind", ARGUMENTS, ids=lambda kind: kind.__name__)
def test_the_config_of_a_layer_brings_back_what_went_in(kind):
    config = kind.from_config(kind(**ARGUMENTS[kind]).get_config()).get_config()
    assert {key: config[key] for key in ARGUMENTS[kind]} == ARGUMENTS[kind]
