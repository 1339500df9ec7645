"""Downloads that resume, verify, and are there whole or not at all."""

from __future__ import annotations

import hashlib
import os
import posixpath
import time
import zipfile
from pathlib import Path

import requests
from absl import logging
from tqdm import tqdm

_BLOCK = 1 << 20
_RETRIES = 4


class UnreachableError(ValueError):
    """The server cannot be reached, or keeps failing; the file may well be good."""


def download(
    url: str,
    path: Path,
    sha256: str | None = None,
    timeout: float = 30.0,
    retries: int = _RETRIES,
) -> Path:
    """Fetches `url` to `path`, going on where an earlier attempt stopped.

    The bytes arrive in `<path>.partial`, which is renamed when it has the announced
    length and, if given, the SHA-256. A file that is there already is verified only.

    Args:
        url: what to fetch.
        path: where to.
        sha256: hexadecimal; None where no checksum is known.
        timeout: seconds without a byte.
        retries: further attempts after timeouts, 5xx and short bodies.

    Raises:
        UnreachableError: if no attempt succeeds.
        ValueError: if the server refuses (4xx), or the checksum is wrong.
    """
    if path.exists():
        verify(path, sha256, url)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    for attempt in range(retries + 1):
        try:
            _fetch(url, partial, timeout)
            break
        except requests.Timeout:
            reason = f"nothing came for {timeout:g} s"
        except requests.ConnectionError:
            reason = "no connection, or it broke"
        except _ShortBodyError as error:
            reason = str(error)
        except requests.HTTPError as error:
            reason = str(error)
            if error.response is not None and error.response.status_code < 500:
                raise ValueError(
                    f"{url} cannot be had: {reason}. Download it by hand and give the "
                    "file as --source=FILE."
                ) from error
        if attempt < retries:
            logging.warning("Trying again: %s", reason)
            time.sleep(min(2.0**attempt, 30.0) * timeout / 30.0)
    else:
        raise UnreachableError(
            f"{url} cannot be reached after {retries + 1} attempts ({reason}). "
            "What has arrived is kept, and the same command goes on from there."
        )
    verify(partial, sha256, url)
    os.replace(partial, path)
    return path


def verify(path: Path, sha256: str | None, origin: str) -> None:
    """Deletes a file whose checksum is wrong.

    Raises:
        ValueError: if it is.
    """
    if sha256 is None:
        return
    found = file_sha256(path)
    if found != sha256:
        path.unlink()
        raise ValueError(
            f"{origin} has the SHA-256 {found}, not {sha256}: the file was damaged or "
            "has changed. It is deleted; nothing was taken from it."
        )


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def extract_member(archive: Path, member: str, path: Path) -> Path:
    """Takes one file out of a zip (or wheel), atomically.

    Raises:
        ValueError: if the archive is damaged, lacks the member, or names a path that
            would leave its folder.
    """
    clean = posixpath.normpath(member)
    if clean.startswith(("/", "..")) or "\\" in member or ":" in member:
        raise ValueError(f"{archive}: the member {member} would leave its folder.")
    partial = path.with_name(path.name + ".partial")
    try:
        with zipfile.ZipFile(archive) as opened:
            names = opened.namelist()
            for name in names:
                if name.startswith("/") or ".." in name.split("/"):
                    raise ValueError(
                        f"{archive}: the member {name} would leave its folder."
                    )
            if member not in names:
                raise ValueError(f"{archive} has no member {member}.")
            with opened.open(member) as source, partial.open("wb") as target:
                while block := source.read(_BLOCK):
                    target.write(block)
    except (zipfile.BadZipFile, EOFError) as error:
        partial.unlink(missing_ok=True)
        raise ValueError(f"{archive} is not a whole zip file: {error}.") from error
    os.replace(partial, path)
    return path


class _ShortBodyError(Exception):
    """Fewer bytes came than were announced."""


def _fetch(url: str, partial: Path, timeout: float) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            partial.unlink()  # What we have is not a beginning of what there is.
            raise _ShortBodyError("the part that was kept does not fit")
        response.raise_for_status()
        resumed = response.status_code == requests.codes.partial_content
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        # What arrives before a break is kept; the length is checked below.
        response.raw.enforce_content_length = False
        with (
            partial.open("ab" if resumed else "wb") as file,
            tqdm(
                total=total,
                initial=have,
                unit="B",
                unit_scale=True,
                desc=url.rsplit("/", 1)[-1],
                disable=None,
            ) as bar,
        ):
            try:
                for block in response.iter_content(_BLOCK):
                    file.write(block)
                    bar.update(len(block))
            except requests.exceptions.ChunkedEncodingError as error:
                raise _ShortBodyError(str(error)) from error
    found = partial.stat().st_size
    if total is not None and found < total:
        raise _ShortBodyError(f"{found} of {total} bytes came")
