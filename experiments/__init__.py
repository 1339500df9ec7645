"""Training, evaluation, statistics and reports: the harness behind Table 2."""

from __future__ import annotations

import os

from experiments import machine

# Before anything imports TensorFlow, whose start-up notices drown all else; what goes
# wrong is raised. Setting the variable brings them back.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# The threads that share one operation: half the cores, so that two operations stand
# side by side. A step's products are small, and shared by all cores each they wait more
# than they gain (docs/performance.md). Setting the variable overrides it.
os.environ.setdefault(
    "TF_NUM_INTRAOP_THREADS", str(max(1, machine.cores() // machine.SIDE_BY_SIDE))
)
