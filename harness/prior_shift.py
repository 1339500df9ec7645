"""What an item's logit lacks because it was more, or less, popular before a request."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from mgnm_tf.batch import Batch, TrainEvents
from mgnm_tf.keras2 import keras

# The times of training are cut into so many spans with equally many events.
_SPANS = 64
# As if the whole log's popularities had so large a share in the recent ones.
_SMOOTHING = 0.1


class PriorShift(keras.layers.Layer):
    """Corrects logits for items whose popularity has changed since most of training.

    A model that learns from all events of a log learns how popular items were on
    average. If what differs at a request is only how often each item is taken, the
    logits lack the logarithm of recent over average popularity (prior shift, Saerens et
    al. 2002; logit adjustment, Menon et al., ICLR 2021):

        shift(i, t) = strength log((recent(i, t) + 1) / (events(i) + 1))

    where recent(i, t) counts the training events of i before t, of which one counts
    half as much after each `half_life`; it is scaled to the number of all events, and
    smoothed by the average. Ages are counted in events of the whole log and not in
    seconds, so that one default fits logs of days and of years. Nothing is learned by
    gradients, and training does not read it.

    Times are cut into 64 spans with equally many events, and an event counts from the
    span after its own: none at or after a request is read for it. Requests after the
    last training event read all of them.

    Shapes:
        items [B, C] or [C], spans [B] -> [B, C] float32

    Args:
        num_items: size of the item vocabulary, padding included.
        half_life: in shares of all training events.
        strength: one is for recent popularities without noise; zero changes nothing.
    """

    def __init__(
        self,
        num_items: int,
        half_life: float = 0.05,
        strength: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(trainable=False, **kwargs)
        if half_life <= 0:
            raise ValueError(
                f"`half_life` must be positive. Received: half_life={half_life}"
            )
        self.num_items = num_items
        self.half_life = half_life
        self.strength = strength
        self.span_ends = self.add_weight(
            "span_ends", (_SPANS,), dtype=tf.int64, initializer="zeros", trainable=False
        )
        # A row for each item, as in the tables that grow with the catalogue.
        self.shifts = self.add_weight(
            "shifts",
            (num_items, _SPANS + 1),
            dtype=tf.float16,
            initializer="zeros",
            trainable=False,
            experimental_autocast=False,
        )

    def adapt(self, train: TrainEvents) -> None:
        """Counts the events of training; without times nothing shifts."""
        if train.times is None or not len(train.times):
            return
        count = len(train.times)
        ends = np.sort(train.times)[np.arange(1, _SPANS) * count // _SPANS]
        spans = np.searchsorted(ends, train.times, side="right")
        kept = 0.5 ** (1 / (self.half_life * _SPANS))
        average = np.bincount(train.items, minlength=self.num_items).astype(float)
        # A share of what all events weigh together when the log has long begun.
        extra = _SMOOTHING * count / _SPANS * kept / (1 - kept)
        recent, weight = np.zeros(self.num_items), 0.0
        shifts = np.empty(self.shifts.shape, np.float16)  # As stored: 130 B an item.
        for span in range(_SPANS + 1):
            smoothed = recent + extra * average / count
            scaled = smoothed * count / (weight + extra)
            shifts[:, span] = self.strength * np.log((scaled + 1) / (average + 1))
            own = train.items[spans == span]
            recent = kept * (recent + np.bincount(own, minlength=self.num_items))
            weight = kept * (weight + len(own))
        self.span_ends.assign(np.append(ends, train.times.max() + 1))
        self.shifts.assign(shifts)

    def spans(self, batch: Batch) -> tf.Tensor:
        """The spans [B] of the requests; without times they come after all events."""
        if "target_time" not in batch:
            return tf.fill([tf.shape(batch["user"])[0]], _SPANS)
        return tf.searchsorted(self.span_ends, batch["target_time"], side="right")

    def latest(self, items: tf.Tensor) -> tf.Tensor:
        """The shifts [N] of items [N] after all events of the training."""
        return self(items, spans=tf.constant([_SPANS]))[0]

    def call(self, items: tf.Tensor, spans: tf.Tensor) -> tf.Tensor:
        places = items * (_SPANS + 1) + spans[:, None]  # [B, C]
        shifts = tf.gather(tf.reshape(self.shifts, [-1]), places)
        return tf.cast(shifts, tf.float32)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_items": self.num_items,
            "half_life": self.half_life,
            "strength": self.strength,
        }
