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
