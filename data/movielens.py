"""MovieLens-100K (Harper & Konstan, TiiS 2015), fetched and verified."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pandas as pd
from absl import logging

from data import checksums, log_file, raw_file
from data.archives import extract_member
from data.download import UnreachableError, download
from data.errors import UserError
from data.log_options import LogOptions

URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
CHECKSUM = "sha256:50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"
MEMBER = "ml-100k/u.data"

# The same ratings, as example data of a package.
PACKAGE = "recbole==1.2.1"
FROM_PACKAGE = f"PyPI's package {PACKAGE}"
WHEEL = "recbole-1.2.1-py3-none-any.whl"
WHEEL_CHECKSUM = (
    "sha256:9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
)
WHEEL_MEMBER = "recbole/dataset_example/ml-100k/ml-100k.inter"

# Of the ratings themselves, sorted: both sources must give these.
CONTENT_SHA256 = "f7dde5dc55b648d848645090e8e50b34bbf9b56abd8c305bcae44ee5de7a1f06"

_COLUMNS = ["user", "item", "rating", "timestamp"]


def fetch(raw_dir: Path) -> tuple[Path, str]:
    """Gets the ratings from GroupLens or, where that cannot be reached, from PyPI.

    Only an unreachable server leads to the second source; a wrong checksum never
    does. Either is verified.

    Returns:
        The file, and where it came from.

    Raises:
        UserError: if neither can be had.
    """
    for path, origin in (
        (raw_dir / "u.data", URL),
        (raw_dir / "ml-100k.inter", FROM_PACKAGE),
    ):
        if path.exists():
            return path, origin
    raw_dir.mkdir(parents=True, exist_ok=True)
    try:
        archive = download(
            URL, raw_dir / "ml-100k.zip", CHECKSUM, timeout=5.0, retries=1
        )
        return extract_member(archive, MEMBER, raw_dir / "u.data"), URL
    except UnreachableError:
        logging.info(
            "%s does not answer; taking the same ratings from %s, whose SHA-256 is "
            "checked.",
            URL,
            FROM_PACKAGE,
        )
    wheel = raw_dir / WHEEL
    if not wheel.exists():
        _download_wheel(raw_dir)
    checksums.verify(wheel, WHEEL_CHECKSUM, PACKAGE)
    path = extract_member(wheel, WHEEL_MEMBER, raw_dir / "ml-100k.inter")
    return path, FROM_PACKAGE


def load(path: Path) -> pd.DataFrame:
    """Reads `u.data`, or the package's copy, which has a header.

    Returns:
        Columns user, item, rating, timestamp.

    Raises:
        UserError: if the ratings are not MovieLens-100K's.
    """
    options = LogOptions(time_unit="s")  # The package's copy has a typed header.
    if ":" not in raw_file.recognise(path).first_lines(1)[0]:
        columns = {name: str(place) for place, name in enumerate(_COLUMNS, start=1)}
        options = LogOptions(columns, separator="\t", no_header=True, time_unit="s")
    table = log_file.load(path, options, with_rating=True).table
    sha256 = content_sha256(table)
    if sha256 != CONTENT_SHA256:
        raise UserError(
            f"{path} does not hold MovieLens-100K: the ratings' SHA-256 is {sha256}. "
            "Delete it, and it will be fetched again."
        )
    return table


def content_sha256(table: pd.DataFrame) -> str:
    """Hash of the ratings as sorted lines of integers."""
    lines = sorted(
        "\t".join(str(int(float(field))) for field in row)
        for row in table[_COLUMNS].astype(str).itertuples(index=False)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _download_wheel(raw_dir: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--disable-pip-version-check"]
    result = subprocess.run(
        [*command, "--dest", str(raw_dir), PACKAGE],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(
            f"MovieLens-100K cannot be had: {URL} is unreachable and pip cannot "
            f"download {PACKAGE} ({reason})."
        )
