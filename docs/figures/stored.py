"""The stored passports that the pictures of the results are drawn from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent

# By the page of docs/results: the passports of its Table 2, and its data's title.
DATASETS = {
    "toys": ("toys_5core_order-leave_one_out", "Toys and Games"),
    "sports": ("sports_5core-global_time", "Sports and Outdoors"),
    "instruments": ("instruments_5core-global_time", "Musical Instruments"),
    "kuairand": ("kuairand_likes_hates-by_date", "KuaiRand's likes"),
}


def passports(store: str) -> list[dict[str, Any]]:
    """One a run, as docs/passports/<store>.jsonl has them."""
    text = (DOCS / f"passports/{store}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
