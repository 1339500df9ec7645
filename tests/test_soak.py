"""The soak in short, which CI runs: it begins no further run after a minute."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_a_grid_that_is_killed_starved_and_damaged_ends_as_an_undisturbed_one():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--minutes=1", "--runs=5"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = re.match(
        r"(\d+) runs in \d+ s, as undisturbed in weights, ranks, looks and Table 2\.",
        done.stdout,
    )
    assert found, done.stdout
    assert int(found[1]) >= 1
    assert re.search(r"flipped bits \d", done.stdout)
