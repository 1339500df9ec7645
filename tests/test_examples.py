"""The scripts in examples/ run, and do what they say."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.slow
def test_from_a_dataframe_to_ten_new_items_and_what_interests_read():
    made = runpy.run_path(str(EXAMPLES / "own_data.py"))
    losses = made["model"].history.history["loss"]
    assert losses[-1] < losses[0]
    assert len(set(made["top"])) == 10
    assert not set(made["top"] + 1) & set(made["own"])
    couplings = made["couplings"]
    assert couplings.shape == (2, 2, 8)
    np.testing.assert_allclose(couplings.sum(-1), 1.0, atol=1e-5)
