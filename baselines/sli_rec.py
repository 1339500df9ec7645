"""SLi_Rec (Yu et al., IJCAI 2019), https://www.ijcai.org/proceedings/2019/585.

Where paper and released code (zepingyu0512/sli_rec) differ, the code holds unless an
argument says otherwise: its content-aware controller changes no state, its attention
and its fusion are perceptrons. Departs from the code: the long-term attention leaves
padding out; the fusion reads the span at the newest item, where the code reads the last
column, which is padding; the attention's query is linear in the item, where the code
has a PReLU; hidden units are sigmoid, and ReLU in the head, without batch
normalisation and without Dice, whose statistics make a score depend on the rest of its
batch; items have no category. As in the code and unlike the paper, history and
candidates share one item table. Departs from microsoft/recommenders, which feeds the
time since the first item where the paper has the interval between items.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from baselines.layers import BagAttention, MLPHead, PairAttention
from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.keras2 import keras
from mgnm_tf.ops import by_rows, masked_softmax, score_in_chunks
from mgnm_tf.recommender import SequentialRecommender

# Shorter times count as half a unit: their logarithms would dwarf all others.
_FLOOR = 0.5
DAY = 86_400.0
ATTENTIONS = ("perceptron", "bilinear")
FUSIONS = ("perceptron", "linear")


class SLiRec(SequentialRecommender):
    """Mixes a time-aware LSTM's states with an attentive bag, for each candidate.

        short = sum_t attention_t(candidate) h_t;  long = BagAttention(history)
        a = sigmoid(MLP([candidate; long; short; s]));  user = a long + (1 - a) short

    h is of an LSTM whose gates know the interval to the item before and the span to the
    target's time, s that span at the newest item. A perceptron scores [user; item].

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: the shared signature; not read.
        num_items: size of the item vocabulary, padding included.
        max_history: the shared signature; not read.
        embedding_dim: D, also the units of the LSTM.
        time_unit: in seconds; times are told apart from half a unit on. A day suits
            reviews; where a history lasts hours, take a minute.
        use_times: without, intervals and spans are zero, and the gates know the items
            alone: a degraded form for data without times.
        content_gate: the paper's content-aware controller, Eq. 13-15. The LSTM then
            runs for each candidate.
        attention: to the states: the released code's "perceptron", or the paper's
            "bilinear" form h W e.
        fusion: of long and short term, the logit of a: the code's "perceptron", or the
            paper's, "linear" in the same four.
        embedding_stddev: standard deviation of the item table's normal initialisation.
    """

    needs_times = True

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        embedding_dim: int = 16,
        time_unit: float = DAY,
        use_times: bool = True,
        content_gate: bool = False,
        attention: str = "perceptron",
        fusion: str = "perceptron",
        embedding_stddev: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del num_users, max_history
        if not time_unit > 0:
            raise ValueError(
                f"`time_unit` must be positive. Received: time_unit={time_unit}"
            )
        if attention not in ATTENTIONS:
            raise ValueError(
                f"`attention` must be one of {ATTENTIONS}. "
                f"Received: attention={attention}"
            )
        if fusion not in FUSIONS:
            raise ValueError(
                f"`fusion` must be one of {FUSIONS}. Received: fusion={fusion}"
            )
        self.time_unit = time_unit
        self.needs_times = use_times
        self.content_gate = content_gate
        normal = keras.initializers.RandomNormal(stddev=embedding_stddev)
        self.item_embedding = keras.layers.Embedding(
            num_items, embedding_dim, embeddings_initializer=normal
        )
        self.lstm = TimeLSTM(embedding_dim, use_times=use_times)
        if content_gate:
            self.content_layer = keras.layers.Dense(embedding_dim, use_bias=False)
        self.query_layer = keras.layers.Dense(embedding_dim, use_bias=False)
        self.attention = None
        if attention == "perceptron":
            self.attention = PairAttention(activation="sigmoid")
        self.bag = BagAttention(embedding_dim)
        units = (80, 40) if fusion == "perceptron" else ()
        self.fusion = MLPHead(units=units, activation="sigmoid")
        self.mlp = MLPHead()

    def call(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """`score` of `encode`, as in the base class; training needs no chunks."""
        score = self._score if training else self.score
        return score(self.encode(batch, training=training), batch["candidates"])

    def encode(self, batch: Batch, training: bool | None = None) -> _State:
        mask = tf.not_equal(batch["history"], PADDING_ID)  # [B, T]
        items = self.item_embedding(batch["history"])  # [B, T, D]
        intervals, spans = self.time_features(batch, mask)
        gates = self.lstm.gates(items, intervals=intervals, spans=spans, mask=mask)
        return _State(
            items=items,
            gates=gates,
            # One candidate's states serve all, unless a gate asks for the candidate.
            states=None if self.content_gate else self.lstm(gates),  # [B, 1, T, D]
            long_term=self.bag(items, mask=mask),  # [B, D]
            newest_span=spans[:, -1:],  # [B, 1]
            mask=mask,
        )

    def time_features(
        self, batch: Batch, mask: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Logarithms of intervals and spans, in units: [B, T] each; 0 at padding.

        The first item shown has the interval 0.
        """
        if not self.needs_times:
            return tf.zeros_like(mask, tf.float32), tf.zeros_like(mask, tf.float32)
        times = batch["history_times"]

        def feature(seconds: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
            units = tf.cast(seconds, tf.float64) / self.time_unit
            logarithms = tf.math.log(tf.maximum(units, _FLOOR))
            return tf.where(where, tf.cast(logarithms, tf.float32), 0.0)

        earlier = tf.pad(times[:, :-1], [[0, 0], [1, 0]])
        follows = mask & tf.pad(mask[:, :-1], [[0, 0], [1, 0]])
        spans = batch["target_time"][:, None] - times
        return feature(times - earlier, follows), feature(spans, mask)

    def score(self, state: _State, candidates: tf.Tensor) -> tf.Tensor:
        length = tf.shape(state.mask)[1]
        # The first call makes the weights, in the order of `_score`.
        if self.attention is not None and self.mlp.built and not self.content_gate:
            width = length * self.attention.units[0]
            return by_rows(
                functools.partial(self._score_shared, self.attention),
                state,
                candidates,
                floats=width,
            )
        # Numbers for each pair of item and candidate in the largest tensor.
        width = 1 if self.attention is None else self.attention.units[0]
        if self.content_gate:
            width = max(width, self.lstm.units)
        return score_in_chunks(
            lambda ids: self._score(state, ids),
            candidates,
            floats=tf.shape(state.mask)[0]
            * tf.maximum(length * width, self.mlp.units[0]),
        )

    def _score_shared(
        self, attention: PairAttention, state: _State, candidates: tf.Tensor
    ) -> tf.Tensor:
        """`_score`, where the states' part of the attention is shared by candidates."""
        states = self.states(state, candidates)[:, 0]  # [B, T, D]
        layers = attention.first_layers(states)  # [B, T, D+1, H]

        def attend(items: tf.Tensor) -> tf.Tensor:
            queries = self.query_layer(items)  # [B, C, D]
            logits = attention.score_queries(layers, queries)  # [B, T, C]
            logits = tf.cast(logits, tf.float32)
            shares = masked_softmax(logits, state.mask[..., None], axis=1)
            return tf.matmul(tf.cast(shares, items.dtype), states, transpose_a=True)

        rows, length = tf.unstack(tf.shape(state.mask))
        return score_in_chunks(
            lambda ids: self._match(state, self.item_embedding(ids), attend),
            candidates,
            floats=rows * tf.maximum(length * attention.units[0], self.mlp.units[0]),
        )

    def _score(self, state: _State, candidates: tf.Tensor) -> tf.Tensor:
        items = self.item_embedding(candidates)  # [B, C, D]
        return self._match(state, items, lambda asked: self.short_term(state, asked))

    def _match(
        self,
        state: _State,
        items: tf.Tensor,
        attend: Callable[[tf.Tensor], tf.Tensor],
    ) -> tf.Tensor:
        """Logits [B, C] of items [B, C, D], whose short terms `attend` makes."""
        short = attend(items)  # [B, C, D]
        share = tf.cast(self.long_share(state, items, short), short.dtype)
        long = state.long_term[:, None]  # [B, 1, D]
        return self.mlp((share * long + (1 - share) * short, items))

    def short_term(self, state: _State, items: tf.Tensor) -> tf.Tensor:
        """The states that a candidate [B, C, D] attends to: [B, C, D]."""
        states = self.states(state, items)  # [B, 1 or C, T, D]
        weights = self.attend(states, items, state.mask)  # [B, C, T]
        if self.content_gate:
            return tf.einsum("bct,bctd->bcd", weights, states)
        return tf.matmul(weights, states[:, 0])

    def states(self, state: _State, items: tf.Tensor) -> tf.Tensor:
        """The LSTM's states [B, 1 or C, T, D], Eq. 13-15 if `content_gate`."""
        if state.states is not None:
            return state.states
        logits = tf.matmul(self.content_layer(items), state.items, transpose_b=True)
        shares = masked_softmax(
            tf.cast(logits, tf.float32), state.mask[:, None]
        )  # [B, C, T]
        return self.lstm(state.gates, shares=tf.cast(shares, items.dtype))

    def attend(self, states: tf.Tensor, items: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Shares of the states for each candidate [B, C, T]; zero at padding."""
        queries = self.query_layer(items)  # [B, C, D]
        if self.attention is not None:
            logits = self.attention((states, queries[:, :, None]))  # [B, C, T]
        elif self.content_gate:
            logits = tf.einsum("bctd,bcd->bct", states, queries)
        else:
            logits = tf.matmul(queries, states[:, 0], transpose_b=True)
        logits = tf.cast(logits, tf.float32)
        return tf.cast(masked_softmax(logits, mask[:, None]), states.dtype)

    def long_share(
        self, state: _State, items: tf.Tensor, short: tf.Tensor
    ) -> tf.Tensor:
        """The long-term share a [B, C, 1] float32."""
        span = tf.cast(state.newest_span, short.dtype)
        context = tf.concat([state.long_term, span], axis=-1)  # [B, D + 1]
        asked = tf.concat([items, short], axis=-1)
        return tf.sigmoid(self.fusion((context, asked)))[..., None]


class _State(NamedTuple):
    items: tf.Tensor  # [B, T, D]
    gates: tf.Tensor  # [B, T, 6, D], see TimeLSTM
    states: tf.Tensor | None  # [B, 1, T, D], unless they differ by candidate
    long_term: tf.Tensor  # [B, D]
    newest_span: tf.Tensor  # [B, 1] float32
    mask: tf.Tensor  # bool [B, T]


class TimeLSTM(keras.layers.Layer):
    """The time-aware LSTM of SLi_Rec, Eq. 7-12.

        Td = sigmoid(x Wxd + d Wtd + btd),  Ts = sigmoid(x Wxs + s Wts + bts)
        c_t = f Td c_{t-1} + i Ts g,  o = sigmoid(x Wo + h Uo + d Wdo + s Wso + bo)

    where d = tanh(interval wd + bd) and s = tanh(span ws + bs); f, i, g and h are of
    the usual LSTM, with forget bias 1. Only the recurrent products are left to the
    loop over time: `gates` is all the rest.

    Args:
        units: D.
        use_times: whether intervals and spans have weights; without, d = s = 0.
    """

    def __init__(self, units: int, use_times: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.use_times = use_times
        self.input_layer = keras.layers.Dense(6 * units)
        if use_times:
            self.interval_layer, self.span_layer = (
                keras.layers.Dense(units, activation="tanh") for _ in range(2)
            )
            # To Td or Ts, and to the output gate.
            self.interval_gates, self.span_gates = (
                keras.layers.Dense(2 * units, use_bias=False) for _ in range(2)
            )
        self.recurrent_kernel = self.add_weight(
            "recurrent_kernel",
            (units, 4 * units),
            initializer=keras.initializers.Orthogonal(),
        )

    def gates(
        self, items: tf.Tensor, intervals: tf.Tensor, spans: tf.Tensor, mask: tf.Tensor
    ) -> tf.Tensor:
        """What no state changes.

        Shapes:
            items [B, T, D], intervals, spans and mask [B, T] -> [B, T, 6, D]: the time
            gates Td and Ts, and the inputs of f, i, o and g.
        """
        shape = tf.concat([tf.shape(mask), [6, self.units]], axis=0)
        inputs = tf.reshape(self.input_layer(items), shape)
        interval_gate, span_gate, forget, put, output, new = tf.unstack(inputs, axis=2)
        if self.use_times:
            encoded = self.interval_layer(tf.cast(intervals, items.dtype)[..., None])
            by_interval, to_output = tf.split(self.interval_gates(encoded), 2, axis=-1)
            interval_gate += by_interval
            output += to_output
            encoded = self.span_layer(tf.cast(spans, items.dtype)[..., None])
            by_span, to_output = tf.split(self.span_gates(encoded), 2, axis=-1)
            span_gate += by_span
            output += to_output
        # Nothing is put into the cell at padding, which comes first: it stays zero.
        real = tf.cast(mask, items.dtype)[..., None]
        return tf.stack(
            [
                tf.sigmoid(interval_gate),
                tf.sigmoid(span_gate) * real,
                forget + 1.0,
                put,
                output,
                new,
            ],
            axis=2,
        )

    def call(self, gates: tf.Tensor, shares: tf.Tensor | None = None) -> tf.Tensor:
        """States [B, C, T, D], C = 1 without shares.

        With shares [B, C, T], cell and state move only by their share towards the next,
        Eq. 14-15.
        """
        kernel = tf.cast(self.recurrent_kernel, gates.dtype)
        steps = tf.transpose(gates, [1, 0, 2, 3])[:, :, None]  # [T, B, 1, 6, D]
        rows, columns = tf.shape(gates)[0], 1
        moves = None
        if shares is not None:
            columns = tf.shape(shares)[1]
            moves = tf.transpose(shares, [2, 0, 1])[..., None]  # [T, B, C, 1]
        zero = tf.zeros([rows, columns, self.units], gates.dtype)

        def step(carried: tuple[tf.Tensor, tf.Tensor], inputs: Any) -> Any:
            state, cell = carried
            given, move = inputs if moves is not None else (inputs, None)
            products = tf.tensordot(state, kernel, 1)  # [B, C, 4 D]
            shape = tf.concat([tf.shape(products)[:2], [4, self.units]], axis=0)
            opened = given[..., 2:, :] + tf.reshape(products, shape)
            forget, put, output = tf.unstack(tf.sigmoid(opened[..., :3, :]), axis=2)
            new = tf.tanh(opened[..., 3, :])
            next_cell = forget * given[..., 0, :] * cell + put * given[..., 1, :] * new
            next_state = output * tf.tanh(next_cell)
            if move is not None:
                next_state = move * next_state + (1 - move) * state
                next_cell = move * next_cell + (1 - move) * cell
            return next_state, next_cell

        inputs = steps if moves is None else (steps, moves)
        states, _ = tf.scan(step, inputs, (zero, zero))
        return tf.transpose(states, [1, 2, 0, 3])

    def get_config(self) -> dict[str, Any]:
        own = {"units": self.units, "use_times": self.use_times}
        return {**super().get_config(), **own}
