"""Weights, scores and stopped runs of one stack under the other, both ways.

The other stack's Python is named by MGNM_OTHER_PYTHON (docs/install.md).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from harness import runner
from tests import across_stacks, datasets, runs

ROOT = Path(__file__).parent.parent
# One for each way of reading a history: levels, a recurrent net, attention over times.
MODELS = ["mgnm", "gru4rec", "tgsrec"]
OTHER = os.environ.get("MGNM_OTHER_PYTHON")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not OTHER, reason="MGNM_OTHER_PYTHON names no Python of another stack"
    ),
]


def call_other(*arguments):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [OTHER, "-m", "tests.across_stacks", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_what_one_stack_wrote_the_other_reads(tmp_path):
    """Both ways: the other stack reads ours first, and leaves its own."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir(), theirs.mkdir()
    data = datasets.make_prepared(ours)
    models = {name: across_stacks.Scored(name, data) for name in MODELS}
    across_stacks.write(models, ours)
    across_stacks.go_on(data, ours / "run", until=1)
    by_other = call_other(ours, theirs, *MODELS)
    by_us = across_stacks.differences(models, theirs)
    for found in (by_other, by_us):
        assert [*found] == MODELS
        assert not {name: far for name, far in found.items() if far > 1e-5}
    stored = np.load(ours / "scores.npz"), np.load(theirs / "scores.npz")
    for name in MODELS:  # The other trained further: there was something to read.
        assert np.abs(stored[0][name] - stored[1][name]).max() > 1e-3
    config = runs.small_config()
    passport = runner.run(config, data, ours / "run", across_stacks.SEED)
    begun, gone_on, finished = passport["training"]["tensorflow"]
    assert begun == finished == tf.__version__ != gone_on
    assert passport["training"]["epochs"] == config.max_epochs
