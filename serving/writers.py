"""Recommendations to a file, some thousand people at a time, whole or not at all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data import atomic, sentences
from data.errors import UserError
from serving.files import check_output

Write = Callable[[pd.DataFrame], None]
LIST = "because"
_TYPES = {
    "user": pa.string(),
    "rank": pa.int32(),
    "item": pa.string(),
    "score": pa.float32(),
    "basis": pa.string(),
    "level": pa.int32(),
    "interest": pa.int32(),
    LIST: pa.list_(pa.string()),
}


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Write]:
    """Gives what appends tables of the same columns; the file is there at the end.

    Raises:
        UserError: if the name does not say which kind of file it is, or the file cannot
            be written.
    """
    check_output(path)
    kinds = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}
    try:
        with atomic.whole_file(path) as partial, kinds[path.suffix](partial) as write:
            yield write
    except OSError as error:
        error.filename = str(path)  # Not the hidden name that was written to.
        raise UserError(f"{sentences.of(error)} Nothing was written.") from error


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    with contextlib.ExitStack() as stack:
        writers: list[pq.ParquetWriter] = []

        def write(table: pd.DataFrame) -> None:
            # Of the first table alone, types would be guessed: it may have no row.
            schema = pa.schema([(name, _TYPES[name]) for name in table])
            if not writers:
                writers.append(stack.enter_context(pq.ParquetWriter(path, schema)))
            writers[0].write_table(pa.Table.from_pandas(table, schema, False))

        yield write


def to_csv(table: pd.DataFrame, file: TextIO, header: bool) -> None:
    """Writes a table; a list of ids, which may hold any character, is one field."""
    if LIST in table:
        texts = [json.dumps(ids, ensure_ascii=False) for ids in table[LIST]]
        table = table.assign(**{LIST: texts})
    table.to_csv(file, index=False, header=header)


@contextlib.contextmanager
def _csv(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        yield lambda table: to_csv(table, file, header=file.tell() == 0)


@contextlib.contextmanager
def _jsonl(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:

        def write(table: pd.DataFrame) -> None:
            if len(table):  # pandas writes an empty one as a blank line.
                table.to_json(file, orient="records", lines=True, force_ascii=False)

        yield write
