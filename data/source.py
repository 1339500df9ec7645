"""The rows of a raw log as they were understood, and those of them that count."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
from absl import logging

from data import filters as filtering
from data import given_split, manifest, prepared
from data.errors import UserError
from data.log_file import Log
from data.log_options import LogOptions
from data.request import Request
from data.synthetic import SyntheticSpec, generate


def read(request: Request) -> tuple[Log, dict[str, Any]]:
    """The raw rows as they were understood, and what they were read from.

    Raises:
        UserError: if they cannot be had or read.
    """
    spec = request.spec
    if request.release is not None:
        raise UserError(
            f"{request.dataset} is no log, but rebuilt from its authors' files, whose "
            "checksums are known: data.prepare has no --dry_run of it."
        )
    described = request.options != LogOptions()
    if (described or request.is_split) and not spec.is_log:
        raise UserError(
            f"{request.dataset} has a form of its own: leave out the flags that "
            "describe a log. They go with --dataset=csv of data.prepare."
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
    actual = (
        log.read["rows"],
        log.table["user"].nunique(),
        log.table["item"].nunique(),
    )
    if actual == shape:
        return
    message = (
        f"{request.source or request.dataset} has {actual[0]:,} rows, {actual[1]:,} "
        f"users and {actual[2]:,} items; of {request.dataset} {shape[0]:,}, "
        f"{shape[1]:,} and {shape[2]:,} are published."
    )
    if request.source is not None and not request.allow_mismatch:
        raise UserError(
            f"{message} data.prepare takes it all the same with --allow_mismatch, and "
            "as a log of your own with --dataset=csv."
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
                f"{origin} has no ratings, and only those above {bar:g} are asked "
                "for. Name their column: --columns=rating=..., or ask for all events."
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
