"""Recommendations from a finished run: raw ids in, raw ids out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import tensorflow as tf
from absl import logging

from data.errors import UserError
from harness import provenance, standalone
from harness.scoring import like_lengths
from harness.standalone import StandaloneRun
from serving import bundle, new_items, requests, search
from serving.answers import Answers, gathered, of_best, replaced
from serving.histories import Histories, batch_of, no_items, padded, stored
from serving.index import Index
from serving.reasons import Reasons
from serving.requests import Requests

# People whose answers are in memory at a time, the most that are encoded at once, and
# scores of the catalogue that a batch may hold: some models score all items at once.
_SLAB, _ROWS, _BATCH_SCORES = 8_192, 256, 2**25
HISTORY, POPULAR = "history", "popular"


class Recommender:
    """Recommends with the model of a finished run, or of an exported bundle.

    Example:
        recommender = Recommender.load("runs/shop-mgnm")
        recommender.recommend(history=["B00004YK10", "B00005BZLX"], k=10)

    Args:
        run: the opened run.
        histories: of all its users; None where they are not at hand.
    """

    def __init__(self, run: StandaloneRun, histories: Histories | None = None) -> None:
        self.run = run
        self.vocabulary = run.vocabulary
        self.config = run.config
        self.model = run.model
        # Old passports, and those of benchmarks, say nothing of it.
        self.keeps_past = run.run.passport.get("data", {}).get("keeps_past", False)
        if self.model.stateful_scoring:
            raise UserError(
                f"{run.folder}: scores of {run.config.model}, variant "
                f"{run.config.variant}, depend on what was scored before. It can be "
                "measured, not served."
            )
        self.ids = requests.Ids(run.vocabulary)
        self.histories = histories
        self._keys = np.concatenate([[""], run.vocabulary.items]).astype(object)
        counts = np.concatenate([[0], run.vocabulary.counts])
        self.popularity = tf.constant(counts, tf.float32)
        self._rows = max(1, min(_ROWS, _BATCH_SCORES // run.vocabulary.num_items))
        self._reads_times = self.model.needs_times
        batch = search.signature(self.model)
        ids = tf.TensorSpec([None, None], tf.int32)
        self._search = tf.function(
            self._best_items,
            input_signature=[
                batch,
                tf.TensorSpec([None], tf.int32),
                ids,
                tf.TensorSpec([], tf.int32),
            ],
        )
        self._reasons = Reasons(self.model)

    @classmethod
    def load(
        cls, folder: str | Path, data_dir: str | Path | None = None
    ) -> Recommender:
        """Opens a run's folder or an exported bundle.

        Args:
            folder: of the run or the bundle.
            data_dir: where `data.prepare` wrote, for the histories of the run's own
                users; a bundle may hold them itself.

        Raises:
            UserError: in one sentence, if it is none, unfinished, of another version,
                tampered with, or if the data at hand are not those of the run.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"There is no folder {folder}.")
        bundle.check(folder)
        run = standalone.open_run(folder)
        histories = bundle.read_histories(folder)
        if data_dir is not None:
            store = standalone.data_of(run.run, Path(data_dir)).store
            histories = Histories(store.items, store.offsets, store.times)
        return cls(run, histories)

    def with_new_items(self, like: Mapping[str, Iterable[Any]]) -> Recommender:
        """A recommender that also knows new items, by items that are like them.

        Example:
            recommender.with_new_items({"B00NEW": ["B00004YK10", "B00005BZLX"]})
        """
        return Recommender(new_items.with_new_items(self.run, like), self.histories)

    def recommend(
        self,
        history: Iterable[Any] | pd.DataFrame | None = None,
        users: Iterable[Any] | None = None,
        k: int = 10,
        exclude_seen: bool | None = None,
        candidates: Iterable[Any] | None = None,
        at: float | None = None,
        times: Iterable[float] | None = None,
        explain: bool = False,
        index: Index | None = None,
    ) -> pd.DataFrame:
        """The best k items of each person, best first.

        Args:
            history: what one person has had, oldest first; or a table of many people,
                a row an event, with the columns user, item and, for a model that reads
                times, timestamp in seconds since the epoch.
            users: people of the run's own log instead, by their ids.
            k: how many.
            exclude_seen: leave out what is in the history, the whole of it. None: as
                the run was measured, so not where its data were prepared with
                `--keep_past`.
            candidates: the only items to choose from; None: all.
            at: when it is asked, seconds since the epoch, for a model that reads
                times. None: the newest time of the log or, if it is later, of the
                history.
            times: of a history that is a list, for a model that reads times.
            explain: add why, for a model that has interests.
            index: searches by it, not exactly; over the whole catalogue only.

        Returns:
            Columns user (not for one unnamed history), rank from 1, item, score, and
            basis, which is "popular" where no item of the history is known, else
            "history"; MGNM also has level, Eq. 15. With `explain` also interest and
            because, the history items that the interest holds most of.

        Raises:
            UserError: in one sentence, for what is wrong with the arguments.
        """
        asked = self.requests(history, users, times)
        requests.say_unknown(asked)
        rows = [
            self.table(asked, answers, explain, at)
            for answers in self.stream(asked, k, exclude_seen, candidates, at, index)
        ]
        return pd.concat(rows, ignore_index=True)

    def requests(
        self,
        history: Iterable[Any] | pd.DataFrame | None = None,
        users: Iterable[Any] | None = None,
        times: Iterable[Any] | None = None,
    ) -> Requests:
        """What `recommend` was asked, as numbers."""
        if (history is None) == (users is None):
            raise UserError("Give either `history` or `users`.")
        if times is not None and isinstance(history, pd.DataFrame):
            raise UserError("A table has its times in the column `timestamp`.")
        if users is not None:
            return requests.of_users(users, self.ids, stored(self.histories))
        if isinstance(history, pd.DataFrame):
            asked = requests.of_table(history, self.ids)
        else:
            asked = requests.of_history(cast(Iterable[Any], history), times, self.ids)
        if self._reads_times and asked.histories.times is None:
            raise UserError(
                f"{self.config.model} reads when events happened: give `times` beside "
                "the list, or a table with the column `timestamp`."
            )
        return asked

    def everyone(self) -> Requests:
        """All users of the run's log."""
        return requests.of_everyone(self.vocabulary.users, stored(self.histories))

    def stream(
        self,
        asked: Requests,
        k: int = 10,
        exclude_seen: bool | None = None,
        candidates: Iterable[Any] | None = None,
        at: float | None = None,
        index: Index | None = None,
    ) -> Iterator[Answers]:
        """Answers, some thousand people at a time, in order, in bounded memory."""
        size = self.vocabulary.num_items - 1
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise UserError(f"`k` must be a positive whole number. Received: {k!r}")
        if k > size:
            raise UserError(f"`k` is {k}, and the catalogue has {size} items.")
        items = np.arange(1, size + 1, dtype=np.int32)
        if candidates is not None:
            if index is not None:
                raise UserError("Candidates are searched exactly: leave out the index.")
            items = requests.candidates(candidates, self.ids)
        when = _whole(at)
        if index is not None and index.model is not self.model:
            raise UserError("The index is of another model: make one of this one.")
        if when is not None and not self._reads_times:
            logging.info("`at` is not read: %s reads no times.", self.config.model)
        if exclude_seen is None:
            exclude_seen = not self.keeps_past
        return self._stream(asked, int(k), exclude_seen, items, when, index)

    def _stream(
        self,
        asked: Requests,
        k: int,
        exclude_seen: bool,
        items: np.ndarray,
        when: int | None,
        index: Index | None,
    ) -> Iterator[Answers]:
        chosen, most = tf.constant(items), tf.constant(k)
        width = min(k, len(items))
        if not len(asked):  # A table of nobody has its columns, too.
            yield gathered(np.arange(0), width, ())

        def answer(rows: np.ndarray) -> Answers:
            past = asked.histories.take(rows)
            batch = self.batch(asked.users[rows], past, when)
            seen = padded(past.items, past.offsets) if exclude_seen else no_items(rows)
            if index is None:
                best = self._search(batch, chosen, tf.constant(seen), most)
                return of_best(rows, best, np.ones(len(rows), bool))
            return of_best(rows, *index.best_items(batch, seen, k))

        def complete(answers: Answers) -> Answers:
            """Searches exactly for whom an index found too few, or has no history."""
            short = (answers.ids == 0).any(axis=1) | (answers.ids.shape[1] < k)
            nobody = np.diff(asked.histories.offsets)[answers.rows] == 0
            again = np.flatnonzero(short | nobody)
            if index is None or not len(again):
                return answers
            rows = answers.rows[again]
            few = Requests(None, asked.users[rows], asked.histories.take(rows))
            (exact,) = self._stream(few, k, exclude_seen, items, when, None)
            return replaced(answers, again, exact)

        lengths = np.minimum(np.diff(asked.histories.offsets), self.config.max_history)
        with ThreadPool(provenance.SIDE_BY_SIDE) as pool:
            for slab in requests.slabs(len(asked), _SLAB):
                share = -(-len(slab) // provenance.SIDE_BY_SIDE)
                size = min(self._rows if index is None else _ROWS, share)
                batches = [slab[r] for r in like_lengths(lengths[slab], size)]
                answers = gathered(slab, width, pool.imap_unordered(answer, batches))
                yield complete(answers)

    def batch(self, users: np.ndarray, past: Histories, when: int | None) -> Any:
        """What the model reads of some histories: the newest, padded on the left."""
        last_time = self.vocabulary.last_time or 0 if self._reads_times else None
        newest = self.config.max_history
        batch = batch_of(users, past, newest, last_time, when)
        return {key: tf.constant(value) for key, value in batch.items()}

    def table(
        self,
        asked: Requests,
        answers: Answers,
        explain: bool = False,
        at: float | None = None,
    ) -> pd.DataFrame:
        """Answers as a table with raw ids, a row an item."""
        there = answers.ids > 0
        owners, ranks = np.nonzero(there)
        columns: dict[str, Any] = {}
        if asked.names is not None:
            columns["user"] = asked.names[answers.rows[owners]]
        columns["rank"] = ranks + 1
        columns["item"] = self._keys[answers.ids[there]]
        columns["score"] = answers.scores[there]
        columns["basis"] = np.where(answers.popular[owners], POPULAR, HISTORY)
        if hasattr(self.model, "level_logits"):
            columns["level"] = answers.levels[there]
        if explain:
            interests, items = self._reasons.of(
                answers,
                lambda places: self.batch(
                    asked.users[answers.rows[places]],
                    asked.histories.take(answers.rows[places]),
                    _whole(at),
                ),
            )
            columns["interest"] = interests[there]
            columns["because"] = [self._named(few) for few in items[there]]
        return pd.DataFrame(columns)

    def _named(self, ids: np.ndarray) -> list[str]:
        """Raw ids, each once, without padding."""
        return [self._keys[i] for i in dict.fromkeys(ids.tolist()) if i]

    def _best_items(self, batch: Any, items: Any, seen: Any, k: Any) -> search.Best:
        return search.best_items(self.model, batch, items, seen, self.popularity, k)


def _whole(at: float | None) -> int | None:
    return None if at is None else int(requests.seconds_of([at], "at")[0])
