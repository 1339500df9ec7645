"""What a check of the audit finds, and the bounds it is held against."""

from __future__ import annotations

import dataclasses

OK, LEAK, NOT_APPLICABLE = "ok", "LEAK", "not applicable"


# What a check asks; in the order of tables.
CHECKS: dict[str, str] = {
    "noise": "users of pure noise are ranked by chance",
    "random targets": "with a random candidate in the target's place, so are all",
    "repeated call": "the same batch again, another one between",
    "row order": "the rows of the batch in another order",
    "batch size": "each row alone, and the batch in two parts",
    "other users": "other users in every other row of the batch",
    "padding": "more padding before each history",
    "candidate order": "the candidates in another order",
    "one by one": "each candidate alone",
    "encode": "the history encoded without candidates, which are scored then",
    "ranks": "all ranks with batches of other sizes and rows",
    "later events": "other items from the target on, other times after it",
    "test events": "trained again with other items and times in all test events",
}


# In standard deviations of the scores. Rounding stays below 1e-6, docs/audit.md; other
# machines may round more.
SCORE_BOUND = 1e-3


# Share of lists; neighbours whose scores differ by rounding may change places.
RANK_BOUND = 0.01


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        verdict: one of `OK`, `LEAK` and `NOT_APPLICABLE`.
        value: a GAUC, the largest change of a score in standard deviations of the
            scores, or a share of ranks; None where not applicable.
        bound: how far the value may be from `expected`.
        expected: what an honest model gives: 0.5 for a GAUC, 0 for a difference.
        reason: a sentence that says why the check is not applicable.
    """

    verdict: str
    value: float | None = None
    bound: float | None = None
    expected: float = 0.0
    reason: str = ""

    @classmethod
    def of(cls, value: float, bound: float, expected: float = 0.0) -> Finding:
        # A value that is no number is none within the bound.
        honest = abs(value - expected) <= bound
        return cls(OK if honest else LEAK, value, bound, expected)
