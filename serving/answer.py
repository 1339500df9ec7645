"""A whole request: answered in bounded memory, to a file or to standard output."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from absl import logging
from tqdm import tqdm

from serving import writers
from serving.index import Index
from serving.recommender import Recommender
from serving.requests import Requests, say_unknown

# People whose answers by an index are compared with exact ones.
_SAMPLE, _SEED = 1_000, 3


def answer(
    recommender: Recommender,
    asked: Requests,
    output: Path | None,
    k: int = 10,
    exclude_seen: bool | None = None,
    candidates: list[str] | None = None,
    at: float | None = None,
    explain: bool = False,
    index: Index | None = None,
) -> None:
    """Streams the answers of `Recommender.recommend` to a file.

    Args:
        recommender: who answers.
        asked: the people.
        output: a .parquet, .csv or .jsonl file; None is CSV on standard output.
        k: as for `recommend`, like the others.
        exclude_seen: see there.
        candidates: see there.
        at: see there.
        explain: see there.
        index: see there; how much is proven, and recall on a sample, is said.

    Raises:
        UserError: for what is wrong with the request. No file is then written.
    """
    say_unknown(asked)
    stream = recommender.stream(asked, k, exclude_seen, candidates, at, index)
    certified = 0
    # Silent where there is no terminal.
    bar = tqdm(total=len(asked), unit="user", disable=None, leave=False)
    with bar, _writing(output) as append:
        for answers in stream:
            append(recommender.table(asked, answers, explain, at))
            certified += int(answers.certified.sum())
            bar.update(len(answers.rows))
    if index is not None:
        logging.info(
            "%.1f%% of %d answers are proven to be exact. Recall@%d on %d of them: "
            "%.4f.",
            100 * certified / len(asked),
            len(asked),
            k,
            *recall(recommender, asked, index, k, exclude_seen),
        )


def recall(
    recommender: Recommender,
    asked: Requests,
    index: Index,
    k: int,
    exclude_seen: bool | None = None,
) -> tuple[int, float]:
    """How many people were drawn, and the share of exact answers that an index finds.

    Of equal scores any item counts: the k-th score is what must be reached.
    """
    rng = np.random.default_rng(_SEED)
    size = min(_SAMPLE, len(asked))
    rows = np.sort(rng.choice(len(asked), size, replace=False))
    few = Requests(None, asked.users[rows], asked.histories.take(rows))
    exact, approximate = (
        np.concatenate([part.scores for part in answers])
        for answers in (
            recommender.stream(few, k, exclude_seen),
            recommender.stream(few, k, exclude_seen, index=index),
        )
    )
    there = np.isfinite(exact)
    last = np.where(there, exact, np.inf).min(axis=1, keepdims=True)
    near = approximate >= last - 1e-5 * np.maximum(1.0, np.abs(last))
    return size, float(near.sum() / max(there.sum(), 1))


@contextlib.contextmanager
def _writing(output: Path | None) -> Iterator[writers.Write]:
    if output is not None:
        with writers.writing(output) as append:
            yield append
        return
    begun: list[Any] = []

    def show(table: pd.DataFrame) -> None:
        table.to_csv(sys.stdout, index=False, header=not begun)
        begun.append(True)

    yield show
