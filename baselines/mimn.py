"""MIMN (Pi et al., KDD 2019), https://arxiv.org/abs/1905.09248.

Where the paper and the released code (UIC-Paper/MIMN) differ, the code holds unless an
argument says otherwise: keys of the slots take part in addressing, writes are balanced
by shifting and sharpening. Departs from the code: padding changes no state, where there
it writes; every channel reaches the attention over channels, where there only the last
one that changed; the balance is of the weights that write, where there they are shifted
and sharpened once more; parameters that no head reads are left out; items have no
category; no batch normalisation; pointwise cross-entropy alone, without the auxiliary
loss over the history, which the paper's comparison leaves out too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from baselines.layers import MLPHead, PairAttention
from mgnm_tf.batch import PADDING_ID, Batch
from mgnm_tf.keras2 import keras
from mgnm_tf.ops import by_rows, score_in_chunks
from mgnm_tf.recommender import SequentialRecommender

BALANCES = ("shift", "transfer", "none")
ADDRESSINGS = ("keyed", "content")
_CLIP = 20.0  # Of what the controller puts out, as in the code.
_USAGE_SCALE = 400.0  # Brings the writes of a long history near one.
_TINY = 1e-12


class MIMN(SequentialRecommender):
    """Writes the history into a memory of M slots; a candidate reads them.

    A neural Turing machine reads the items one by one. Beside each slot a channel, an
    induction unit, follows how the interest of that slot goes on: the slot that an item
    reads most has its channel moved by a GRU. The machine runs once a history, and once
    more, without writing, for each candidate; a perceptron scores

        [candidate; sum of items; output; attention over channels; added * candidate]

    Shapes:
        Batch -> logits [B, C] float32

    Args:
        num_users: the shared signature; not read.
        num_items: size of the item vocabulary, padding included.
        max_history: the shared signature; not read.
        embedding_dim: D, of items, slots and states.
        num_slots: M.
        balance: of writes over slots: "shift", the code's shift and sharpening with the
            usage shown to the controller; "transfer", the paper's product with
            softmax(usage W); or "none".
        balance_weight: of the variance of the slots' usage in the loss.
        addressing: "keyed", the code's, where fixed learned keys of the slots take
            half, and a head says how sharp; or "content", the softmax of cosines that
            the paper has.
        induction: whether there are channels.
        embedding_stddev: standard deviation of the item table's normal initialisation.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        max_history: int = 100,
        embedding_dim: int = 16,
        num_slots: int = 4,
        balance: str = "shift",
        balance_weight: float = 1e-6,
        addressing: str = "keyed",
        induction: bool = True,
        embedding_stddev: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        del num_users, max_history
        if balance_weight < 0:
            raise ValueError(
                "`balance_weight` must be non-negative. "
                f"Received: balance_weight={balance_weight}"
            )
        normal = keras.initializers.RandomNormal(stddev=embedding_stddev)
        self.item_embedding = keras.layers.Embedding(
            num_items, embedding_dim, embeddings_initializer=normal
        )
        self.balance_weight = 0.0 if balance == "none" else balance_weight
        self.machine = MemoryMachine(
            embedding_dim,
            num_slots=num_slots,
            balance=balance,
            addressing=addressing,
            induction=induction,
            dtype="float32",  # The start of the slots would vanish in float16.
        )
        self.induction = induction
        if induction:
            self.channel_attention = PairAttention(activation="sigmoid")
        self.mlp = MLPHead(units=(200, 80), activation="prelu")

    def call(self, batch: Batch, training: bool | None = None) -> tf.Tensor:
        """`score` of `encode`, as in the base class; training needs no chunks."""
        state = self.encode(batch, training=training)
        if not training:
            return self.score(state, batch["candidates"])
        if self.balance_weight:
            usage = state[0].usage  # [B, M]
            variance = tf.math.reduce_variance(usage, axis=1) * usage.shape[1]
            # The train step divides by the number of terms: a mean over histories.
            terms = self.objective.num_terms(batch["candidates"])
            penalty = self.balance_weight * tf.reduce_mean(variance)
            self.add_loss(tf.cast(terms, usage.dtype) * penalty)
        return self._score(state, batch["candidates"])

    def encode(
        self, batch: Batch, training: bool | None = None
    ) -> tuple[Memory, tf.Tensor]:
        """The memory after the newest item, and the sum of the items [B, D]."""
        del training
        mask = tf.not_equal(batch["history"], PADDING_ID)  # [B, T]
        items = self.item_embedding(batch["history"])  # [B, T, D]
        total = tf.reduce_sum(tf.where(mask[..., None], items, 0.0), axis=1)
        return self.machine(items, mask=mask), total

    def score(
        self, state: tuple[Memory, tf.Tensor], candidates: tf.Tensor
    ) -> tf.Tensor:
        if not self.mlp.built:  # Weights are made in the order of `_score`.
            return self._score(state, candidates)
        memory, _ = state
        widths = [self.mlp.units[0]]
        if self.induction:
            widths.append(memory.usage.shape[1] * self.channel_attention.units[0])

        def score(rows: tuple[Memory, tf.Tensor], ids: tf.Tensor) -> tf.Tensor:
            shared = self._share(rows)
            return score_in_chunks(
                lambda some: self._score_shared(rows, shared, some),
                ids,
                floats=tf.shape(ids)[0] * max(widths),
            )

        return by_rows(score, state, candidates, floats=max(widths))

    def _score(
        self, state: tuple[Memory, tf.Tensor], candidates: tf.Tensor
    ) -> tf.Tensor:
        memory, total = state
        items = self.item_embedding(candidates)  # [B, C, D]
        read = [items, self.machine.read(memory, items)]
        if self.induction:
            read.append(self.attend(memory.channels, items))
        read.append(memory.added[:, None] * tf.cast(items, tf.float32))
        joined = tf.concat([tf.cast(part, items.dtype) for part in read], axis=-1)
        return self.mlp((total, joined))

    def _share(self, state: tuple[Memory, tf.Tensor]) -> _Shared:
        """What all candidates of a history have in common."""
        memory, _ = state
        dtype = self.mlp.compute_dtype
        kernel = tf.cast(self.mlp.item_layer.kernel, dtype)  # [3 or 4 D, H]
        parts = tf.split(kernel, kernel.shape[0] // self.machine.size)
        item, output, added = parts[0], parts[1], parts[-1]
        # Of a candidate's item, and of its product with what was added.
        matrix = item + tf.cast(memory.added, dtype)[..., None] * added  # [B, D, H]
        output = tf.broadcast_to(output, tf.shape(matrix))
        matrices, layers = [matrix, output], None
        if self.induction:
            channels = tf.cast(memory.channels, dtype)
            layers = self.channel_attention.first_layers(channels)
            matrices.append(tf.tensordot(channels, parts[2], 1))  # [B, M, H]
        return _Shared(
            reading=self.machine.share(memory),
            channel_layers=layers,
            item_kernel=tf.concat(matrices, axis=1),
        )

    def _score_shared(
        self,
        state: tuple[Memory, tf.Tensor],
        shared: _Shared,
        candidates: tf.Tensor,
    ) -> tf.Tensor:
        """`_score`, from what the candidates have in common."""
        memory, total = state
        items = self.item_embedding(candidates)  # [B, C, D]
        read = self.machine.read_shared(memory, shared.reading, items)
        parts = [items, tf.cast(read, items.dtype)]
        if shared.channel_layers is not None:
            logits = self.channel_attention.score_queries(shared.channel_layers, items)
            logits = tf.transpose(logits, [0, 2, 1])  # [B, C, M]
            parts.append(tf.nn.softmax(logits))
        joined = tf.matmul(tf.concat(parts, axis=-1), shared.item_kernel)
        return self.mlp.score_projected(total, joined)

    def attend(self, channels: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """The channels as each candidate [B, C, D] sees them: [B, C, D]."""
        channels = tf.cast(channels, items.dtype)
        logits = self.channel_attention((channels[:, None], items[:, :, None]))
        return tf.matmul(tf.nn.softmax(logits), channels)


class _Shared(NamedTuple):
    """Of a history, for all its candidates."""

    reading: Reading
    channel_layers: tf.Tensor | None  # [B, M, D+1, H] of the attention over channels
    item_kernel: tf.Tensor  # [B, 2 D (+ M), H], the perceptron's, of what differs


class Reading(NamedTuple):
    """What reading a `Memory` needs of it, whatever the candidate."""

    gates: tf.Tensor  # [B, 1, 2 D], of the controller
    new: tf.Tensor  # [B, 1, D], its input without the candidate's
    reset_kernel: tf.Tensor  # [B, D, D], from the reset gate to the new state
    shown: tf.Tensor  # [B, 1, D+1], of the read head
    output: tf.Tensor  # [B, M, D], from the slots' weights to the output


class Memory(NamedTuple):
    """The state of a `MemoryMachine`, float32."""

    controller: tf.Tensor  # [B, D]
    slots: tf.Tensor  # [B, M, D]
    read: tf.Tensor  # [B, D], what the last item read
    usage: tf.Tensor  # [B, M], the writes so far
    added: tf.Tensor  # [B, D], the sum of what was added, a mean over slots
    channels: tf.Tensor  # [B, M, D]


class MemoryMachine(keras.layers.Layer):
    """Neural Turing machine with induction channels, one read and one write head.

    Shapes:
        items [B, T, D], mask bool [B, T], left-padded -> Memory

    Args:
        size: D.
        num_slots: M.
        balance: see `MIMN`.
        addressing: see `MIMN`.
        induction: see `MIMN`.
    """

    def __init__(
        self,
        size: int,
        num_slots: int = 4,
        balance: str = "shift",
        addressing: str = "keyed",
        induction: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if addressing not in ADDRESSINGS:
            raise ValueError(
                f"`addressing` must be one of {ADDRESSINGS}. "
                f"Received: addressing={addressing}"
            )
        if balance not in BALANCES:
            raise ValueError(
                f"`balance` must be one of {BALANCES}. Received: balance={balance}"
            )
        fewest = 3 if balance == "shift" else 2
        if num_slots < fewest:
            raise ValueError(
                f"`num_slots` must be {fewest} or more with balance={balance}. "
                f"Received: num_slots={num_slots}"
            )
        self.size = size
        self.num_slots = num_slots
        self.balance = balance
        self.addressing = addressing
        # Of a head: its key, and its strength unless the paper's addressing has none.
        self.address_size = size + (1 if addressing == "keyed" else 0)
        self.induction = induction

    def build(self, items_shape: tf.TensorShape) -> None:
        size, slots = self.size, self.num_slots
        self.controller = keras.layers.GRUCell(
            size, reset_after=False, dtype=self.dtype_policy
        )
        self.controller.build([None, 2 * size])
        # A key and its strength; for writing also what to erase and to add, and, to
        # balance, three shifts and how sharp.
        shown = size + (slots if self.balance == "shift" else 0)
        balancing = 4 if self.balance == "shift" else 0
        self.read_head = self._head(shown, self.address_size)
        self.write_head = self._head(shown, self.address_size + 2 * size + balancing)
        self.output_layer = keras.layers.Dense(size, dtype=self.dtype_policy)
        self.output_layer.build([None, 2 * size])
        if self.addressing == "keyed":
            self.slot_keys = self.add_weight(
                "slot_keys",
                (slots, size),
                initializer=keras.initializers.RandomNormal(stddev=0.5),
            )
        self.first_read = self.add_weight("first_read", (size,), initializer="zeros")
        # All but zero, so that the cosine has a direction; one for all histories.
        self.first_slots = self.add_weight(
            "first_slots",
            (slots, size),
            initializer=keras.initializers.RandomNormal(stddev=1e-5),
            trainable=False,
        )
        if self.balance == "transfer":
            self.transfer = self.add_weight("transfer", (slots, slots))
        if self.induction:
            self.induction_cell = keras.layers.GRUCell(
                size, reset_after=False, dtype=self.dtype_policy
            )
            self.induction_cell.build([None, 2 * size])
        super().build(items_shape)

    def call(self, items: tf.Tensor, mask: tf.Tensor) -> Memory:
        def step(memory: Memory, inputs: tuple[tf.Tensor, tf.Tensor]) -> Memory:
            item, real = inputs
            changed = self.step(memory, item)

            def keep(new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
                where = tf.reshape(real, [-1] + [1] * (old.shape.rank - 1))
                return tf.where(where, new, old)

            return tf.nest.map_structure(keep, changed, memory)

        steps = (tf.transpose(items, [1, 0, 2]), tf.transpose(mask))
        return tf.foldl(step, steps, self.start(tf.shape(items)[0]))

    def start(self, rows: tf.Tensor) -> Memory:
        """The memory of an empty history."""
        shape = [rows, self.num_slots, self.size]
        zeros = tf.zeros([rows, self.size])
        return Memory(
            controller=zeros,
            slots=tf.broadcast_to(tf.tanh(self.first_slots), shape),
            read=tf.broadcast_to(tf.tanh(self.first_read), [rows, self.size]),
            usage=tf.zeros([rows, self.num_slots]),
            added=zeros,
            channels=tf.zeros(shape),
        )

    def step(self, memory: Memory, item: tf.Tensor) -> Memory:
        """Reads an item [B, D], and writes."""
        controller = self._control(item, memory.read, memory.controller)
        read_weights = self.read_weights(memory, controller)  # [B, M]
        write_weights, erase, add = self.write(memory, controller)
        read = tf.einsum("bm,bmd->bd", read_weights, memory.slots)  # Before writing.
        kept = 1.0 - write_weights[..., None] * erase[:, None]
        written = write_weights[..., None] * add[:, None]
        share = tf.reduce_mean(tf.stop_gradient(write_weights), axis=1, keepdims=True)
        channels = memory.channels
        if self.induction:
            channels = self._induce(memory, item, read_weights)
        return Memory(
            controller=controller,
            slots=memory.slots * kept + written,
            read=read,
            usage=memory.usage + write_weights,
            added=memory.added + share * add,
            channels=channels,
        )

    def read(self, memory: Memory, items: tf.Tensor) -> tf.Tensor:
        """The output [B, C, D] for each candidate [B, C, D]; nothing is written."""
        items = tf.cast(items, tf.float32)
        rows, count = tf.unstack(tf.shape(items)[:2])

        def repeat(values: tf.Tensor) -> tf.Tensor:  # [B, ...] -> [B C, ...]
            return tf.repeat(values, count, axis=0)

        flat = tf.reshape(items, [rows * count, self.size])
        controller = self._control(flat, repeat(memory.read), repeat(memory.controller))
        parameters = self._parameters(self.read_head, controller, repeat(memory.usage))
        parameters = tf.reshape(parameters, [rows, count, self.address_size])
        weights = self._address(memory.slots, parameters)  # [B, C, M]
        read = tf.reshape(tf.matmul(weights, memory.slots), [rows * count, self.size])
        output = self.output_layer(tf.concat([controller, read], axis=-1))
        output = tf.clip_by_value(output, -_CLIP, _CLIP)
        return tf.reshape(output, [rows, count, self.size])

    def share(self, memory: Memory) -> Reading:
        """What `read_shared` needs, made once for all candidates."""
        size, cell = self.size, self.controller
        constant = tf.matmul(memory.read, cell.kernel[size:]) + cell.bias
        gates, new = tf.split(constant, [2 * size, size], axis=-1)
        recurrent = cell.recurrent_kernel
        gates += tf.matmul(memory.controller, recurrent[:, : 2 * size])
        shown = tf.broadcast_to(
            self.read_head.bias, [tf.shape(new)[0], self.address_size]
        )
        if self.balance == "shift":
            kernel = self.read_head.kernel[size:]
            shown += tf.matmul(memory.usage / _USAGE_SCALE, kernel)
        return Reading(
            gates=gates[:, None],
            new=new[:, None],
            reset_kernel=memory.controller[..., None] * recurrent[:, 2 * size :],
            shown=shown[:, None],
            output=tf.tensordot(memory.slots, self.output_layer.kernel[size:], 1),
        )

    def read_shared(
        self, memory: Memory, reading: Reading, items: tf.Tensor
    ) -> tf.Tensor:
        """As `read`, with what all candidates share made before."""
        size, cell = self.size, self.controller
        given = tf.tensordot(tf.cast(items, tf.float32), cell.kernel[:size], 1)
        gates, new = tf.split(given, [2 * size, size], axis=-1)
        update, reset = tf.split(tf.sigmoid(gates + reading.gates), 2, axis=-1)
        # The reset gate multiplies the state, and so the rows of its kernel.
        new = tf.tanh(new + reading.new + tf.matmul(reset, reading.reset_kernel))
        before = memory.controller[:, None]
        controller = new + update * (before - new)  # [B, C, D]
        parameters = tf.tensordot(controller, self.read_head.kernel[:size], 1)
        parameters = tf.clip_by_value(parameters + reading.shown, -_CLIP, _CLIP)
        weights = self._address(memory.slots, parameters)  # [B, C, M]
        output = tf.tensordot(controller, self.output_layer.kernel[:size], 1)
        output += tf.matmul(weights, reading.output) + self.output_layer.bias
        return tf.clip_by_value(output, -_CLIP, _CLIP)

    def read_weights(self, memory: Memory, controller: tf.Tensor) -> tf.Tensor:
        """Shares of the slots in what an item reads [B, M]."""
        parameters = self._parameters(self.read_head, controller, memory.usage)
        return self._address(memory.slots, parameters[:, None])[:, 0]

    def write(
        self, memory: Memory, controller: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Weights of the slots [B, M], and what to erase and to add, [B, D] each."""
        parameters = self._parameters(self.write_head, controller, memory.usage)
        sizes = [self.address_size, self.size, self.size, -1]
        address, erase, add, rest = tf.split(parameters, sizes, axis=-1)
        weights = self._address(memory.slots, address[:, None])[:, 0]
        if self.balance == "shift":
            shifts = tf.nn.softmax(rest[:, :3])
            sharpness = 4.0 * (tf.nn.softplus(rest[:, 3:]) + 1.0)
            weights = shift_and_sharpen(weights, shifts, sharpness)
        elif self.balance == "transfer":
            weights *= tf.nn.softmax(tf.matmul(memory.usage, self.transfer))
        return weights, tf.sigmoid(erase), tf.tanh(add)

    def _induce(
        self, memory: Memory, item: tf.Tensor, read_weights: tf.Tensor
    ) -> tf.Tensor:
        """Channels [B, M, D], the one of the slot that was read most having moved."""
        chosen = tf.one_hot(tf.argmax(read_weights, axis=1), self.num_slots)  # [B, M]
        slot = tf.stop_gradient(tf.einsum("bm,bmd->bd", chosen, memory.slots))
        channel = tf.einsum("bm,bmd->bd", chosen, memory.channels)
        moved, _ = self.induction_cell(tf.concat([item, slot], axis=-1), [channel])
        return tf.where(chosen[..., None] > 0, moved[:, None], memory.channels)

    def _control(
        self, item: tf.Tensor, read: tf.Tensor, controller: tf.Tensor
    ) -> tf.Tensor:
        return self.controller(tf.concat([item, read], axis=-1), [controller])[0]

    def _parameters(
        self, head: keras.layers.Dense, controller: tf.Tensor, usage: tf.Tensor
    ) -> tf.Tensor:
        if self.balance == "shift":
            shown = tf.stop_gradient(usage) / _USAGE_SCALE
            controller = tf.concat([controller, shown], axis=-1)
        return tf.clip_by_value(head(controller), -_CLIP, _CLIP)

    def _address(self, slots: tf.Tensor, parameters: tf.Tensor) -> tf.Tensor:
        """Softmax over slots [B, M, D] of cosines with the heads' keys: [B, C, M].

        The parameters [B, C, D + 1] are a key and its strength; of "content" they are
        a key alone, [B, C, D].
        """
        key = tf.tanh(parameters[..., : self.size])
        if self.addressing == "content":
            return tf.nn.softmax(_cosines(key, slots))
        strength = 2.0 * (tf.nn.softplus(parameters[..., -1:]) + 1.0)
        cosines = _cosines(key, slots) + _cosines(key, tf.tanh(self.slot_keys)[None])
        return tf.nn.softmax(strength * cosines / 2.0)

    def _head(self, inputs: int, outputs: int) -> keras.layers.Dense:
        head = keras.layers.Dense(
            outputs,
            dtype=self.dtype_policy,
            kernel_initializer=keras.initializers.TruncatedNormal(
                stddev=self.size**-0.5
            ),
        )
        head.build([None, inputs])
        return head

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "size": self.size,
            "num_slots": self.num_slots,
            "balance": self.balance,
            "addressing": self.addressing,
            "induction": self.induction,
        }


def shift_and_sharpen(
    weights: tf.Tensor, shifts: tf.Tensor, sharpness: tf.Tensor
) -> tf.Tensor:
    """Moves weights around the slots, then raises and normalises them.

    Shapes:
        weights [B, M], shifts [B, 3] (stay, forward by one, backward), sharpness [B, 1]
        -> [B, M]
    """
    shifted = (
        shifts[:, :1] * weights
        + shifts[:, 1:2] * tf.roll(weights, 1, axis=1)
        + shifts[:, 2:] * tf.roll(weights, -1, axis=1)
    )
    # A softmax of logarithms, since a power of 84 underflows.
    return tf.nn.softmax(sharpness * tf.math.log(shifted + _TINY))


def _cosines(keys: tf.Tensor, slots: tf.Tensor) -> tf.Tensor:
    """Cosines [B, C, M] of keys [B, C, D] and slots [B or 1, M, D]."""
    key_norms, slot_norms = (
        tf.sqrt(tf.reduce_sum(tf.square(x), axis=-1) + _TINY) for x in (keys, slots)
    )
    products = tf.matmul(keys, slots, transpose_b=True)
    return products / (key_norms[..., None] * slot_norms[:, None] + 1e-8)
