"""Downloads that resume, verify, and are there whole or not at all."""

from __future__ import annotations

import os
import threading
import time
import urllib.parse
from pathlib import Path
from typing import BinaryIO

import requests
from absl import logging
from tqdm import tqdm

from data import checksums, locks
from data.errors import UserError

_BLOCK = 1 << 20
_RETRIES = 4
_REDIRECTS = 5
_MOST_BYTES = 16 << 30  # of a file whose size is not known
_LEAST_RATE = 1_024  # bytes a second, over `_PATIENCE` time-outs
_PATIENCE = 4
_LOCAL = {"127.0.0.1", "localhost", "::1"}


class UnreachableError(UserError):
    """The server cannot be reached, or keeps failing; the file may well be good."""


def download(
    url: str,
    path: Path,
    checksum: str | None = None,
    size: int | None = None,
    timeout: float = 30.0,
    retries: int = _RETRIES,
) -> Path:
    """Fetches `url` to `path`, going on where an earlier attempt stopped.

    The bytes arrive in `<path>.partial`, which is renamed when it has the announced
    length and the checksum. A part that an earlier command left is gone on with only
    where a checksum is known; if the whole then has another one, the part was damaged
    and the file is fetched once more from its start. A file that is there already is
    verified only.

    HTTPS alone is spoken, from the first request to the last redirect; plain HTTP is
    left to servers on this machine.

    Args:
        url: what to fetch.
        path: where to.
        checksum: as `data.checksums` writes them; None where none is known.
        size: bytes; None where it is not known.
        timeout: seconds without a byte. A server that stays under 1 KiB a second for
            four times as long is given up too, and so is one that takes as long for
            its headers.
        retries: further attempts after timeouts, 5xx and short bodies.

    Raises:
        UnreachableError: if no attempt succeeds.
        UserError: if the server refuses (4xx) or leads away from HTTPS, if size or
            checksum are wrong, or if another command is fetching the same file.
    """
    if path.exists():
        checksums.verify(path, checksum, url)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with locks.writing(path, "downloaded"):
        partial = path.with_name(path.name + ".partial")
        if checksum is None:
            partial.unlink(missing_ok=True)  # Nothing would tell that it is damaged.
        resumes = partial.exists()
        attempt = _Attempt(url, partial, size, timeout)
        _keep_trying(attempt, retries)
        if resumes and checksum and not checksums.matches(partial, checksum):
            logging.warning(
                "%s: the part that was kept does not fit; from the start", url
            )
            partial.unlink()
            _keep_trying(attempt, retries)
        checksums.verify(partial, checksum, url)
        os.replace(partial, path)
    return path


class _ShortBodyError(Exception):
    """Fewer bytes came than were announced, or too slowly."""


class _Attempt:
    """One file on its way; `run` goes on where the last run ended."""

    def __init__(self, url: str, partial: Path, size: int | None, timeout: float):
        self.url = url
        self._partial = partial
        self._size = size
        self.timeout = timeout
        self._version: str | None = None  # of the file, as the server names it

    def run(self) -> None:
        have = self._partial.stat().st_size if self._partial.exists() else 0
        if self._size is not None and have > self._size:
            have = 0
        with self._open(have) as response:
            code = response.status_code
            if code == requests.codes.requested_range_not_satisfiable:
                self._partial.unlink()  # It is no beginning of what there is.
                raise _ShortBodyError("the part that was kept does not fit")
            response.raise_for_status()
            start = f"bytes {have}-"
            resumed = code == requests.codes.partial_content and response.headers.get(
                "Content-Range", start
            ).startswith(start)
            if code == requests.codes.partial_content and not resumed:
                self._partial.unlink()
                raise _ShortBodyError("another part came than was asked for")
            have = have if resumed else 0
            self._version = response.headers.get("ETag")
            total = self._total(response, have)
            with self._partial.open("ab" if resumed else "wb") as file:
                self._receive(response, file, have, total)
        received = self._partial.stat().st_size
        if total is not None and received < total:
            raise _ShortBodyError(f"{received} of {total} bytes came")

    def _open(self, have: int) -> requests.Response:
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if self._version and not self._version.startswith("W/"):
                headers["If-Range"] = self._version
        url = self.url
        for _ in range(_REDIRECTS + 1):
            _check_scheme(url, self.url)
            response = _within(self.timeout, url, headers)
            if not response.is_redirect:
                # What arrives before a break is kept; the length is checked here.
                response.raw.enforce_content_length = False
                return response
            response.close()
            url = urllib.parse.urljoin(url, response.headers["Location"])
        raise UserError(
            f"{self.url} cannot be had: it leads from one address to the next, more "
            f"than {_REDIRECTS} times. {_BY_HAND}"
        )

    def _total(self, response: requests.Response, have: int) -> int | None:
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else self._size
        if self._size is not None and total != self._size:
            raise UserError(
                f"{self.url} has {total:,} bytes, not {self._size:,}: it is another "
                f"file than the one that is known. {_BY_HAND}"
            )
        return total

    def _receive(
        self,
        response: requests.Response,
        file: BinaryIO,
        have: int,
        total: int | None,
    ) -> None:
        most = _MOST_BYTES if total is None else total
        since, arrived = time.monotonic(), 0
        with tqdm(
            total=total,
            initial=have,
            unit="B",
            unit_scale=True,
            desc=self.url.rsplit("/", 1)[-1],
            disable=None,
        ) as bar:
            while block := self._read(response):
                have += len(block)
                if have > most:
                    raise UserError(
                        f"{self.url} does not end: more than {most:,} bytes came. "
                        f"{_BY_HAND}"
                    )
                file.write(block)
                bar.update(len(block))
                arrived += len(block)
                seconds = time.monotonic() - since
                if seconds > _PATIENCE * self.timeout:
                    if arrived < _LEAST_RATE * seconds:
                        raise _ShortBodyError(
                            f"it is too slow, {arrived / seconds:.0f} bytes a second"
                        )
                    since, arrived = time.monotonic(), 0

    @staticmethod
    def _read(response: requests.Response) -> bytes:
        """What is there by now: waiting for a full block would hide a slow server."""
        import urllib3

        try:
            return response.raw.read1(_BLOCK)
        except urllib3.exceptions.ReadTimeoutError as error:
            raise requests.Timeout from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _ShortBodyError(f"the connection broke ({error})") from error


_BY_HAND = "Download it by hand and give the file to data.prepare as --source=FILE."


def _keep_trying(attempt: _Attempt, retries: int) -> None:
    for number in range(retries + 1):
        try:
            return attempt.run()
        except requests.Timeout:
            reason = f"nothing came for {attempt.timeout:g} s"
        except requests.ConnectionError:
            reason = "no connection, or it broke"
        except _ShortBodyError as error:
            reason = str(error)
        except requests.HTTPError as error:
            reason = str(error)
            if error.response is not None and error.response.status_code < 500:
                raise UserError(
                    f"{attempt.url} cannot be had: {reason}. {_BY_HAND}"
                ) from error
        except requests.RequestException as error:
            raise UserError(
                f"{attempt.url} cannot be had: {error}. {_BY_HAND}"
            ) from error
        if number < retries:
            logging.info("%s: trying again, %s", attempt.url, reason)
            time.sleep(min(2.0**number, 30.0) * attempt.timeout / 30.0)
    raise UnreachableError(
        f"{attempt.url} cannot be reached after {retries + 1} attempts ({reason}). "
        "What has arrived is kept, and the same command goes on from there."
    )


def _check_scheme(url: str, first: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" or (url == first and parts.hostname in _LOCAL):
        return
    led = "" if url == first else f" It leads to {url}."
    raise UserError(f"{first} is not fetched: HTTPS alone is spoken here.{led}")


def _within(timeout: float, url: str, headers: dict[str, str]) -> requests.Response:
    """Waits for the headers of an answer, which may come by single bytes, for ever.

    Raises:
        requests.RequestException: as `requests.get`; `Timeout` for slow headers too.
    """
    answers: list[requests.Response | BaseException] = []

    def ask() -> None:
        try:
            answers.append(
                requests.get(
                    url,
                    headers=headers,
                    stream=True,
                    timeout=timeout,
                    allow_redirects=False,
                )
            )
        except BaseException as error:  # It is raised in the thread that waits.
            answers.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE * timeout)
    if not answers:
        raise requests.Timeout(f"no whole headers within {_PATIENCE * timeout:g} s")
    if isinstance(answers[0], BaseException):
        raise answers[0]
    return answers[0]


def file_sha256(path: Path) -> str:
    return checksums.of(path, "sha256")
