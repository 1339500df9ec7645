"""Fixed samples of instances: one for all models, and for all processes of a run."""

from __future__ import annotations

import numpy as np

# A sample of validation is not one of test.
VALID_SEED, TEST_SEED = 7, 11


def sample_rows(count: int, most: int | None, seed: int) -> np.ndarray:
    """Rows of a sample of at most so many, in order; all without a bound: int64."""
    if most is None or count <= most:
        return np.arange(count)
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(count, max(most, 1), replace=False))
