"""Environment variables that TensorFlow reads when it is imported."""

from __future__ import annotations

import os

from harness import provenance


def set_defaults() -> None:
    """Sets what is not set yet; to be called before TensorFlow is imported.

    `TF_CPP_MIN_LOG_LEVEL`: TensorFlow's start-up notices drown all else, and what goes
    wrong is raised.

    `TF_NUM_INTRAOP_THREADS`, the threads that share one operation: half the cores, so
    that two operations stand side by side. A step's products are small, and shared by
    all cores each they wait more than they gain (docs/performance.md).
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    threads = max(1, provenance.cores() // provenance.SIDE_BY_SIDE)
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))


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
