"""What it costs to know that prepared data are as they were written.

Example: python -m benchmarks.integrity --dataset=toys_5core_order --output=costs.json

Times, over several rounds, what opening a prepared data set takes: with its hashes
known on this machine, as every start but the first has it; with all of them computed,
as the first start and `--verify` have it; and without any check, as what the checks
stand beside. `--made_users` measures made data of that many users instead.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from harness import command_line


def main() -> None:
    from data.errors import UserError

    values = flags.FLAGS
    if (values.dataset is None) == (values.made_users is None):
        raise UserError("Say which data: --dataset, or --made_users.")
    with tempfile.TemporaryDirectory() as made:
        if values.made_users:
            data_dir, name = Path(made), "made"
            _make(data_dir, values.made_users)
        else:
            data_dir, name = Path(values.data_dir), values.dataset
        found = measure(data_dir, name, values.split, values.rounds)
    text = json.dumps(found, indent=2)
    sys.stdout.write(text + "\n")
    if values.output:
        Path(values.output).write_text(text + "\n")


def measure(
    data_dir: Path, name: str, split: str | None = None, rounds: int = 5
) -> dict[str, Any]:
    """Seconds of opening a data set, and what it holds.

    Raises:
        UserError: if it is not there or damaged.
    """
    from data import prepared
    from harness import provenance

    data = prepared.load(data_dir, name, split)  # From here on its hashes are known.
    arrays = sorted(data.folder.glob("[!c]*.npy"))
    megabytes = sum(path.stat().st_size for path in arrays) / 2**20
    return {
        "data": data.name,
        "interactions": data.meta["statistics"]["interactions"],
        "array_mb": round(megabytes, 1),
        "unchecked_s": _median(lambda: [_mapped(path) for path in arrays], rounds),
        "known_s": _median(lambda: prepared.load(data_dir, name, split), rounds),
        "verified_s": _median(
            lambda: prepared.load(data_dir, name, split, verify=True), rounds
        ),
        "rounds": rounds,
        "commit": provenance.commit(),
        "machine": provenance.describe(),
    }


def _mapped(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _median(action: Callable[[], object], rounds: int) -> float:
    """Seconds, after one round that brings the files into the system's cache."""
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return round(statistics.median(seconds[1:]), 4)


def _make(data_dir: Path, num_users: int) -> None:
    """Prepares made data as `benchmarks.prepare` draws them."""
    from pyarrow import parquet

    from benchmarks.workloads import draw_log
    from data.build import prepare

    source = data_dir / "log.parquet"
    parquet.write_table(draw_log(num_users), source)
    prepare("csv", data_dir, source=source, name="made")


if __name__ == "__main__":
    # Here, since a test imports this module, and others have flags of these names.
    flags.DEFINE_string("dataset", None, "Name of a prepared data set.")
    flags.DEFINE_string("split", None, "Its split, if there are several.")
    flags.DEFINE_string("data_dir", "data/prepared", "Output of data.prepare.")
    flags.DEFINE_integer(
        "made_users", None, "Measure made data of so many users, of 246 events each.", 2
    )
    flags.DEFINE_integer("rounds", 5, "Of which the median is taken.", 1)
    flags.DEFINE_string("output", None, "JSON file to write; none by default.")
    command_line.run(main, stopped="Stopped. Nothing was written.")
