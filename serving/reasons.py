"""Why an item is recommended: its interest, and the history items that it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from data.errors import UserError
from mgnm_tf.recommender import SequentialRecommender
from serving import requests, search
from serving.answers import Answers

# Reasons given, and people whose reasons are worked out at a time.
_WHY, _PEOPLE = 3, 256


class Reasons:
    """Explains answers by a model's interests.

    Args:
        model: whose `explain` gives interests and couplings.
    """

    def __init__(self, model: SequentialRecommender) -> None:
        self._model = model
        self._explain = tf.function(
            self._explained,
            input_signature=[
                search.signature(model),
                tf.TensorSpec([None, None], tf.int32),
            ],
        )

    def of(
        self, answers: Answers, make_batch: Callable[[np.ndarray], Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of each recommended item its interest, and what that holds most of.

        Args:
            answers: of n people, k items each.
            make_batch: what the model reads of people, by their places in the answers.

        Returns:
            The interest nearest to each item, int32 [n, k], and the ids of the history
            items with the highest coupling to it, int32 [n, k, 3]; -1 and 0 where the
            history is empty.

        Raises:
            UserError: if the model has no interests.
        """
        interests = np.full(answers.ids.shape, -1, np.int32)
        items = np.zeros((*answers.ids.shape, _WHY), np.int32)
        for places in requests.slabs(len(answers.rows), _PEOPLE):
            ids = answers.ids[places]
            batch = make_batch(places)
            explanation = self._explain(batch, tf.constant(ids))
            if "couplings" not in explanation:
                raise UserError(
                    f"{type(self._model).__name__} has no interests to explain by; "
                    "mgnm, mind and comirec have."
                )
            levels = np.maximum(answers.levels[places], 0)  # [B, k]
            won, couplings = self._winners(explanation, ids, levels)
            best = np.argsort(-couplings, axis=2, kind="stable")[..., :_WHY]
            history = batch["history"].numpy()
            held = np.take_along_axis(history[:, None], best, axis=2)  # [B, k, 3]
            real = np.take_along_axis(couplings, best, axis=2) > 0
            items[places, :, : held.shape[2]] = np.where(real, held, 0)
            interests[places] = np.where(answers.popular[places, None], -1, won)
        return interests, items

    def _explained(self, batch: Any, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        asked: Any = {**batch, "candidates": ids}
        return self._model.explain(asked)

    def _winners(
        self, explanation: dict[str, tf.Tensor], ids: np.ndarray, levels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The interest nearest to each item [B, k], and its couplings [B, k, T]."""
        model: Any = self._model
        items = model.item_embedding(tf.constant(ids))  # [B, k, D]
        products = tf.einsum("blid,bkd->bkli", explanation["interests"], items)
        if "active" in explanation:
            active = explanation["active"][:, None]
            products = tf.where(active, products, products.dtype.min)
        products = tf.gather(products, levels, batch_dims=2)  # [B, k, K]
        won = tf.argmax(products, axis=2, output_type=tf.int32)
        cells = tf.stack([tf.constant(levels, tf.int32), won], axis=2)
        held = tf.gather_nd(explanation["couplings"], cells, batch_dims=1)
        return won.numpy(), held.numpy()
