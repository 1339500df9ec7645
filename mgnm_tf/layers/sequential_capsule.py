"""Sequential capsule network: routing that knows the order of the items."""

from __future__ import annotations

import functools
from typing import Any, Protocol

import tensorflow as tf

from mgnm_tf.counted_draws import add_count, next_draw, seed_pair
from mgnm_tf.keras2 import keras
from mgnm_tf.ops import MAP_INITIALIZATIONS, masked_softmax, square_maps, squash
from mgnm_tf.sequence_encoders import SEQUENCE_ENCODERS, make_encoder

ROUTING_AXES = ("items", "capsules")
ROUTING_INITS = ("drawn", "learned", "recency", "zero")
# By how much a first logit of "recency" falls from an event to the one before it, for
# the last interest; for the first it does not fall.
_STEEPEST = 0.5
INTEREST_ACTIVATIONS = ("relu", "linear")

_normal = tf.random.stateless_truncated_normal


@keras.saving.register_keras_serializable(package="mgnm_tf")
class SequentialCapsule(keras.layers.Layer):
    """Extracts K interests from each level, Eq. 5-11.

    Capsule i projects the items, Z_i = H W_i (Eq. 5), and repeats `num_iterations`
    times: c = softmax(g) over the items (Eq. 6), v = sum_j c_j z_j (Eq. 8),
    o = squash(v) (Eq. 7), g_j += o . z_j (Eq. 9). After the first iteration
    Z_i += Encoder(Z_i), which stays for the rest (Eq. 10). The interest is
    q_i = ReLU(o W'_i) (Eq. 11). W_i and W'_i are shared over levels and positions, the
    encoder over capsules and levels.

    The first g is by `routing_init`:

    - "drawn", as printed: a truncated normal draw, a new one for each batch in
      training, in inference one draw kept with the weights;
    - "learned": a weight for each position, level and capsule, which starts as that
      kept draw;
    - "recency": the same weight, which starts to fall with an event's age: not at all
      for the first interest, by 0.5 an event for the last;
    - "zero", as in plain routing.

    Positions are counted from the newest item, so that a score depends on nothing but
    the request.

    Shapes:
        levels [B, L, T, D], mask [B, T] bool; if given, routing_logits [T, L, K], the
        first g, routing_bias [B, T, L, K], which is added to it, and encoder_shift
        [B, T, D], which the encoder reads added to Z
        -> interests [B, L, K, D]; with `return_couplings` and the c of the last
        iteration [B, L, K, T], zero at padding

    Departs from the paper: the biases of the encoder's candidate are zero (see
    `ZeroCandidateBias`), so that padding needs no mask. Departs from the authors'
    code, which projects by position, routes over the capsules, redraws g at test time,
    drops the encoded Z before the last iteration, has no Eq. 11, and reshapes across
    the rows of the batch.

    Args:
        num_interests: K.
        max_history: the longest T.
        num_iterations: the paper's tau, at least 2 with a sequence encoder.
        routing_axis: what Eq. 6 normalises over; "capsules" is the usual routing.
        stop_routing_gradient: all but the last weighted sum see Z as a constant.
        sequence_encoder: "bilstm", "gru" (bidirectional), "transformer" or "none".
        interest_activation: "relu" as printed in Eq. 11, or "linear".
        map_initialization: of W and W', on which the paper is silent: "glorot", or
            "identity", with which the interests start in the space of the items.
        routing_init: see above.
        squash_last: Eq. 7 in the last iteration too, as printed; without it the length
            of an interest is free.
        seed: of the random first routing logits; the same seed and the same count of
            draws give the same ones.
    """

    def __init__(
        self,
        num_interests: int = 4,
        max_history: int = 100,
        num_iterations: int = 3,
        routing_axis: str = "items",
        stop_routing_gradient: bool = True,
        sequence_encoder: str = "bilstm",
        interest_activation: str = "relu",
        map_initialization: str = "glorot",
        routing_init: str = "drawn",
        squash_last: bool = True,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_interests < 1:
            raise ValueError(
                f"`num_interests` must be positive. Received: {num_interests}"
            )
        for name, value, allowed in (
            ("routing_axis", routing_axis, ROUTING_AXES),
            ("sequence_encoder", sequence_encoder, SEQUENCE_ENCODERS),
            ("interest_activation", interest_activation, INTEREST_ACTIVATIONS),
            ("map_initialization", map_initialization, MAP_INITIALIZATIONS),
            ("routing_init", routing_init, ROUTING_INITS),
        ):
            if value not in allowed:
                raise ValueError(
                    f"`{name}` must be one of {allowed}. Received: {name}={value}"
                )
        if num_iterations < (1 if sequence_encoder == "none" else 2):
            raise ValueError(
                "`num_iterations` must be positive, and at least 2 with a sequence "
                "encoder, which acts after the first. "
                f"Received: num_iterations={num_iterations}"
            )
        alike = map_initialization == "identity" and routing_init == "zero"
        if alike and num_interests > 1:
            raise ValueError(
                "`routing_init` must not be zero where `map_initialization` is "
                "identity: all interests would be one and the same for ever. "
                f"Received: num_interests={num_interests}"
            )
        self.num_interests = num_interests
        self.max_history = max_history
        self.num_iterations = num_iterations
        self.routing_axis = routing_axis
        self.stop_routing_gradient = stop_routing_gradient
        self.sequence_encoder = sequence_encoder
        self.interest_activation = interest_activation
        self.map_initialization = map_initialization
        self.routing_init = routing_init
        self.squash_last = squash_last
        self.seed = seed

    def build(self, levels_shape: tf.TensorShape) -> None:
        num_levels, size = levels_shape[1], levels_shape[-1]
        self.projection = self._add_kernels("projection", size)
        self.output_kernel = self._add_kernels("output_kernel", size)
        shape = (self.max_history, num_levels, self.num_interests)
        recency = self.routing_init == "recency"
        start: dict[str, Any] = {
            "initializer": _by_age
            if recency
            else lambda shape, dtype: _normal(shape, seed_pair(self.seed, -1)),
            "dtype": tf.float32,
            "experimental_autocast": False,
        }
        if self.routing_init in ("learned", "recency"):
            self.first_logits = self.add_weight("first_logits", shape, **start)
        if self.routing_init == "drawn":
            self.inference_draw = self.add_weight(
                "inference_draw", shape, trainable=False, **start
            )
            self.draws = add_count(self)
        self.encoder = make_encoder(self.sequence_encoder, size, self.max_history)
        super().build(levels_shape)

    def call(
        self,
        levels: tf.Tensor,
        mask: tf.Tensor,
        training: bool | None = None,
        routing_logits: tf.Tensor | None = None,
        routing_bias: tf.Tensor | None = None,
        encoder_shift: tf.Tensor | None = None,
        under_xla: bool = False,
        return_couplings: bool = False,
    ) -> Any:
        _, num_levels, _, size = levels.shape
        length, count = tf.shape(levels)[2], num_levels * self.num_interests
        if routing_logits is None:
            routing_logits = self._initial_logits(length, num_levels, training)
        logits = tf.reshape(routing_logits, [length, 1, count])
        if routing_bias is not None:
            bias = tf.transpose(routing_bias, [1, 0, 2, 3])  # [T, B, L, K]
            logits += tf.reshape(bias, [length, -1, count])
        items = levels if self.encoder is None else self._project(levels)
        mask = tf.transpose(mask)[:, :, None]  # [T, B, 1]
        for iteration in range(self.num_iterations):
            last = iteration == self.num_iterations - 1
            votes = self._votes(items, constant=not last)
            couplings = self.couple(logits, mask)  # [T, B, N]
            capsules = votes.weigh(couplings)  # [B, N, D]
            if not last or self.squash_last:
                capsules = squash(capsules)
            if not last:
                logits += votes.agree(capsules)
            if iteration == 0 and self.encoder is not None:
                items += self._encode(items, mask, encoder_shift, under_xla)
        capsules = tf.reshape(capsules, [-1, num_levels, self.num_interests, size])
        capsules = tf.cast(capsules, levels.dtype)
        interests = tf.einsum("blkd,kde->blke", capsules, self.output_kernel)
        if self.interest_activation == "relu":
            interests = tf.nn.relu(interests)
        if not return_couplings:
            return interests
        shape = [length, -1, num_levels, self.num_interests]
        return interests, tf.transpose(tf.reshape(couplings, shape), [1, 2, 3, 0])

    def _project(self, levels: tf.Tensor) -> tf.Tensor:
        """Eq. 5: [B, L, T, D] -> [T, B, L * K, D] float32."""
        length, size = tf.shape(levels)[2], levels.shape[-1]
        count = levels.shape[1] * self.num_interests
        # Time-major, with levels and capsules side by side (N = L * K): the encoder
        # reads it as it is, and no projection is ever transposed.
        by_time = tf.transpose(levels, [2, 0, 1, 3])  # [T, B, L, D]
        votes = tf.einsum("tbld,kde->tblke", by_time, self.projection)
        votes = tf.reshape(votes, [length, -1, count, size])  # [T, B, N, D]
        return tf.cast(votes, tf.float32)  # Routing sums and squares.

    def _votes(self, items: tf.Tensor, constant: bool) -> _Votes:
        """What Eq. 8 and 9 read; as constants, the routing passes no gradient."""
        seen = self._routing_copy if constant else tf.identity
        if self.encoder is None:
            return _Unprojected(seen(items), seen(self.projection))
        return _Projected(seen(items))

    def _add_kernels(self, name: str, size: int) -> tf.Variable:
        """A D x D matrix a capsule, each within Glorot's limit, or the identity."""
        shape = (self.num_interests, size, size)
        return self.add_weight(
            name, shape, initializer=square_maps(self.map_initialization)
        )

    def couple(self, logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Coupling coefficients, Eq. 6.

        Shapes:
            logits [T, B, L * K], mask [T, B, 1] bool -> [T, B, L * K], zero at padding
        """
        if self.routing_axis == "items":
            return masked_softmax(logits, mask, axis=0)
        logits = tf.where(mask, logits, 0.0)  # As wide as the batch from here on.
        by_capsule = tf.reshape(
            logits, [*tf.unstack(tf.shape(logits)[:2]), -1, self.num_interests]
        )
        weights = tf.reshape(tf.nn.softmax(by_capsule), tf.shape(logits))
        return tf.where(mask, weights, 0.0)

    def _routing_copy(self, votes: tf.Tensor) -> tf.Tensor:
        return tf.stop_gradient(votes) if self.stop_routing_gradient else votes

    def _initial_logits(
        self, length: tf.Tensor, num_levels: int, training: bool | None
    ) -> tf.Tensor:
        if self.routing_init == "zero":
            return tf.zeros([length, num_levels, self.num_interests])
        if self.routing_init in ("learned", "recency"):
            return self.first_logits[self.max_history - length :]
        if not training:
            return self.inference_draw[self.max_history - length :]
        return self._next_logits([length, num_levels, self.num_interests])

    def _next_logits(self, shape: Any) -> tf.Tensor:
        return next_draw(functools.partial(_normal, shape), self.seed, self.draws)

    def _encode(
        self,
        votes: tf.Tensor,
        mask: tf.Tensor,
        shift: tf.Tensor | None = None,
        under_xla: bool = False,
    ) -> tf.Tensor:
        """One sequence a (row, level, capsule); weights shared by all, Eq. 10."""
        length, batch, count, size = tf.unstack(tf.shape(votes))
        sequences = votes
        if shift is not None:
            shift = tf.transpose(shift, [1, 0, 2])[:, :, None]  # [T, B, 1, D]
            # Zero at padding, which the recurrent encoders rely on.
            sequences += shift * tf.cast(mask, shift.dtype)[..., None]
        sequences = tf.reshape(sequences, [length, batch * count, votes.shape[-1]])
        wide_mask = tf.reshape(
            tf.broadcast_to(mask, [length, batch, count]), [length, batch * count]
        )
        # XLA has no such kernel, GPUs a better one, which Keras finds.
        in_kernel = (
            self.sequence_encoder == "bilstm"
            and not under_xla
            and self.compute_dtype == "float32"
            and not tf.config.list_logical_devices("GPU")
        )
        options = {"in_kernel": True} if in_kernel else {}
        encoded = self.encoder(sequences, mask=wide_mask, **options)
        # What it says of padding is never summed: couplings are zero there.
        return tf.cast(tf.reshape(encoded, [length, batch, count, size]), tf.float32)

    def get_config(self) -> dict[str, Any]:
        names = (
            "num_interests",
            "max_history",
            "num_iterations",
            "routing_axis",
            "stop_routing_gradient",
            "sequence_encoder",
            "interest_activation",
            "map_initialization",
            "routing_init",
            "squash_last",
            "seed",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _by_age(shape: Any, dtype: Any) -> tf.Tensor:
    """First logits [T, L, K] that fall with the age of an event."""
    length, _, count = shape
    ages = tf.range(length - 1, -1, -1, dtype=dtype)[:, None, None]
    return tf.broadcast_to(-ages * tf.linspace(0.0, _STEEPEST, count), shape)


class _Votes(Protocol):
    """Votes Z of Eq. 5, formed or not; N is L * K, levels outermost."""

    def weigh(self, couplings: tf.Tensor) -> tf.Tensor:
        """Eq. 8: couplings [T, B, N] -> [B, N, D] float32."""

    def agree(self, capsules: tf.Tensor) -> tf.Tensor:
        """The step of Eq. 9: capsules [B, N, D] -> [T, B, N]."""


class _Projected:
    """Votes [T, B, N, D] as they stand."""

    def __init__(self, votes: tf.Tensor) -> None:
        self.votes = votes

    def weigh(self, couplings: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(self.votes * couplings[..., None], axis=0)

    def agree(self, capsules: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(self.votes * capsules, axis=-1)


class _Unprojected:
    """Votes that are linear in the items, never formed.

    sum_j c_j (h_j W) = (sum_j c_j h_j) W, and (h_j W) . o = h_j . (W o): with no
    encoder in between, the items [B, L, T, D] serve all K capsules.
    """

    def __init__(self, items: tf.Tensor, projection: tf.Tensor) -> None:
        self.items = tf.cast(items, tf.float32)
        self.projection = tf.cast(projection, tf.float32)

    def weigh(self, couplings: tf.Tensor) -> tf.Tensor:
        by_row = tf.transpose(couplings, [1, 2, 0])  # [B, N, T]
        _, levels, length, size = tf.unstack(tf.shape(self.items))
        by_row = tf.reshape(by_row, [-1, levels, self.projection.shape[0], length])
        mixed = tf.matmul(by_row, self.items)  # [B, L, K, D]
        projected = tf.einsum("blkd,kde->blke", mixed, self.projection)
        return tf.reshape(projected, [-1, levels * tf.shape(by_row)[2], size])

    def agree(self, capsules: tf.Tensor) -> tf.Tensor:
        _, levels, length, size = tf.unstack(tf.shape(self.items))
        by_level = tf.reshape(capsules, [-1, levels, self.projection.shape[0], size])
        back = tf.einsum("blke,kde->blkd", by_level, self.projection)
        steps = tf.matmul(back, self.items, transpose_b=True)  # [B, L, K, T]
        steps = tf.transpose(steps, [3, 0, 1, 2])
        return tf.reshape(steps, [length, -1, levels * tf.shape(by_level)[2]])
