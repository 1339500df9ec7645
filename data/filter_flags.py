"""Flags that say what is dropped of a log, of every command that prepares one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from data import log_flags

if TYPE_CHECKING:
    from data.filters import Filters

_MIN_USER_EVENTS = flags.DEFINE_integer(
    "min_user_events", 1, "Drop users with fewer events, until none has.", 1
)
_MIN_ITEM_EVENTS = flags.DEFINE_integer(
    "min_item_events", 1, "Drop items with fewer events, until none has.", 1
)
_DEDUPLICATE = flags.DEFINE_bool(
    "deduplicate", False, "Drop rows that repeat user, item and time of an earlier one."
)


def filters() -> Filters:
    """What the flags drop of a log, but for ratings."""
    from data.filters import Filters

    return Filters(
        deduplicate=_DEDUPLICATE.value,
        min_user_events=_MIN_USER_EVENTS.value,
        min_item_events=_MIN_ITEM_EVENTS.value,
    )


def given() -> list[str]:
    """Those of the flags that were given, as one types them."""
    return log_flags.typed((_MIN_USER_EVENTS, _MIN_ITEM_EVENTS, _DEDUPLICATE))
