"""Training, evaluation, statistics and reports: the harness behind Table 2."""

from __future__ import annotations

import os

# Before anything imports TensorFlow, whose start-up notices drown all else; what goes
# wrong is raised. Setting the variable brings them back.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
