"""Time and memory of `data.prepare` on a log of the size of the paper's Micro-video.

Example: python -m benchmarks.prepare --formats=csv,parquet --output=prepare.json

Draws 15 M synthetic interactions of 60,813 users and 292,286 items, writes them as a
CSV and a Parquet file, and runs the command on each in a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from harness import command_line

if TYPE_CHECKING:
    import pyarrow

_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write; none by default.")
_USERS = flags.DEFINE_integer("users", 60_813, "Users; the others follow from it.", 2)
_FORMATS = flags.DEFINE_list(
    "formats", ["csv", "parquet"], "Of the log: csv, parquet or both, by comma."
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), _USERS.value, _FORMATS.value)
    text = json.dumps(figures, indent=2)
    sys.stdout.write(text + "\n")
    if _OUTPUT.value:
        Path(_OUTPUT.value).write_text(text + "\n")


def measure(
    folder: Path, num_users: int, formats: Sequence[str] = ("csv",)
) -> dict[str, Any]:
    """Seconds and peak resident memory of the command, generation apart.

    The keys of the first format stand beside the others, under "formats".
    """
    from benchmarks.workloads import draw_log
    from harness import provenance

    started = time.perf_counter()
    log = draw_log(num_users)
    figures: dict[str, Any] = {
        "interactions": log.num_rows,
        "generate_s": round(time.perf_counter() - started, 1),
    }
    measured = {name: _measure(folder, log, name) for name in formats}
    return {
        **figures,
        **measured[formats[0]],
        "formats": measured,
        "commit": provenance.commit(),
        "machine": provenance.describe(),
    }


def _measure(folder: Path, log: pyarrow.Table, name: str) -> dict[str, float]:
    from pyarrow import csv, parquet

    source = folder / f"log.{name}"
    {"csv": csv.write_csv, "parquet": parquet.write_table}[name](log, source)
    started = time.perf_counter()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "data.prepare", "--dataset=csv"),
            *(f"--name={name}", f"--source={source}", f"--data_dir={folder}/prepared"),
        ],
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"data.prepare ended in {process.returncode}.")
    figures = {
        "file_mb": round(source.stat().st_size / 2**20),
        "prepare_s": round(time.perf_counter() - started, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        # Linux counts it in KiB.
        "peak_memory_gb": round(usage.ru_maxrss / 2**20, 2),
    }
    source.unlink()
    shutil.rmtree(folder / "prepared")
    return figures


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. Nothing was written.")
