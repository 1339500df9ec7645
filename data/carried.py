"""Errors of Python code that TensorFlow calls reach the caller as what they were.

TensorFlow turns an exception inside a generator of `tf.data` into an error of its own,
whose text is a traceback. Here the exception is kept where it is raised, and raised
again, itself, where TensorFlow's error arrives.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TypeVar

_T = TypeVar("_T")
_raised: list[BaseException] = []


def keeping(values: Iterator[_T]) -> Iterator[_T]:
    """The same values; what ends them badly is kept for `raising`."""
    try:
        yield from values
    except Exception as error:
        _raised.append(error)
        raise


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """An error in the block becomes the one that was kept during it, if there is one.

    Blocks do not nest: one training runs at a time.
    """
    _raised.clear()
    try:
        yield
    except Exception as error:
        if not _raised:
            raise
        original = _raised[0]
        if original is error:
            raise
        raise original from error
    finally:
        _raised.clear()
