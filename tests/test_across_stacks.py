"""Weights, scores and stopped runs of one stack under the other, both ways.

The other stack's Python is named by MGNM_OTHER_PYTHON (docs/install.md).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import runs

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


def call(python, *arguments):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [python, "-m", "tests.across_stacks", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("other_reads", [True, False])
def test_what_one_stack_wrote_the_other_reads(tmp_path, other_reads):
    writer, reader = (sys.executable, OTHER) if other_reads else (OTHER, sys.executable)
    call(writer, "write", tmp_path, *MODELS)
    found = json.loads(call(reader, "read", tmp_path, *MODELS).splitlines()[-1])
    assert [*found["differences"]] == MODELS
    apart = {name: far for name, far in found["differences"].items() if far > 1e-5}
    assert not apart
    assert len(found["tensorflow"]) == 2
    assert found["epochs"] == runs.small_config().max_epochs
