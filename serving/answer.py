"""A whole request: answered in bounded memory, to a file or to standard output."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from absl import logging
from tqdm import tqdm

from serving import writers
from serving.index import Index
from serving.recommender import Recommender
from serving.requests import Requests, say_unknown
from serving.sample import Sample


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
    if index is not None and len(asked):
        sample = Sample(recommender, asked, k, exclude_seen)
        logging.info(
            "%.1f%% of %d answers are proven to be exact. Recall@%d on %d of them: "
            "%.4f.",
            100 * certified / len(asked),
            len(asked),
            k,
            len(sample),
            sample.recall(index),
        )


@contextlib.contextmanager
def _writing(output: Path | None) -> Iterator[writers.Write]:
    if output is not None:
        with writers.writing(output) as append:
            yield append
        return
    begun: list[Any] = []

    def show(table: pd.DataFrame) -> None:
        writers.to_csv(table, sys.stdout, header=not begun)
        begun.append(True)

    yield show
