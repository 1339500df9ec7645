"""Downloads of the data sets that have a name: addresses, archives, sequences."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from data.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_MOST_RAGGED = 10


@dataclasses.dataclass(frozen=True)
class Download:
    """A published file, and the part of it that is read; fetches it when called.

    Attributes:
        url: what to fetch, over HTTPS.
        folder: where under the folder for raw files.
        checksum: as `data.checksums` writes them; None where none is published.
        size: bytes; None where it is not known.
        members: of the zip or tar, the logs to read; several are put together under
            the header of the first. Empty where the file is the log.
    """

    url: str
    folder: str = ""
    checksum: str | None = None
    size: int | None = None
    members: tuple[str, ...] = ()

    def __call__(self, raw_dir: Path) -> tuple[Path, str]:
        """Fetches and verifies; the log, and where it came from.

        The archive is verified each time, and unpacked anew: of what is in it no
        checksum is published.

        Raises:
            UserError: if it cannot be had, or is not what was published.
        """
        from data import archives
        from data.download import download

        folder = raw_dir / self.folder
        path = folder / self.url.rsplit("/", 1)[-1]
        download(self.url, path, self.checksum, self.size)
        if not self.members:
            return path, self.url
        parts = [folder / member.rsplit("/", 1)[-1] for member in self.members]
        if path.suffix == ".zip":
            for member, part in zip(self.members, parts):
                archives.extract_member(path, member, part)
        else:
            archives.extract_from_tar(path, dict(zip(self.members, parts)))
        if len(parts) == 1:
            return parts[0], self.url
        whole = folder / f"{path.name.split('.')[0]}.csv"
        put_together(parts, whole)
        return whole, self.url


def put_together(parts: list[Path], whole: Path) -> None:
    """Joins CSV files of one header.

    Rows with another number of fields than the header, of which a published log has
    one, are left out and counted in a warning.

    Raises:
        UserError: if the headers differ, or more than ten rows are ragged.
    """
    from absl import logging

    from data import atomic

    ragged: list[str] = []
    first = b""
    with atomic.whole_file(whole) as partial, partial.open("wb") as target:
        for part in parts:
            with part.open("rb") as source:
                header = source.readline().strip()
                if not first:
                    first = header
                    target.write(header + b"\n")
                if header != first:
                    raise UserError(
                        f"{part} and {parts[0]} have different headers, where two "
                        "parts of one log are expected."
                    )
                target.writelines(_whole_rows(source, part, header, ragged))
    for text in ragged:
        logging.warning("%s: it is left out.", text)


def _whole_rows(
    source: BinaryIO, part: Path, header: bytes, ragged: list[str]
) -> Iterator[bytes]:
    commas = header.count(b",")
    for number, row in enumerate(source, start=2):
        if row.count(b",") == commas:
            yield row if row.endswith(b"\n") else row + b"\n"
        elif row.strip():
            ragged.append(
                f"{part}: row {number} has {row.count(b',') + 1} fields, the header "
                f"{commas + 1}"
            )
            if len(ragged) > _MOST_RAGGED:
                raise UserError(f"{ragged[0]}, and so do {_MOST_RAGGED} others.")


def load_sequences(path: Path) -> pd.DataFrame:
    """Reads a text file of sequences, `user item item ...` in each line.

    Returns:
        Columns user, item (as they are written) and order, 0, 1, 2, ... of each user.

    Raises:
        UserError: naming file and row, for a line without an item, a user that stands
            there twice, or what is not text.
    """
    import numpy as np
    import pandas as pd

    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    users: list[str] = []
    items: list[str] = []
    lengths: list[int] = []
    try:
        with path.open(encoding="ascii") as file:
            for number, line in enumerate(file, start=1):
                user, *sequence = line.split()
                if not sequence:
                    raise UserError(
                        f"{path}: row {number} has a user and no item. Each row is "
                        "`user item item ...`."
                    )
                users.append(user)
                items += sequence
                lengths.append(len(sequence))
    except (UnicodeDecodeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path}: row {len(users) + 1} is not `user item item ...`."
        ) from error
    if not users:
        raise UserError(f"{path} is empty.")
    twice = pd.Index(users).duplicated()
    if twice.any():
        row = int(twice.argmax())
        raise UserError(f"{path}: row {row + 1}: the user {users[row]} has two rows.")
    counts = np.array(lengths)
    return pd.DataFrame(
        {
            "user": pd.Categorical(np.repeat(users, counts)),
            "item": pd.Categorical(items),
            "order": np.arange(len(items))
            - np.repeat(counts.cumsum() - counts, counts),
        }
    )
