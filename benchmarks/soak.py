"""A grid of small runs that are killed, starved of disk and damaged, to the same table.

Example: python -m benchmarks.soak --minutes=3

Two grids are made from one small log. One is undisturbed. Over the other goes a clock
that ends whatever is running by SIGKILL, every 5 to 40 seconds; its disk of 50 MB fills
twice; and in every third run a bit of what it reads is flipped, until it has said so.
The same command starts each run again until it is finished. The exit code is 0 if both
grids have the same weights, ranks, looks and Table 2, and every end but the kills was a
sentence; what was done is printed with its seed.
"""

from __future__ import annotations

import collections
import contextlib
import csv
import dataclasses
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from absl import flags, logging

from data import manifest
from data.errors import UserError
from data.synthetic import SyntheticSpec, generate
from harness import command_line, ledger, run_folder

_MINUTES = flags.DEFINE_float(
    "minutes", 60.0, "How long further runs are begun.", lower_bound=0.1
)
_RUNS = flags.DEFINE_integer("runs", 30, "Most runs of a grid.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 2022, "Of what is disturbed, and when.")
_MODELS = ("mean_pooling", "gru4rec", "sasrec")
_LEAST_S, _MOST_S = 5.0, 40.0  # between two kills
_MOST_KILLS = 8  # of one run: where it takes longer than 40 s it would never end
_DISK_MB = 50
_FULL_AT = (2, 4)  # Runs in which the disk fills.
_FLIPPED_EVERY = 3
# What a full disk still takes: it is to fail in many places.
_MOST_LEFT_BYTES = 60_000
_MOST_BYTES = 4_000  # of a file, where no small disk can be mounted
# Most of a run's time goes into starting: kills fall into every part of it.
_LOG = SyntheticSpec(num_users=200, num_items=150, mean_events=12.0)
_NAME = "small"


@dataclasses.dataclass
class Soak:
    """One soak: where its grids are, what it draws, and what it has counted.

    Attributes:
        folder: of the prepared data and the undisturbed grid.
        disk: of the disturbed grid.
        is_small: whether that is a disk of its own, which can be filled.
        rng: draws what is disturbed.
        counts: of each kind of disturbance.
    """

    folder: Path
    disk: Path
    is_small: bool
    rng: random.Random
    counts: collections.Counter[str]
    next_kill: float = 0.0

    def runs_dir(self, disturbed: bool) -> Path:
        return (self.disk if disturbed else self.folder) / "runs"

    def run_dir(self, number: int, disturbed: bool) -> Path:
        model, seed = _MODELS[number % len(_MODELS)], number // len(_MODELS) + 1
        place = Path(_NAME, "global_time", model, f"seed-{seed}")
        return self.runs_dir(disturbed) / place

    def command(self, number: int, disturbed: bool) -> list[str]:
        run_dir = self.run_dir(number, disturbed)
        return [
            *(sys.executable, "-m", "experiments.train", f"--dataset={_NAME}"),
            *(f"--model={run_dir.parent.name}", f"--seed={run_dir.name[5:]}"),
            *(f"--data_dir={self.folder / 'prepared'}", f"--run_dir={run_dir}"),
            *("--max_epochs=2", "--max_history=10", "--set=embedding_dim=4"),
        ]

    def start(
        self,
        number: int,
        limit: Callable[[], None] | None = None,
    ) -> tuple[int, str]:
        """Starts a disturbed run once: its exit code, and what it said."""
        done = subprocess.run(
            self.command(number, disturbed=True),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,
            check=False,
        )
        self.check_words(number, done.stderr)
        return done.returncode, done.stderr

    @staticmethod
    def check_words(number: int, said: str) -> None:
        if "Traceback" in said:
            raise UserError(f"Run {number} ended in a traceback: {said[-2000:]}")

    def finish(self, number: int, disturbed: bool) -> None:
        """Starts a run, which nothing disturbs.

        Raises:
            UserError: if it does not end well.
        """
        done = subprocess.run(
            self.command(number, disturbed), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UserError(f"Run {number} failed: {done.stderr[-2000:]}")

    def disturb(self, number: int) -> None:
        """Starts a run again and again, until it is finished however disturbed."""
        if number in _FULL_AT:
            self.fill(number)
        if number % _FLIPPED_EVERY == 0:
            self.flip(number)
        for _ in range(_MOST_KILLS):
            if not self.is_killed(number):
                return
        self.finish(number, disturbed=True)

    def is_killed(self, number: int) -> bool:
        """Starts a run under the clock; whether that killed it.

        Raises:
            UserError: if it ended otherwise than well.
        """
        process = subprocess.Popen(
            self.command(number, disturbed=True),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        killed = False
        try:
            left = max(self.next_kill - time.monotonic(), 0.0)
            _, said = process.communicate(timeout=left)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
            killed = process.returncode != 0
            self.counts["kills"] += killed
            self.draw_kill()
        finally:
            process.kill()  # Where the soak itself is stopped.
        self.check_words(number, said)
        if not killed and process.returncode:
            raise UserError(f"Run {number} failed: {said[-2000:]}")
        return killed

    def draw_kill(self) -> None:
        self.next_kill = time.monotonic() + self.rng.uniform(_LEAST_S, _MOST_S)

    def fill(self, number: int) -> None:
        """Fills the disk, which the run has to say, and makes room again."""
        self.counts["full disks"] += 1
        ballast = self.disk / "ballast"
        if self.is_small:
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(1 << 16)):
                    pass
            size = max(ballast.stat().st_size - self.rng.randrange(_MOST_LEFT_BYTES), 0)
            with ballast.open("r+b") as file:
                file.truncate(size)
            code, said = self.start(number)
            words = "the disk is full"
        else:
            code, said = self.start(number, _limit)
            words = "larger than the system allows"
        ballast.unlink(missing_ok=True)
        logging.info("Run %d, full disk: %d: %s", number, code, said[-200:])
        if code and words not in said:
            raise UserError(f"Run {number} does not say that the disk is full: {said}")
        self.counts["full disks said"] += bool(code)

    def flip(self, number: int) -> None:
        """Flips a bit of the data; the run has to refuse them, and they are mended."""
        self.counts["flipped bits"] += 1
        paths = sorted(self.folder.glob(f"prepared/{_NAME}/*/[!c]*.npy"))
        path = self.rng.choice(paths)
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[self.rng.randrange(len(whole))] ^= 1 << self.rng.randrange(8)
        path.write_bytes(damaged)
        try:
            code, said = self.start(number)
        finally:
            path.write_bytes(whole)
        logging.info("Run %d, flipped bit of %s: %d", number, path.name, code)
        if code == 0 or path.name not in said:
            raise UserError(f"Run {number} does not refuse {path.name}: {said}")

    def table(self, disturbed: bool) -> str:
        """Table 2 of a grid, as CSV."""
        reports = (self.disk if disturbed else self.folder) / "reports"
        report = [
            *(sys.executable, "-m", "experiments.report"),
            *(f"--runs_dir={self.runs_dir(disturbed)}", f"--output_dir={reports}"),
        ]
        done = subprocess.run(report, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"The report failed: {done.stderr[-2000:]}")
        return (reports / "table2.csv").read_text()


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_BYTES, _MOST_BYTES))


def main() -> None:
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        disk = folder / "disk"
        disk.mkdir()
        is_small = stack.enter_context(_small_disk(disk))
        rng = random.Random(_SEED.value)
        soak = Soak(folder, disk, is_small, rng, collections.Counter())
        number = _soak(soak, started + 60 * _MINUTES.value)
    of_disk = (
        f"a tmpfs of {_DISK_MB} MB"
        if is_small
        else f"none could be mounted, files of {_MOST_BYTES} bytes at most in its place"
    )
    shown = ", ".join(f"{kind} {count}" for kind, count in soak.counts.items())
    sys.stdout.write(
        f"{number} runs in {time.monotonic() - started:.0f} s, as undisturbed in "
        f"weights, ranks, looks and Table 2. {shown}. Disk: {of_disk}. Seed "
        f"{_SEED.value}.\n"
    )


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[bool]:
    """Mounts a small disk in a folder, where this user may; whether it is there."""
    size = f"size={_DISK_MB}m"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    try:
        yield done
    finally:
        if done:
            # Of a soak that is stopped, a process may have a file open there.
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _soak(soak: Soak, end: float) -> int:
    """Makes runs of both grids until the time is over; how many."""
    _prepare(soak.folder)
    soak.draw_kill()
    number = 0
    while number < _RUNS.value and (number == 0 or time.monotonic() < end):
        soak.disturb(number)
        soak.finish(number, disturbed=False)
        one, other = (_result(soak.run_dir(number, kind)) for kind in (False, True))
        if one != other:
            raise UserError(f"Run {number} differs from the undisturbed one.")
        logging.info("Run %d is as undisturbed.", number)
        number += 1
    if soak.table(disturbed=False) != soak.table(disturbed=True):
        raise UserError("The tables differ.")
    return number


def _prepare(folder: Path) -> None:
    drawn = generate(_LOG)
    source = folder / "log.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "timestamp"])
        writer.writerows(zip(drawn.users, drawn.items, drawn.times))
    command = [
        *(sys.executable, "-m", "data.prepare", "--dataset=csv", "--split=global_time"),
        *(f"--source={source}", f"--name={_NAME}", f"--data_dir={folder / 'prepared'}"),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _result(run_dir: Path) -> tuple[Any, ...]:
    """Metrics, weights and looks of a run: all but its clocks."""
    passport = json.loads((run_dir / run_folder.PASSPORT).read_text())
    weights = manifest.file_hash(run_dir / run_folder.WEIGHTS)
    ranks = run_folder.read_ranks(run_dir).to_csv(index=False)
    every = ledger.looks(run_dir.parent)
    looks = sum(look["run"] == run_dir.name for look in every)
    return passport["metrics"], weights, ranks, looks


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. Nothing is kept.")
