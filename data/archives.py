"""Single files out of archives that may be damaged or hostile."""

from __future__ import annotations

import lzma
import posixpath
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from data import atomic, sentences
from data.errors import UserError

_BLOCK = 1 << 20
_MOST_BYTES = 16 << 30
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,  # a way of compressing that zipfile does not know
    RuntimeError,  # an encrypted member
    struct.error,
    ValueError,
    OSError,
)


def extract_member(
    archive: Path, member: str, path: Path, most_bytes: int = _MOST_BYTES
) -> Path:
    """Takes one file out of a zip (or wheel), whole or not at all.

    Args:
        archive: the zip file.
        member: its name there.
        path: where it goes; the member's name has no say in that.
        most_bytes: a member that unpacks to more is refused.

    Raises:
        UserError: if the archive is damaged, lacks the member, or names a path that
            would leave its folder.
    """
    with _reading(archive, "zip"), zipfile.ZipFile(archive) as opened:
        names = opened.namelist()
        for name in (member, *names):
            _check_name(archive, name)
        if member not in names:
            raise UserError(f"{archive} has no member {member}.")
        with opened.open(member) as source:
            _copy(source, path, archive, most_bytes)
    return path


def extract_only_member(
    archive: Path, path: Path, most_bytes: int = _MOST_BYTES
) -> Path:
    """Takes the file out of a zip that holds exactly one.

    Raises:
        UserError: as `extract_member`, and if there are none or several.
    """
    with _reading(archive, "zip"), zipfile.ZipFile(archive) as opened:
        names = [info.filename for info in opened.infolist() if not info.is_dir()]
    if len(names) != 1:
        raise UserError(
            f"{archive} has {len(names)} members ({sentences.few(names)}), where one "
            "is expected."
        )
    return extract_member(archive, names[0], path, most_bytes)


def extract_from_tar(
    archive: Path, members: dict[str, Path], most_bytes: int = _MOST_BYTES
) -> None:
    """Takes files out of a tar, compressed or not, each whole or not at all.

    Args:
        archive: the tar file.
        members: name there -> where it goes.
        most_bytes: a member that unpacks to more is refused.

    Raises:
        UserError: if the archive is damaged or lacks a member, or if one is a link.
    """
    missing = dict(members)
    with _reading(archive, "tar"), tarfile.open(archive) as opened:
        for info in opened:
            path = missing.pop(posixpath.normpath(info.name), None)
            if path is None:
                continue
            source = opened.extractfile(info) if info.isfile() else None
            if source is None:
                raise UserError(f"{archive}: the member {info.name} is not a file.")
            _copy(source, path, archive, most_bytes)
            if not missing:
                return
    raise UserError(f"{archive} has no member {next(iter(missing))}.")


@contextmanager
def _reading(archive: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # The disk's, not the archive's.
        raise UserError(
            f"{archive} is not a whole {kind} file: {error}. Fetch or copy it again."
        ) from error


def _check_name(archive: Path, name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise UserError(f"{archive}: the member {name} would leave its folder.")


def _copy(source: IO[bytes], path: Path, archive: Path, most_bytes: int) -> None:
    written = 0
    with atomic.whole_file(path) as partial, partial.open("wb") as target:
        while block := source.read(_BLOCK):
            written += len(block)
            if written > most_bytes:
                raise UserError(
                    f"{archive} unpacks to more than {most_bytes:,} bytes. It is not "
                    "the file that is expected here."
                )
            target.write(block)
