"""From a raw file to the prepared form: filter, map ids, split, write."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from absl import logging

from data import filters as filtering
from data import given_split, locks, manifest, names, oddities, prepared, releases
from data.errors import UserError
from data.filters import Filters
from data.log_file import Log
from data.log_options import LogOptions
from data.prepared import PreparedData
from data.registry import DATASETS, DatasetSpec
from data.releases import Release
from data.split import RULES
from data.split import split as split_instances
from data.store import SequenceStore
from data.synthetic import SyntheticSpec, generate


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked of `data.prepare`.

    Attributes:
        dataset: a name of `DATASETS`.
        data_dir: the result goes to `<data_dir>/<name>/<split>`.
        raw_dir: keeps downloads.
        source: a local file instead of a download, or a folder of three.
        files: of a log that is split already, by part.
        name: of the result; None takes the data set's.
        split: a rule of `data.split`; None takes the data set's.
        rating_above: positives have more; None takes the data set's rule.
        allow_mismatch: warn instead of raising where Table 1 disagrees.
        seed: of synthetic data.
        utc_offset_hours: of the split by date.
        options: what the user says about the log.
        filters: what is dropped, but for ratings.
        keeps_past: a user's past stays among the candidates and the negatives.
    """

    dataset: str
    data_dir: Path
    raw_dir: Path = Path("data/raw")
    source: Path | None = None
    files: dict[str, Path] | None = None
    name: str | None = None
    split: str | None = None
    rating_above: float | None = None
    allow_mismatch: bool = False
    seed: int = 0
    utc_offset_hours: float = 8.0
    options: LogOptions = dataclasses.field(default_factory=LogOptions)
    filters: Filters = dataclasses.field(default_factory=Filters)
    keeps_past: bool = False

    def __post_init__(self) -> None:
        names.check(self.result, "--name")
        rules = [*RULES, *([releases.SPLIT] if self.release else [])]
        if self.split is not None and self.split not in rules:
            raise UserError(
                f"`split` must be one of {sorted(rules)}. Received: {self.split}"
            )
        if self.split is not None and self.is_split:
            raise UserError(
                "--split and a log that is split already do not go together: its "
                "files say what trains, validates and tests."
            )
        if not abs(self.utc_offset_hours) <= 24:  # Also for NaN.
            raise UserError(
                f"--utc_offset_hours takes -24 to 24. Received: {self.utc_offset_hours}"
            )
        if self.rating_above is not None and not math.isfinite(self.rating_above):
            raise UserError(
                f"--rating_above takes a number. Received: {self.rating_above}"
            )

    @property
    def spec(self) -> DatasetSpec:
        return DATASETS[self.dataset]

    @property
    def release(self) -> Release | None:
        """The authors' files that are rebuilt; a file given instead is a log."""
        given = self.files or (self.source is not None and not self.source.is_dir())
        return None if given else self.spec.release

    @property
    def result(self) -> str:
        """The name of the result."""
        return self.name or self.dataset

    @property
    def is_split(self) -> bool:
        """Whether the log is split already."""
        if self.release is not None:
            return False  # The folder holds the authors' files.
        return bool(self.files) or (self.source is not None and self.source.is_dir())

    @property
    def rule(self) -> str:
        """How the result is split."""
        if self.is_split:
            return given_split.SPLIT
        of_log = self.spec.release is not None and self.release is None
        return self.split or ("global_time" if of_log else self.spec.split)

    @property
    def folder(self) -> Path:
        return self.data_dir / self.result / self.rule

    def identity(self) -> dict[str, Any]:
        """What, beside the source's content, tells one result from another."""
        asked = dataclasses.asdict(self.options)
        bounds = {key: _finite(asked[key]) for key in ("time_from", "time_until")}
        return {
            "dataset": self.dataset,
            "split": self.rule,
            "rating_above": self.rating_above,
            "options": {**asked, **bounds},
            "filters": dataclasses.asdict(self.filters),
            "keeps_past": self.keeps_past,
            "utc_offset_hours": self.utc_offset_hours,
            "seed": self.seed if self.dataset == "synthetic" else None,
        }


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
        rule: of the split, in words.
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
    log, origin = read(request)
    table, log_meta = keep(request, log, origin["name"])
    store, parts, rule, keys = _arrange(request, table, log)
    bar = log_meta.pop("rating_above")
    return _Made(store, parts, rule, keys, origin, bar, log_meta, log.odd)


def _rebuilt(request: Request) -> _Made:
    """From the authors' own files."""
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
    found = authors_files.rebuild(
        release, folder, request.raw_dir, request.allow_mismatch
    )
    parts, rule = found.parts, authors_files.RULE
    if request.rule != releases.SPLIT:
        parts, rule = split_instances(
            found.store, request.rule, request.utc_offset_hours
        )
    hashes = [manifest.file_hash(folder / name) for name in release.files]
    origin = {
        "name": f"{', '.join(release.files)} of {releases.URL}",
        "sha256": hashlib.sha256("".join(hashes).encode()).hexdigest(),
    }
    counts = found.counts
    left_out = {name: counts[name] for name in ("not_a_prefix", "repeated")}
    log = {
        "rows": counts["records"],
        "kept": counts["records"] - sum(left_out.values()),
        "dropped": left_out,
        "duplicates": 0,
        "is_released": is_released,
        "records": counts,
        "compared": raw_comparison.compared(
            release, found, [folder, request.raw_dir], request.spec.rating_above or 2.0
        ),
    }
    return _Made(
        *(found.store, parts, rule, found.keys, origin, None, log, found.odd),
        known_times=found.known_times,
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
    asked = json.loads(json.dumps(request.identity()))
    current = meta.get("request", asked) == asked
    current &= meta["source"]["sha256"] == manifest.file_hash(request.source)
    if not current:
        logging.info("%s is prepared again: its source or flags changed.", path.parent)
    return current


def read(request: Request) -> tuple[Log, dict[str, Any]]:
    """The raw rows as they were understood, and what they were read from.

    Raises:
        UserError: if they cannot be had or read.
    """
    spec = request.spec
    if request.release is not None:
        raise UserError(
            f"{request.dataset} is no log, but rebuilt from its authors' files, whose "
            "checksums are known: leave --dry_run out."
        )
    described = request.options != LogOptions()
    if (described or request.is_split) and not spec.is_log:
        raise UserError(
            f"{request.dataset} has a form of its own: flags that describe a log go "
            "with --dataset=csv."
        )
    if request.dataset == "synthetic":
        drawn = generate(SyntheticSpec(seed=request.seed))
        columns = {"user": drawn.users, "item": drawn.items, "timestamp": drawn.times}
        read_as = {"rows": len(drawn.items), "dropped": {}}
        origin = {"name": f"synthetic, seed {request.seed}", "sha256": None}
        return Log(pd.DataFrame(columns), read_as, []), origin
    with_rating = _bar(request) is not None
    if request.is_split:
        files = request.files or given_split.find(request.source or Path())
        log = given_split.load(files, request.options, with_rating)
        hashes = [manifest.file_hash(files[part]) for part in prepared.PARTS]
        sha256 = hashlib.sha256("".join(hashes).encode()).hexdigest()
        shown = ", ".join(files[part].name for part in prepared.PARTS)
        return log, {"name": shown, "sha256": sha256}
    if request.source is None:
        if spec.fetch is None:
            raise UserError(spec.missing)
        path, name = spec.fetch(request.raw_dir)
        logging.info("Reading %s, from %s", path, name)
    else:
        path, name = request.source, request.source.name
    if spec.is_log:
        log = spec.load(path, request.options, with_rating)
    else:
        table = spec.load(path)
        log = Log(table, {"rows": len(table), "dropped": {}}, [])
    _check_shape(request, log)
    return log, {"name": name, "sha256": manifest.file_hash(path)}


def _check_shape(request: Request, log: Log) -> None:
    """Compares a named log with what is published of it.

    Raises:
        UserError: if a file of the user's is not that log.
    """
    shape = request.spec.shape
    if shape is None:
        return
    found = (
        log.read["rows"],
        log.table["user"].nunique(),
        log.table["item"].nunique(),
    )
    if found == shape:
        return
    message = (
        f"{request.source or request.dataset} has {found[0]:,} rows, {found[1]:,} "
        f"users and {found[2]:,} items; of {request.dataset} {shape[0]:,}, "
        f"{shape[1]:,} and {shape[2]:,} are published."
    )
    if request.source is not None and not request.allow_mismatch:
        raise UserError(
            f"{message} --allow_mismatch takes it all the same, --dataset=csv as a log "
            "of your own."
        )
    logging.warning("%s", message)


def keep(
    request: Request, log: Log, origin: str
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows that count, and what was read, dropped and kept.

    Raises:
        UserError: if there are no ratings to filter by, or too few rows are left.
    """
    bar = _bar(request)
    if bar is not None and "rating" not in log.table:
        if request.rating_above is not None:
            raise UserError(
                f"{origin} has no ratings, which --rating_above={bar:g} needs: leave "
                "it out, or name their column: --columns=rating=..."
            )
        logging.warning(
            "%s has no ratings: all events count as positive, though %s takes ratings "
            "above %g.",
            origin,
            request.dataset,
            bar,
        )
        bar = None
    chosen = dataclasses.replace(request.filters, rating_above=bar)
    table, counts = filtering.apply(log.table, chosen, origin)
    dropped = {**log.read["dropped"], **counts["dropped"]}
    return table, {
        **log.read,
        "dropped": dropped,
        "kept": len(table),
        "duplicates": counts["duplicates"],
        "rating_above": bar,
    }


def _bar(request: Request) -> float | None:
    """The rating that a positive is above."""
    if request.rating_above is not None:
        return request.rating_above
    return request.spec.rating_above


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
    parts, without = oddities.with_negatives(store, made.parts, request.keeps_past)
    statistics = _statistics(store, parts, made.known_times)
    statistics["matches_table1"] = _check_table1(
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


def _statistics(
    store: SequenceStore,
    parts: dict[str, np.ndarray],
    known_times: np.ndarray | None = None,
) -> dict[str, Any]:
    lengths = np.diff(store.offsets)[1:]
    same = None
    if store.times is not None:
        users = np.repeat(np.arange(store.num_users), np.diff(store.offsets))
        within = users[1:] == users[:-1]
        if known_times is not None:
            within &= known_times[1:] & known_times[:-1]
        same = float(np.mean(np.diff(store.times)[within] == 0))
    return {
        "users": store.num_users - 1,
        "items": store.num_items - 1,
        "interactions": len(store.items),
        **{name: len(rows) for name, rows in parts.items()},
        "lengths": {
            "min": int(lengths.min()),
            "median": float(np.median(lengths)),
            "mean": round(float(lengths.mean()), 1),
            "max": int(lengths.max()),
        },
        "same_time_share": same,
    }


def _check_table1(
    found: dict[str, Any], spec: DatasetSpec, origin: str, allow_mismatch: bool
) -> bool:
    """Whether users and items are Table 1's; interactions cannot be checked."""
    if spec.table1 is None:
        return False
    expected = dict(zip(("users", "items"), spec.table1))
    if all(found[key] == value for key, value in expected.items()):
        return True
    message = (
        f"{origin} gives {found['users']:,} users and {found['items']:,} items, "
        f"Table 1 has {expected['users']:,} and {expected['items']:,}: these are not "
        "the paper's data, and results on them are not comparable with Table 2."
    )
    if not allow_mismatch:
        raise UserError(f"{message} --allow_mismatch goes on all the same.")
    logging.warning("%s", message)
    return False


@contextlib.contextmanager
def _sentences(request: Request) -> Iterator[None]:
    """What the system refuses, as sentences."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(
                f"The disk is full: {request.data_dir} or {request.raw_dir} has no "
                "room. Nothing was written; make room and run the command again."
            ) from error
        raise UserError(
            f"{error.filename or request.data_dir}: {error.strerror or error}. Choose "
            "another folder by --data_dir or --raw_dir, or another file."
        ) from error
    except MemoryError as error:
        raise UserError(
            "There is not enough memory for this log. Drop rows or columns first, or "
            "take a larger machine."
        ) from error


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
