"""Files of logs as they are passed on: packed or not, text or Parquet."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from data import sentences
from data.errors import UserError

TEXT, JSON_LINES, PARQUET = "text", "json", "parquet"

_KINDS = {"jsonl": JSON_LINES, "json": JSON_LINES, "ndjson": JSON_LINES}
_KINDS |= {"parquet": PARQUET, "pq": PARQUET}
# First bytes or endings of what is not read, and what to do with it.
_UNPACK = "Unpack it and give the file that is in it, packed by gzip or not at all."
_SAVE = "Save the sheet as CSV UTF-8, and give that file."
_UNREAD_BYTES = {
    b"\xfd7zXZ": f"is packed by xz. {_UNPACK}",
    b"\x28\xb5\x2f\xfd": f"is packed by zstd. {_UNPACK}",
    b"BZh": f"is packed by bzip2. {_UNPACK}",
    b"7z\xbc\xaf": f"is a 7z archive. {_UNPACK}",
    b"Rar!": f"is a rar archive. {_UNPACK}",
    b"\xd0\xcf\x11\xe0": f"is an Excel file. {_SAVE}",
    b"\xff\xfe": "is UTF-16 text. Save it as UTF-8.",
    b"\xfe\xff": "is UTF-16 text. Save it as UTF-8.",
}
_UNREAD_ENDINGS = {
    (".xz", ".zst", ".bz2", ".7z", ".rar", ".lz4"): f"is packed. {_UNPACK}",
    (".tar", ".tgz", ".tar.gz"): f"is a tar archive. {_UNPACK}",
    (".xlsx", ".xls", ".ods"): f"is a spreadsheet. {_SAVE}",
    (".pkl", ".pickle"): "is a pickle, which can run any code and is never loaded. "
    "Write the log as CSV or Parquet.",
}
_BOM = b"\xef\xbb\xbf"
_BLOCK = 1 << 22
# Longer first lines are no header and no row of a log.
LONGEST_LINE = 1 << 16


@dataclasses.dataclass(frozen=True)
class RawFile:
    """A file of a log, and how it is packed.

    Attributes:
        path: where it is.
        packing: "gz", "zip" or "".
        kind: `TEXT` (fields and separators), `JSON_LINES` or `PARQUET`.
        suffix: the name's last ending without that of the packing, e.g. "csv".
        member: name of the file inside the zip archive; empty otherwise.
    """

    path: Path
    packing: str
    kind: str
    suffix: str
    member: str = ""

    @contextlib.contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """The unpacked bytes.

        Raises:
            UserError: if the packing is damaged.
        """
        try:
            if self.packing == "gz":
                with gzip.open(self.path) as unpacked:
                    yield cast("IO[bytes]", unpacked)
            elif self.packing == "zip":
                with (
                    zipfile.ZipFile(self.path) as archive,
                    archive.open(self.member) as file,
                ):
                    yield file
            else:
                with self.path.open("rb") as file:
                    yield file
        except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
            raise UserError(_damaged(self.path, self.packing, error)) from error
        except OSError as error:
            if self.packing != "zip" or error.errno != errno.EINVAL:
                if error.filename is None and error.errno is not None:
                    error.filename = str(self.path)  # Reading does not say it.
                raise
            # A damaged directory points before the file's beginning.
            raise UserError(_damaged(self.path, self.packing, error)) from error
        except (NotImplementedError, RuntimeError) as error:
            if self.packing != "zip" or isinstance(error, RecursionError):
                raise
            # A password, or a method that Python does not unpack.
            raise UserError(f"{self.path} cannot be unpacked: {error}.") from error

    @contextlib.contextmanager
    def lines(self) -> Iterator[Iterator[str]]:
        """The lines as text, their ends kept; bytes that are not UTF-8 replaced."""
        with self.opened() as file:
            yield io.TextIOWrapper(
                file, encoding="utf-8-sig", errors="replace", newline=""
            )

    def first_lines(self, count: int) -> list[str]:
        """The first lines that are not blank, without their ends.

        Raises:
            UserError: if there is none, or one is no text or far too long.
        """
        lines: list[str] = []
        with self.opened() as file:
            for number, line in enumerate(_limited(file), start=1):
                if len(line) > LONGEST_LINE:
                    raise UserError(
                        f"{self.path}: row {number} has more than {LONGEST_LINE:,} "
                        "characters, which no row of a log has. Is it a log?"
                    )
                text = self._decoded(line, number)
                # A file of an old Mac is a single line to `readline`.
                lines += [part for part in split_lines(text) if part.strip()]
                if len(lines) >= count:
                    break
        if not lines:
            raise UserError(f"{self.path} is empty.")
        return lines[:count]

    def _decoded(self, line: bytes, number: int) -> str:
        try:
            return line.removeprefix(_BOM).decode() if number == 1 else line.decode()
        except UnicodeDecodeError as error:
            raise UserError(not_utf8(self.path, number)) from error

    def scan(self) -> Scan:
        """Reads everything once: counts lines, and sees whether there are quotes.

        Raises:
            UserError: if a byte is zero, or the packing is damaged.
        """
        ends, quoted, last = 0, False, b"\n"
        with self.opened() as file:
            while block := file.read(_BLOCK):
                if (zero := block.find(b"\0")) >= 0:
                    row = ends + _ends(block[:zero], last) + 1
                    raise UserError(
                        f"{self.path}: row {row} holds a NUL byte: it is damaged, or "
                        "not text. Fetch or export it again."
                    )
                ends += _ends(block, last)
                quoted = quoted or b'"' in block
                last = block[-1:]
        return Scan(lines=ends + (last not in b"\r\n"), has_quotes=quoted)

    def read_all(self) -> bytes:
        with self.opened() as file:
            return file.read()


@dataclasses.dataclass(frozen=True)
class Scan:
    """What one pass over the bytes tells: lines, blank ones included, and quotes."""

    lines: int
    has_quotes: bool


def recognise(path: Path) -> RawFile:
    """Tells by ending and first bytes how a file is to be read.

    Raises:
        UserError: if it is not there, empty, or of a form that is not read.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a file.")
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    name = path.name.lower()
    for endings, reason in _UNREAD_ENDINGS.items():
        if name.endswith(endings):
            raise UserError(f"{path} {reason}")
    with RawFile(path, "", "", "").opened() as file:
        start = file.read(8)
    if not start:
        raise UserError(f"{path} is empty.")
    for magic, reason in _UNREAD_BYTES.items():
        if start.startswith(magic):
            raise UserError(f"{path} {reason}")
    if name.endswith(".gz") or start.startswith(b"\x1f\x8b"):
        return _with_kind(RawFile(path, "gz", "", _suffix(name.removesuffix(".gz"))))
    if name.endswith(".zip") or start.startswith(b"PK\x03\x04"):
        member = _only_member(path)
        return _with_kind(
            RawFile(path, "zip", "", _suffix(member.lower()), member=member)
        )
    return _with_kind(RawFile(path, "", "", _suffix(name)))


def split_lines(text: str) -> list[str]:
    """The lines as files have them; `splitlines` would also end them at U+2028."""
    return re.split("\r\n|\r|\n", text)


def not_utf8(path: Path, row: int) -> str:
    return f"{path} is not UTF-8 text: row {row}. Save it as UTF-8."


def _with_kind(file: RawFile) -> RawFile:
    with file.opened() as opened:
        start = opened.read(64).removeprefix(_BOM).lstrip()
    kind = _KINDS.get(file.suffix, TEXT)
    if start.startswith(b"PAR1"):
        kind = PARQUET
    elif kind == TEXT and start.startswith(b"{"):
        kind = JSON_LINES
    return dataclasses.replace(file, kind=kind)


def _suffix(name: str) -> str:
    return name.rsplit(".", 1)[-1] if "." in name else ""


def _only_member(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [
                info.filename
                for info in archive.infolist()
                if not (info.is_dir() or info.filename.startswith("__MACOSX/"))
            ]
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(_damaged(path, "zip", error)) from error
    if len(names) != 1:
        raise UserError(
            f"{path} is a zip archive of {len(names)} files "
            f"({sentences.few(names, most=5)}); one is needed. Unpack it and give the "
            "log alone."
        )
    return names[0]


def _damaged(path: Path, packing: str, error: Exception) -> str:
    kind = {"gz": "gzip"}.get(packing, packing)
    return f"{path} is not a whole {kind} file ({error}). Fetch or copy it again."


def _limited(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(LONGEST_LINE + 2):
        yield line


def _ends(block: bytes, last: bytes) -> int:
    """Line ends of a block that follows the byte `last`; a CR LF is one."""
    pairs = block.count(b"\r\n") + (last == b"\r" and block[:1] == b"\n")
    return block.count(b"\n") + block.count(b"\r") - pairs
