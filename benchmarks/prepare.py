"""Time and memory of `data.prepare` on a log of the size of the paper's Micro-video.

Example: python -m benchmarks.prepare --output=prepare.json

Draws 15 M synthetic interactions of 60,813 users and 292,286 items, writes them as a
CSV file, and runs the command on it in a process of its own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

from harness import command_line

_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write; none by default.")
_USERS = flags.DEFINE_integer("users", 60_813, "Users; the others follow from it.", 2)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), _USERS.value)
    text = json.dumps(figures, indent=2)
    sys.stdout.write(text + "\n")
    if _OUTPUT.value:
        Path(_OUTPUT.value).write_text(text + "\n")


def measure(folder: Path, num_users: int) -> dict[str, object]:
    """Seconds and peak resident memory of the command, generation apart."""
    started = time.perf_counter()
    source = folder / "log.csv"
    rows = _write_log(source, num_users)
    generated = time.perf_counter()
    subprocess.run(
        [
            *(sys.executable, "-m", "data.prepare", "--dataset=csv", "--name=large"),
            *(f"--source={source}", f"--data_dir={folder}/prepared"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    done = time.perf_counter()
    from harness import provenance

    # The child's peak; Linux counts it in KiB.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return {
        "interactions": rows,
        "csv_mb": round(source.stat().st_size / 2**20),
        "generate_s": round(generated - started, 1),
        "prepare_s": round(done - generated, 1),
        "peak_memory_gb": round(peak, 2),
        "commit": provenance.commit(),
        "machine": provenance.describe(),
    }


def _write_log(path: Path, num_users: int) -> int:
    import pyarrow
    from pyarrow import csv

    from data.synthetic import SyntheticSpec, generate

    drawn = generate(
        SyntheticSpec(
            num_users=num_users,
            num_items=round(num_users * 292_286 / 60_813),
            mean_events=246.0,
            num_coarse=50,
            fine_per_coarse=20,
        )
    )
    columns = {"user": drawn.users, "item": drawn.items, "timestamp": drawn.times}
    csv.write_csv(pyarrow.table(columns), path)
    return len(drawn.items)


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. Nothing was written.")
