"""What TensorBoard shows of a run beside loss and metrics: docs/tensorboard.md."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalar
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.util.tensor_util import make_tensor_proto

from data.candidates import candidate_negatives
from data.pipeline import batch_signature, gather_histories, targets
from data.prepared import PreparedData
from harness.board import diagnostics
from harness.board.heat_maps import HistoryPicture
from harness.config import Config
from mgnm_tf.batch import PADDING_ID
from mgnm_tf.recommender import SequentialRecommender

# Validation instances looked into after an epoch, and the negatives of each.
_NUM_PROBED, _NUM_NEGATIVES = 64, 100
# Users with pictures: their histories are short enough to label, long enough to see.
_NUM_EXAMPLES, _EXAMPLE_LENGTH = 3, 12
# Beside the last epoch, those that have pictures: early ones change the most.
_PICTURED = frozenset(4**power for power in range(8))
_SEED = 42

# Charts that hold all levels at once, and the tags in them.
_CHARTS = {
    "validation loss of each level": "levels/valid_loss/",
    "which level wins: positives": "levels/win_share/positive/",
    "which level wins: negatives": "levels/win_share/negative/",
    "routing entropy": "interests/routing_entropy/",
    "cosine between interests": "interests/cosine/",
    "dead interests": "interests/dead_share/",
}


class Board:
    """Looks into a model after each epoch, always at the same few histories.

    They are validation instances, of different users, drawn by a seed of their own. A
    model that explains nothing (`SequentialRecommender.explain`) costs nothing.

    Args:
        model: the model that is being trained; its present weights are shown.
        data: the prepared data whose validation instances are looked at.
        config: the configuration of the run that is shown.
    """

    def __init__(
        self, model: SequentialRecommender, data: PreparedData, config: Config
    ) -> None:
        self._data = data
        self._config = config
        self._silent = type(model).explain is SequentialRecommender.explain
        if self._silent:
            return
        self._explain = tf.function(
            model.explain, input_signature=[batch_signature(data)]
        )
        rows = _one_row_a_user(data.instances["valid"][:, 0])
        self._probe = self._batch(rows[:_NUM_PROBED])
        ends = data.instances["valid"][rows, 1]
        distance = np.abs(np.minimum(ends, config.max_history) - _EXAMPLE_LENGTH)
        nearest = np.argsort(distance, kind="stable")[:_NUM_EXAMPLES]
        self._examples = self._batch(rows[nearest])
        self._pictures: dict[str, HistoryPicture] = {}

    def write(self, epoch: int, last: bool) -> None:
        """Writes to the default summary writer what the model explains now.

        Args:
            epoch: how many epochs are finished, which is the step in TensorBoard.
            last: whether training stops after this epoch, so that its pictures are
                kept.
        """
        if self._silent:
            return
        if epoch == 1:
            tf.summary.experimental.write_raw_pb(_layout(), step=0)
        explained = self._look(self._probe)
        # Written at once: a call of `tf.summary` for each takes ten times as long.
        summary = Summary()
        if "level_logits" in explained:
            self._add_levels(summary, explained["level_logits"])
        if "interests" in explained:
            self._add_interests(summary, explained)
            if last or epoch in _PICTURED:
                self._add_pictures(summary)
        tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=epoch)

    def _batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        instances = self._data.instances["valid"][rows]
        batch = gather_histories(self._data, instances, self._config.max_history)
        negatives = candidate_negatives(
            self._data, "valid", "uni1000", self._config.candidate_seed
        )[rows, :_NUM_NEGATIVES]  # A row's come in random order.
        positives = targets(self._data, instances)[:, None]
        batch["candidates"] = np.concatenate([positives, negatives], axis=1)
        return batch

    def _look(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = {key: tf.convert_to_tensor(value) for key, value in batch.items()}
        # float32, also under mixed precision.
        return {
            key: tf.cast(value, tf.float32).numpy()
            for key, value in self._explain(tensors).items()
        }

    def _add_levels(self, summary: Any, logits: np.ndarray) -> None:
        as_in_training = logits[..., : 1 + self._config.num_negatives]
        losses = diagnostics.losses_by_level(as_in_training)
        _add_by_level(summary, "levels/valid_loss", losses)
        wins = diagnostics.wins_by_instance(logits, self._probe["candidates"])
        for kind, counts in wins.items():
            total = counts.sum(axis=0)  # [L]
            share = total / max(total.sum(), 1)
            _add_by_level(summary, f"levels/win_share/{kind}", share)
            winners = np.repeat(np.arange(len(total)), total)
            tag = f"levels/winner/{kind}"
            summary.MergeFrom(histogram_pb(tag, winners, buckets=len(total)))
        counts = wins["negative"]
        by_user = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        for level, shares in enumerate(by_user.T):
            tag = f"levels/win_share_by_user/negative/level_{level}"
            summary.MergeFrom(histogram_pb(tag, shares))

    def _add_interests(self, summary: Any, explained: dict[str, np.ndarray]) -> None:
        entropy = diagnostics.routing_entropy(
            explained["couplings"], _lengths(self._probe)
        )
        _add_by_level(summary, "interests/routing_entropy", entropy)
        cosine = diagnostics.pairwise_cosine(explained["interests"])
        _add_by_level(summary, "interests/cosine", cosine)
        dead = diagnostics.dead_share(explained["interests"], explained.get("active"))
        _add_by_level(summary, "interests/dead_share", dead)

    def _add_pictures(self, summary: Any) -> None:
        explained = self._look(self._examples)
        lengths = _lengths(self._examples)
        if not self._pictures:
            self._pictures = self._make_pictures(explained, lengths)
        for row, (user, picture) in enumerate(self._pictures.items()):
            newest = slice(-lengths[row], None)
            adjacency = None
            if "adjacency" in explained:
                adjacency = explained["adjacency"][row, newest, newest]
            drawn = picture.draw(explained["couplings"][row, ..., newest], adjacency)
            _add_image(summary, f"history/user_{user}", drawn)

    def _make_pictures(
        self, explained: dict[str, np.ndarray], lengths: np.ndarray
    ) -> dict[str, HistoryPicture]:
        """The pictures of the examples, by the user's key."""
        users, items = self._data.keys("users"), self._data.keys("items")
        _, num_levels, num_interests, _ = explained["couplings"].shape
        pictures = {}
        for row, length in enumerate(lengths):
            user = str(users[self._examples["user"][row] - 1])
            history = self._examples["history"][row, -length:]
            pictures[user] = HistoryPicture(
                f"user {user}",
                [str(key) for key in items[history - 1]],
                num_levels,
                num_interests,
                with_adjacency="adjacency" in explained,
            )
        return pictures


def _one_row_a_user(users: np.ndarray) -> np.ndarray:
    """A row of each user, in random order."""
    order = np.random.default_rng(_SEED).permutation(len(users))
    first = np.unique(users[order], return_index=True)[1]
    return order[np.sort(first)]


def _lengths(batch: dict[str, np.ndarray]) -> np.ndarray:
    return (batch["history"] != PADDING_ID).sum(axis=1)


def _add_by_level(summary: Any, name: str, values: np.ndarray) -> None:
    """One scalar a level; NaN says that there is none and leaves a gap."""
    for level, value in enumerate(values):
        if np.isfinite(value):
            summary.MergeFrom(scalar_pb(f"{name}/level_{level}", value))


def _add_image(summary: Any, tag: str, pixels: np.ndarray) -> None:
    height, width, _ = pixels.shape
    png = tf.io.encode_png(pixels, compression=1).numpy()  # Fast, and not much larger.
    metadata = image_metadata.create_summary_metadata(
        display_name=None, description=None, converted_to_tensor=None
    )
    tensor = make_tensor_proto([b"%d" % width, b"%d" % height, png])
    summary.value.add(tag=tag, metadata=metadata, tensor=tensor)


def _layout() -> bytes:
    charts = [
        layout_pb2.Chart(
            title=title, multiline=layout_pb2.MultilineChartContent(tag=[f"^{tag}"])
        )
        for title, tag in _CHARTS.items()
    ]
    category = layout_pb2.Category(title="levels and interests", chart=charts)
    layout = layout_pb2.Layout(category=[category])
    return custom_scalar.pb(layout).SerializeToString()
