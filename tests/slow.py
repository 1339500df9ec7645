"""Marks that keep `make test` short: what takes long runs in `make test-slow`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(values: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """The values of a parameter, all `slow` but the quick ones.

    For a check that many models or forms go through: the quick ones stand for them in
    every run of the tests.
    """
    return [
        value if value in quick else pytest.param(value, marks=pytest.mark.slow)
        for value in values
    ]
