"""Writes the rates that `--dry_run` estimates with, from docs/performance/bench.json.

Command: python docs/figures/rates.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STORED = ROOT / "docs/performance/bench.json"
WRITTEN = ROOT / "experiments/reproduction/rates.json"
# The embedding size of each workload, benchmarks/workloads.py.
EMBEDDING_DIM = {"toys": 16, "micro_video": 40}
KEPT = ("parameters", "positives_per_s", "ranked_per_s", "full_per_s", "peak_mb")


def rates(bench: dict[str, Any]) -> dict[str, Any]:
    """What an estimate needs of a bench's result."""
    machine = bench["machine"]
    found: dict[str, Any] = {
        "machine": f"{machine['cores']} cores of {machine['cpu']}",
        "workloads": {},
    }
    for name, size in EMBEDDING_DIM.items():
        workload = bench["workloads"][name]
        found["workloads"][name] = {
            "users": workload["users"],
            "items": workload["items"],
            "history": workload["mean_history"],
            "embedding_dim": size,
            "models": {
                model: {key: row[key] for key in KEPT if key in row}
                for model, row in workload["models"].items()
                if not model.startswith("mgnm_plain")
            },
        }
    return found


def main() -> None:
    text = json.dumps(rates(json.loads(STORED.read_text())), indent=1)
    WRITTEN.write_text(text + "\n")


if __name__ == "__main__":
    main()
