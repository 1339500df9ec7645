"""What a command says when it cannot go on: one sentence for what a user can mend."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence

from data.errors import UserError

_AGAIN = "then run the same command again"
_BY_ERRNO = {
    errno.ENOSPC: f"the disk is full. Make room, {_AGAIN}",
    errno.EDQUOT: f"your share of the disk is used up. Make room, {_AGAIN}",
    errno.EFBIG: f"it would be larger than the system allows. Raise that, {_AGAIN}",
    errno.EROFS: "it cannot be written, the disk is read-only. Choose another folder",
    errno.EACCES: (
        "this user may not open it. Change its permissions, or choose another path"
    ),
    errno.EPERM: (
        "this user may not change it. Change its permissions, or choose another path"
    ),
    errno.EMFILE: f"too many files are open. Raise the limit (`ulimit -n`), {_AGAIN}",
    errno.ENFILE: f"too many files are open on this machine. Close some, {_AGAIN}",
    errno.ENOENT: "there is no such file or folder. Check the path",
    errno.ENOTDIR: "a part of that path is a file, not a folder. Check the path",
    errno.EISDIR: "it is a folder, and a file is expected. Check the path",
    errno.EEXIST: "a file of that name is there already. Choose another path",
    errno.ENAMETOOLONG: "the name is too long. Choose a shorter one",
    errno.EIO: "the disk cannot read or write it. Copy the folder to another disk",
}
_MEMORY = (
    "There is not enough memory. Close other programs, take a larger machine, or train "
    "with a lower --batch_size or --max_history of experiments.train; what is finished "
    "is kept."
)


def of(error: BaseException) -> str | None:
    """The sentence for an error that a user can mend; None for a fault of the code."""
    if isinstance(error, UserError):
        return str(error).replace("\n", " ")
    system = _inside(error)
    if system is not None:
        return _of_system(system)
    if isinstance(error, MemoryError) or type(error).__name__ in _OUT_OF_MEMORY:
        return _MEMORY
    return None


def few(names: Sequence[str], most: int = 3) -> str:
    """The first of some names, and whether there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


# TensorFlow's, which is not imported here.
_OUT_OF_MEMORY = ("ResourceExhaustedError",)


def _inside(error: BaseException) -> OSError | None:
    """What the system refused, also where HDF5 or TensorFlow tell of it in words."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    text = str(error)
    if isinstance(error, (OSError, RuntimeError)):
        number = re.search(r"errno = (\d+), error message", text)
        name = re.search(r"name = '([^']*)'", text)
        if number:
            code = int(number[1])
            return OSError(code, os.strerror(code), name[1] if name else None)
    if type(error).__module__.startswith("tensorflow"):
        for code in _BY_ERRNO:
            if os.strerror(code) in text:
                return OSError(code, os.strerror(code), text.split(";")[0][:300])
    return error if isinstance(error, OSError) else None


def _of_system(error: OSError) -> str:
    where = error.filename if error.filename is not None else ""
    what = _BY_ERRNO.get(error.errno or 0) or error.strerror or str(error) or "failed"
    text = f"{where}: {what}" if where else what[0].upper() + what[1:]
    return text.replace("\n", " ").rstrip(".") + "."
