"""Writes what `--dry_run` estimates with: a bench's rates, and stored runs' memory.

Command: python docs/figures/rates.py
"""

from __future__ import annotations

import collections
import itertools
import json
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from harness import estimate  # noqa: E402

STORED = ROOT / "docs/performance/bench.json"
WRITTEN = ROOT / "harness/rates.json"
# The embedding size of each workload, benchmarks/workloads.py.
EMBEDDING_DIM = {"toys": 16, "micro_video": 40}
KEPT = ("parameters", "positives_per_s", "ranked_per_s", "full_per_s")
# Runs of the paper's recipe: of short histories, and of long ones.
SHORT = (
    "toys_5core_order-leave_one_out",
    "sports_5core-global_time",
    # Of processes of their own; in later ones TensorFlow came with the fork.
    "instruments_5core-global_time-drawn",
)
LONG = ("kuairand_likes_hates-by_date-drawn",)


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


def memory() -> dict[str, dict[str, float]]:
    """Peak memory of each model in MB, without weights and candidates: means of runs.

    `quick` is of the quick profile's run, `short` and `long` of stored passports.
    """
    quick = json.loads((ROOT / "docs/performance/quick.json").read_text())
    ranked = [quick["config"][f"{part}_instances"] for part in ("test", "valid")]
    found: dict[str, dict[str, float]] = {}
    for model, row in quick["models"].items():
        learns = row["training_s"] > 0
        weights = 4e-6 * row["parameters"]
        around = estimate.around_model_mb(weights, learns, *ranked)
        found[model] = {"quick": round(row["peak_mb"] - around)}
    for kind, names in (("short", SHORT), ("long", LONG)):
        by_model = collections.defaultdict(list)
        for passport in itertools.chain.from_iterable(map(_passports, names)):
            by_model[passport["model"]].append(_own_mb(passport))
        for model, own in by_model.items():
            found[model][kind] = round(statistics.fmean(own))
    return {model: row for model, row in found.items() if "long" in row}


def _passports(name: str) -> list[dict[str, Any]]:
    """Of the paper's models as Table 2 has them, one of each: its first seed's."""
    lines = (ROOT / f"docs/passports/{name}.jsonl").read_text().splitlines()
    passports = [json.loads(line) for line in lines]
    return [one for one in passports if one["variant"] == "paper" and one["seed"] == 1]


def _own_mb(passport: dict[str, Any]) -> float:
    data, training = passport["data"], passport["training"]
    valid = min(data["valid"], passport["config"]["valid_instances"])
    learns = training["max_epochs"] > 0
    weights = 4e-6 * training["parameters"]
    around = estimate.around_model_mb(weights, learns, data["test"], valid)
    return passport["peak_memory_mb"] - around


def main() -> None:
    found = {**rates(json.loads(STORED.read_text())), "memory_mb": memory()}
    text = json.dumps(found, indent=1)
    WRITTEN.write_text(text + "\n")


if __name__ == "__main__":
    main()
