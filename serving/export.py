"""A finished run as a SavedModel that needs nothing of this project."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from data import atomic, locks, sentences
from data.errors import UserError
from harness import vocabulary
from mgnm_tf.batch import PADDING_ID
from serving import bundle, search, vectors
from serving.recommender import Recommender

# Where TensorFlow Serving looks for the newest of a model's versions.
VERSION = "1"
_COPIED = ("config.json", "passport.json", "seal.json", "model.weights.h5")


def export(run_dir: Path, to: Path, data_dir: Path | None = None) -> None:
    """Writes a bundle: the SavedModel, what `Recommender.load` reads, and hashes.

    Args:
        run_dir: of a finished run.
        to: the bundle's folder; an older bundle there is replaced.
        data_dir: where `data.prepare` wrote, if the bundle shall hold the histories of
            all users.

    Raises:
        UserError: if the run cannot be served, `to` holds something else, or another
            process writes there.
    """
    bundle.check_replace(to)
    recommender = Recommender.load(run_dir, data_dir)
    try:
        with locks.writing(to, "exported"), atomic.whole_folder(to) as folder:
            _fill(folder, run_dir, recommender)
    except OSError as error:
        error.filename = str(to)  # Not the hidden name that was written to.
        raise UserError(f"{sentences.of(error)} Nothing was written.") from error


def _fill(folder: Path, run_dir: Path, recommender: Recommender) -> None:
    """Writes all files of a bundle, the manifest last."""
    signatures = write_saved_model(recommender, folder / VERSION)
    for name in (*_COPIED, vocabulary.SUMMARY, *recommender.vocabulary.sha256):
        shutil.copyfile(run_dir / name, folder / name)
    if recommender.histories is not None:
        bundle.write_histories(folder, recommender.histories)
    about = {
        "model": recommender.config.model,
        "variant": recommender.config.variant,
        "items": recommender.vocabulary.num_items - 1,
        "users": recommender.vocabulary.num_users - 1,
        "exclude_seen": not recommender.keeps_past,  # as the run was measured
        "signatures": signatures,
    }
    bundle.write_manifest(folder, about)


def write_saved_model(recommender: Recommender, folder: Path) -> dict[str, Any]:
    """Writes the SavedModel alone.

    Returns:
        The inputs of each signature, by name.
    """
    served = _Served(recommender)
    module = tf.Module()
    functions = served.functions()
    signatures = {
        name: function.get_concrete_function(**specs)
        for name, (function, specs) in functions.items()
    }
    # Tables, and variables that a model keeps outside its weights.
    module.tables = served.tables
    module.captured = [v for one in signatures.values() for v in one.graph.variables]
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return {name: sorted(specs) for name, (_, specs) in functions.items()}


class _Served:
    """The graph of a SavedModel: raw ids in, raw ids out."""

    def __init__(self, recommender: Recommender) -> None:
        self._model = recommender.model
        self._max_history = recommender.config.max_history
        self._reads_times = self._model.needs_times
        self._reads_user = self._model.user_embedding is not None
        names = recommender.vocabulary
        self._last_time = names.last_time or 0
        self._popularity = recommender.popularity
        self._items = tf.range(1, names.num_items)
        keys = np.concatenate([[""], names.items]).astype(object)
        self._keys = tf.constant(keys, tf.string)
        self._item_ids = _table(names.items)
        self.tables = [self._item_ids]
        if self._reads_user:
            self._user_ids = _table(names.users)
            self.tables.append(self._user_ids)

    def functions(self) -> dict[str, tuple[Any, dict[str, tf.TensorSpec]]]:
        """Signatures by name: what is called, and its inputs."""
        ids = tf.TensorSpec([None, None], tf.string)
        flat = {
            "items": tf.TensorSpec([None], tf.string),
            "lengths": tf.TensorSpec([None], tf.int64),
        }
        person, times, flat_times = {}, {}, {}
        if self._reads_user:
            person["user"] = tf.TensorSpec([None], tf.string)
        if self._reads_times:
            person["at"] = tf.TensorSpec([None], tf.int64)
            times["history_times"] = tf.TensorSpec([None, None], tf.int64)
            flat_times["times"] = tf.TensorSpec([None], tf.int64)
        asked = {
            "k": tf.TensorSpec([], tf.int32),
            "exclude_seen": tf.TensorSpec([], tf.bool),
        }
        padded = {"history": ids, **times, **person}
        signatures = {
            "serving_default": (tf.function(self._recommend), {**padded, **asked}),
            "ragged": (
                tf.function(self._recommend_ragged),
                {**flat, **flat_times, **person, **asked},
            ),
        }
        if vectors.has_vectors(self._model):
            part = tf.TensorSpec([], tf.int32)
            signatures["interests"] = (tf.function(self._interests), padded)
            signatures["items"] = (
                tf.function(self._item_table),
                {"first": part, "count": part},
            )
        return signatures

    def _recommend(
        self, history: tf.Tensor, k: tf.Tensor, exclude_seen: tf.Tensor, **others: Any
    ) -> dict[str, tf.Tensor]:
        catalogue = tf.size(self._items)
        checks = [
            tf.debugging.assert_positive(k, "k must be positive"),
            tf.debugging.assert_less_equal(
                k, catalogue, "k is larger than the catalogue"
            ),
        ]
        with tf.control_dependencies(checks):
            batch, past = self._batch(history, **others)
        seen = tf.where(exclude_seen, past, PADDING_ID)
        best = search.best_items(
            self._model, batch, self._items, seen, self._popularity, k
        )
        tf.debugging.assert_equal(best.finite, True, "a score is not a finite number")
        return {
            "items": tf.gather(self._keys, best.ids),
            "scores": best.scores,
            "levels": best.levels,
            "popular": best.popular,
        }

    def _recommend_ragged(
        self, items: tf.Tensor, lengths: tf.Tensor, **others: Any
    ) -> dict[str, tf.Tensor]:
        history = tf.RaggedTensor.from_row_lengths(items, lengths).to_tensor("")
        if self._reads_times:
            times = tf.RaggedTensor.from_row_lengths(others.pop("times"), lengths)
            others["history_times"] = times.to_tensor(0)
        return self._recommend(history, **others)

    def _interests(self, history: tf.Tensor, **others: Any) -> dict[str, tf.Tensor]:
        batch, _ = self._batch(history, **others)
        state = self._model.encode(batch, training=False)
        return {"interests": vectors.interest_vectors(self._model, state)}

    def _item_table(self, first: tf.Tensor, count: tf.Tensor) -> dict[str, tf.Tensor]:
        """Items `first`, `first` + 1, ..., counted from 0, `count` of them."""
        rows = slice(first + 1, first + 1 + count)
        table = vectors.item_vectors(self._model)
        return {"items": self._keys[rows], "vectors": table[rows]}

    def _batch(
        self,
        history: tf.Tensor,
        user: tf.Tensor | None = None,
        history_times: tf.Tensor | None = None,
        at: Any = None,
    ) -> tuple[Any, tf.Tensor]:
        """What the model reads, and all known items of the histories [B, P].

        Padding and unknown items may stand anywhere; what is known is kept in its
        order, on the right.
        """
        ids = self._item_ids.lookup(history)  # [B, P]
        known = ids != PADDING_ID
        order = tf.argsort(tf.cast(known, tf.int32), axis=1, stable=True)

        def kept(values: tf.Tensor) -> tf.Tensor:
            values = tf.gather(tf.where(known, values, 0), order, batch_dims=1)
            longest = tf.reduce_max(
                tf.math.count_nonzero(known, axis=1, dtype=tf.int32)
            )
            width = tf.maximum(longest, 1)
            values = tf.pad(values, [[0, 0], [1, 0]])  # There may be no column.
            return values[:, tf.shape(values)[1] - width :]

        past = kept(ids)
        rows = tf.shape(ids)[0]
        users = (
            tf.zeros([rows], tf.int32) if user is None else self._user_ids.lookup(user)
        )
        batch = {"user": users, "history": past[:, -self._max_history :]}
        if self._reads_times:
            times = kept(history_times)[:, -self._max_history :]
            # The newest stands last; where nothing is known a zero does, no time.
            own = tf.where(past[:, -1] != PADDING_ID, times[:, -1], self._last_time)
            latest = tf.maximum(own, self._last_time)
            batch["history_times"] = times
            batch["target_time"] = tf.where(at > 0, at, latest)
        return batch, past


def _table(keys: np.ndarray) -> tf.lookup.StaticHashTable:
    """Raw ids to 1, 2, ...; 0 for any other text."""
    numbers = np.arange(1, len(keys) + 1, dtype=np.int32)
    pairs = tf.lookup.KeyValueTensorInitializer(
        tf.constant(keys.astype(object), tf.string), tf.constant(numbers)
    )
    return tf.lookup.StaticHashTable(pairs, default_value=0)
