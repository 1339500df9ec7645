"""How much of the exact answers an index finds, on a sample of people."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from absl import logging

from harness.sampling import sample_rows
from serving.answers import Answers
from serving.index import Index
from serving.recommender import Recommender
from serving.requests import Requests

_MOST, _SEED = 1_000, 3


class Sample:
    """People whose exact answers are known.

    Args:
        recommender: who answers.
        asked: the people that at most 1,000 are drawn from.
        k: as for `Recommender.recommend`.
        exclude_seen: see there.
    """

    def __init__(
        self,
        recommender: Recommender,
        asked: Requests,
        k: int,
        exclude_seen: bool | None = None,
    ) -> None:
        rows = sample_rows(len(asked), _MOST, _SEED)
        self._few = Requests(None, asked.users[rows], asked.histories.take(rows))
        self._recommender, self._k, self._exclude_seen = recommender, k, exclude_seen
        self._exact = _scores(recommender.stream(self._few, k, exclude_seen))

    def __len__(self) -> int:
        return len(self._few)

    def recall(self, index: Index) -> float:
        """The share of the exact answers that an index finds.

        Of equal scores any item counts: the k-th score is what must be reached.
        """
        return self._recalls(index)[0]

    def tune(self, index: Index, recall: float) -> float:
        """Lets an index of cells look into as few as find `recall`; returns what it is.

        The number of cells is doubled until they are enough, and then halved in
        between until it is at most a quarter more than what is needed. If all cells
        are not enough, which is `depth`'s limit, that is said. Whom the index finds
        too few for k is searched exactly: right, but slow, and no merit of its cells.
        """
        too_few, enough = 0, 1
        while True:
            reached, own = self._probed(index, enough)
            if own >= recall:
                break
            if enough >= index.cells:
                logging.warning(
                    "The index finds %.4f of the exact answers with all its %d cells, "
                    "not %s: more `depth` finds more.",
                    own,
                    index.cells,
                    recall,
                )
                return reached
            too_few, enough = enough, 2 * enough
        while enough - too_few > max(1, too_few // 4):
            middle = (too_few + enough) // 2
            of_middle, own = self._probed(index, middle)
            if own < recall:
                too_few = middle
            else:
                enough, reached = middle, of_middle
        index.probe(enough)
        return reached

    def _probed(self, index: Index, probes: int) -> tuple[float, float]:
        index.probe(probes)
        return self._recalls(index)

    def _recalls(self, index: Index) -> tuple[float, float]:
        """The recall, and that of an index without the exact search for some people."""
        parts = list(
            self._recommender.stream(
                self._few, self._k, self._exclude_seen, index=index
            )
        )
        scores = _scores(parts)
        there = np.isfinite(self._exact)
        last = np.where(there, self._exact, np.inf).min(axis=1, keepdims=True)
        near = scores >= last - 1e-5 * np.maximum(1.0, np.abs(last))
        own = near
        if not index.is_exact:
            # Then only an exact search certifies.
            searched = np.concatenate([part.certified for part in parts])
            own = near & ~searched[:, None]
        total = max(there.sum(), 1)
        return float(near.sum() / total), float(own.sum() / total)


def _scores(answers: Iterable[Answers]) -> np.ndarray:
    return np.concatenate([part.scores for part in answers])
