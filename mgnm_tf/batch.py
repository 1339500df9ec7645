"""What every model reads: one batch of histories and candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypedDict

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

PADDING_ID = 0


class _Required(TypedDict):
    user: tf.Tensor  # int32 [B]; 0 is an unknown user
    history: tf.Tensor  # int32 [B, T]; left-padded with PADDING_ID, newest last
    candidates: tf.Tensor  # int32 [B, C]; column 0 the next item, then negatives


class Batch(_Required, total=False):
    """Tensors of one batch; the times are present when the data has times.

    With `shared_negatives`, which training alone has, `candidates` is the next item
    alone, and each row has all of these items for negatives.
    """

    history_times: tf.Tensor  # int64 [B, T], seconds since the epoch; 0 at padding
    target_time: tf.Tensor  # int64 [B], seconds since the epoch
    shared_negatives: tf.Tensor  # int32 [N]


class TrainEvents(NamedTuple):
    """All events that training may see, user after user, each user's in time order.

    What `SequentialRecommender.adapt` reads. User and item ids as in a batch.
    """

    users: np.ndarray  # int32 [E]
    items: np.ndarray  # int32 [E]
    times: np.ndarray | None  # int64 [E], seconds since the epoch


class UnfitEventsError(ValueError):
    """A model cannot learn from these events, whatever its arguments."""
