"""What a process sets before it imports TensorFlow: variables, allocator, log."""

from __future__ import annotations

import ctypes
import logging
import os

from harness import provenance

# Of the C library's <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def set_defaults() -> None:
    """Sets what is not set yet; to be called before TensorFlow is imported.

    `TF_CPP_MIN_LOG_LEVEL`: TensorFlow's start-up notices drown all else, and what goes
    wrong is raised.

    `TF_NUM_INTRAOP_THREADS`, the threads that share one operation: half the cores, so
    that two operations stand side by side. A step's products are small, and shared by
    all cores each they wait more than they gain (docs/performance.md).

    It also calls `keep_freed_memory`, and leaves out what TensorFlow says of functions
    that are traced again: where a process opens one model after the other, each is
    traced once, and it takes them for one. Tests count how often a model is traced.
    """
    keep_freed_memory()
    logging.getLogger("tensorflow").addFilter(is_not_of_retracing)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    threads = max(1, provenance.cores() // provenance.SIDE_BY_SIDE)
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))


def is_not_of_retracing(record: logging.LogRecord) -> bool:
    """Whether a line of the log is of anything but functions that are traced again."""
    return "triggered tf.function retracing" not in str(record.msg)


def keep_freed_memory() -> bool:
    """Tells glibc to keep what is freed for the next tensor of the process.

    By default it takes a block above 32 MB from the kernel and gives it back at once,
    so that a step of a model with large tensors has every page of them cleared anew:
    almost two fifths of the time of MGNM's training on long histories. A process holds
    a tenth more memory at its peak (docs/performance.md). Another C library is left
    alone, and so is glibc where a variable `MALLOC_...` or `LD_PRELOAD` says that the
    user chose.

    Returns:
        Whether it was told so.
    """
    if "LD_PRELOAD" in os.environ or any(
        name.startswith("MALLOC_") for name in os.environ
    ):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    never = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1))
    return all(library.mallopt(option, value) == 1 for option, value in never)


def beside(runs_at_once: int) -> dict[str, str]:
    """Variables for one of so many runs at a time: a share of the cores each.

    `TF_NUM_INTEROP_THREADS`, the operations that stand side by side, if it is not set:
    threads that wait for work that others do take time from those. No digit depends on
    it, as one does on the threads that share one operation: these are as ever.
    """
    variables = {provenance.RUNS_AT_ONCE: str(runs_at_once)}
    if runs_at_once > 1 and "TF_NUM_INTEROP_THREADS" not in os.environ:
        threads = max(1, provenance.cores() // runs_at_once)
        variables["TF_NUM_INTEROP_THREADS"] = str(threads)
    return variables
