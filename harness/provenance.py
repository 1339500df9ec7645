"""What a passport says of the machine and the software that made a run."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

# Of which each stack has its own; "keras" is the version of the Keras 2 in use.
_PACKAGES = ("tf-keras", "tensorflow-addons", "numpy", "pandas")
# Folders of the checkout whose code runs.
_OURS = (
    *("mgnm_tf", "baselines", "data", "harness", "serving", "experiments"),
    "benchmarks",
)


def describe() -> dict[str, Any]:
    """CPU, cores, memory in GB, GPUs by name, TensorFlow's threads, runs at a time.

    The threads, 0 where TensorFlow chooses, are those that share one operation and
    those that run operations side by side: another number adds in another order.
    The runs that a grid made at a time took of each other's speed, not of their bits.
    """
    import tensorflow as tf

    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return {
        "cpu": _cpu_name(),
        "cores": cores(),
        "memory_gb": round(memory_mb() / 2**10, 1),
        "gpu": ", ".join(gpus) or None,
        "intra_op_threads": _threads("INTRAOP"),
        "inter_op_threads": _threads("INTEROP"),
        "runs_at_once": int(os.environ.get(RUNS_AT_ONCE, 1)),
    }


# Operations that a step has side by side, batches that are ranked so, and runs of a
# grid that are made so.
SIDE_BY_SIDE = 2
# The environment variable by which a grid tells a run how many are made at a time.
RUNS_AT_ONCE = "MGNM_RUNS_AT_ONCE"


def memory_mb() -> float:
    """The machine's memory, in MiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of Python, TensorFlow, Keras 2 and other packages, by name."""
    import tensorflow as tf

    from mgnm_tf import keras2

    by_package = {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras2.VERSION,
    }
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            by_package[name] = metadata.version(name)
    return by_package


# After the commit of code that was edited since.
DIRTY = "-dirty"


def short(commit: str) -> str:
    """Twelve digits, enough to find a commit, and the mark of edited code."""
    digits, dirty, _ = commit.partition(DIRTY)
    return digits[:12] + dirty


def commit() -> str:
    """The checked-out commit, "-dirty" if code differs; "unknown" outside git.

    Code differs if a tracked file does, or if there is a Python file in our packages
    that git neither tracks nor ignores. One beside them is a user's own: what a run
    uses of it is hashed in the passport (`harness.own_model`). An
    installed package names the commit that it was built from: what git says of its
    folder would be of another repository, which the environment lies in.
    """
    here = Path(__file__).parent
    built_from = here.parent / "built_from.txt"
    if built_from.exists():
        return built_from.read_text().strip()

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        packages = [f":/{name}/*.py" for name in _OURS]
        untracked = git("ls-files", "--others", "--exclude-standard", "--", *packages)
        return git("rev-parse", "HEAD") + (DIRTY if changed or untracked else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def peak_memory_mb() -> float:
    """The largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if platform.system() == "Darwin" else 2**10)


def reset_peak_memory_mb() -> float:
    """Lets the peak start anew where Linux can, and returns what it now is."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")
    return peak_memory_mb()


def _threads(kind: str) -> int:
    """The threads that TensorFlow read from the environment when it started."""
    return int(os.environ.get(f"TF_NUM_{kind}_THREADS") or 0)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()
