"""From a raw file to the prepared form: filter, map ids, split, write."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from absl import logging

from data import (
    counts,
    given_split,
    locks,
    manifest,
    oddities,
    prepared,
    releases,
    sentences,
    source,
)
from data.errors import UserError
from data.filters import Filters
from data.log_file import Log
from data.log_options import LogOptions
from data.prepared import PreparedData
from data.request import Request
from data.split import split as split_instances
from data.store import SequenceStore


def prepare(dataset: str, data_dir: Path, **options: Any) -> PreparedData:
    """`write` of the `Request` that has these attributes."""
    return write(Request(dataset, data_dir, **options))


def write(request: Request) -> PreparedData:
    """Fetches or takes, filters, maps, splits and writes a data set.

    Raises:
        UserError: for anything the user can mend, naming file and row, and for a
            full disk. Nothing is written then.
    """
    with _sentences(request), locks.writing(request.folder, "prepared"):
        prepared.check_replace(request.folder)
        made = _rebuilt(request) if request.release else _from_log(request)
        parts, meta = _described(request, made)
        odd = [*made.odd, *meta.pop("odd")]
        for sentence in odd:
            logging.warning("%s", sentence)
        meta = {
            "name": request.result,
            "dataset": request.dataset,
            "split": request.rule,
            "source": made.origin,
            "rating_above": made.rating_above,
            "keeps_past": request.keeps_past,
            "request": request.identity(),
            "log": {**made.log, **meta.pop("log"), "odd": odd},
            **meta,
        }
        return prepared.write(request.folder, made.store, parts, meta, made.keys)


@dataclasses.dataclass(frozen=True)
class _Made:
    """Sequences and instances, and what is known of them.

    Attributes:
        store: the sequences.
        parts: instances by part.
        rule: the split's rule, in words.
        keys: the original keys of "users" and "items".
        origin: name and hash of what was read.
        rating_above: a positive has more than this; None where all count.
        log: what was read, dropped and kept.
        odd: sentences on what is unusual.
        known_times: bool [E], events whose time is known; None where all are.
    """

    store: SequenceStore
    parts: dict[str, np.ndarray]
    rule: str
    keys: dict[str, Any]
    origin: dict[str, Any]
    rating_above: float | None
    log: dict[str, Any]
    odd: list[str]
    known_times: np.ndarray | None = None


def _from_log(request: Request) -> _Made:
    log, origin = source.read(request)
    table, log_meta = source.keep(request, log, origin["name"])
    try:
        store, parts, rule, keys = _arrange(request, table, log)
    except UserError as error:
        raise UserError(f"{origin['name']}: {error}") from error
    bar = log_meta.pop("rating_above")
    return _Made(store, parts, rule, keys, origin, bar, log_meta, log.odd)


def _rebuilt(request: Request) -> _Made:
    """Rebuilds the data from the authors' own files."""
    from data import authors_files, raw_comparison

    release = request.release
    assert release is not None
    if request.options != LogOptions() or request.filters != Filters():
        raise UserError(
            f"{request.dataset} is rebuilt from its authors' files as they are: flags "
            "that describe or filter a log go with other data sets."
        )
    folder, is_released = authors_files.take(
        release, request.source, request.raw_dir, request.allow_mismatch
    )
    rebuilt = authors_files.rebuild(
        release, folder, request.raw_dir, request.allow_mismatch
    )
    parts, rule = rebuilt.parts, authors_files.RULE
    if request.rule != releases.SPLIT:
        parts, rule = split_instances(
            rebuilt.store, request.rule, request.utc_offset_hours
        )
    hashes = [manifest.file_hash(folder / name) for name in release.files]
    origin = {
        "name": f"{', '.join(release.files)} of {releases.URL}",
        "sha256": hashlib.sha256("".join(hashes).encode()).hexdigest(),
    }
    records = rebuilt.counts
    left_out = {name: records[name] for name in ("not_a_prefix", "repeated")}
    log = {
        "rows": records["records"],
        "kept": records["records"] - sum(left_out.values()),
        "dropped": left_out,
        "duplicates": 0,
        "is_released": is_released,
        "records": records,
        "compared": raw_comparison.compared(
            release,
            rebuilt,
            [folder, request.raw_dir],
            request.spec.rating_above or 2.0,
        ),
    }
    return _Made(
        *(rebuilt.store, parts, rule, rebuilt.keys, origin, None, log, rebuilt.odd),
        known_times=rebuilt.known_times,
    )


def is_current(request: Request) -> bool:
    """Whether the folder holds what is asked for, of a source that has not changed.

    Where no file is given, what was prepared under the name counts.
    """
    path = request.folder / "meta.json"
    if not path.exists():
        return False
    try:
        meta = prepared.load(request.data_dir, request.result, request.rule).meta
    except UserError as error:
        logging.warning("Prepared again: %s", error)
        return False
    if request.source is None:
        return True
    current = is_made_of(meta, request)
    if not current:
        logging.info("%s is prepared again: its source or flags changed.", path.parent)
    return current


def is_made_of(meta: dict[str, Any], request: Request) -> bool:
    """Whether prepared data are what a request for a local file would give again."""
    assert request.source is not None
    asked = json.loads(json.dumps(request.identity()))
    same_source = meta["source"]["sha256"] == manifest.file_hash(request.source)
    return same_source and meta.get("request", asked) == asked


def _arrange(
    request: Request, table: pd.DataFrame, log: Log
) -> tuple[SequenceStore, dict[str, np.ndarray], str, dict[str, Any]]:
    """Sequences, instances, the rule that split them, and vocabularies."""
    users, user_keys = pd.factorize(table["user"])
    items, item_keys = pd.factorize(table["item"])
    # Stable: events that nothing tells apart keep the order of the file.
    given = [name for name in ("order", "timestamp", "part") if name in table]
    rows = np.lexsort([*(table[name].to_numpy() for name in given), users])
    times = None
    if "timestamp" in table:
        when = table["timestamp"].to_numpy()[rows]
        times = when if when.dtype.kind == "i" else np.floor(when).astype(np.int64)
    store = SequenceStore.build(
        (users + 1)[rows],
        (items + 1)[rows],
        times,
        len(user_keys) + 1,
        len(item_keys) + 1,
    )
    if "part" in table:
        given_split.check_order(table.iloc[rows], users[rows])
        parts = given_split.instances(
            store.offsets, (users + 1)[rows], table["part"].to_numpy()[rows]
        )
        rule = "given: the log's own files of training, validation and test events"
    else:
        parts, rule = _split(request, store, log)
    keys = {"users": user_keys.astype(str), "items": item_keys.astype(str)}
    return store, parts, rule, keys


def _described(
    request: Request, made: _Made
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Instances that have negatives, and the part of meta that tells of the result."""
    store = made.store
    try:
        parts, without = oddities.with_negatives(store, made.parts, request.keeps_past)
    except UserError as error:
        raise UserError(f"{made.origin['name']}: {error}") from error
    statistics = counts.statistics_of(store, parts, made.known_times)
    statistics["matches_table1"] = counts.is_table1s(
        statistics, request.spec, made.origin["name"], request.allow_mismatch
    ) and made.log.get("is_released", True)
    repeats = oddities.count_repeats(store, parts["test"])
    odd = oddities.of_instances(
        store, request.rule, without, repeats, request.keeps_past
    )
    meta = {
        "split_rule": made.rule,
        "statistics": statistics,
        "log": {"without_negatives": without, **repeats},
        "odd": odd,
    }
    return parts, meta


def _split(
    request: Request, store: SequenceStore, log: Log
) -> tuple[dict[str, np.ndarray], str]:
    try:
        return split_instances(store, request.rule, request.utc_offset_hours)
    except UserError as error:
        # Times that are odd are the likely cause.
        raise UserError(" ".join([str(error), *log.odd_times])) from error


@contextlib.contextmanager
def _sentences(request: Request) -> Iterator[None]:
    """What the system refuses, as sentences."""
    try:
        yield
    except OSError as error:
        if error.filename is None:  # Which of the two it was, the system did not say.
            error.filename = f"{request.data_dir} or {request.raw_dir}"
        raise UserError(str(sentences.of(error))) from error
    except MemoryError as error:
        raise UserError(
            "There is not enough memory for this log. Drop rows or columns first, or "
            "take a larger machine."
        ) from error
