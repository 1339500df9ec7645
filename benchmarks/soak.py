"""A grid of small runs that are killed, starved of disk and damaged, to the same table.

Example: python -m benchmarks.soak --minutes=3

Two grids are made from one prepared data set: one undisturbed, one whose runs get
SIGKILL after a drawn time, a limit on the size of files, or a flipped bit in what they
read. Each is started again by the same command until it is finished. The exit code is 0
if both grids have the same metrics and ranks, and every end but the kills was a
sentence; what was done is printed with its seed.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from absl import flags, logging

from data import manifest
from data.errors import UserError
from harness import command_line, run_folder, run_manifest

_MINUTES = flags.DEFINE_float(
    "minutes", 3.0, "How long runs are begun and disturbed.", lower_bound=0.1
)
_RUNS = flags.DEFINE_integer("runs", 30, "Most runs of a grid.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 2022, "Of what is disturbed, and when.")
_MODELS = ("mean_pooling", "gru4rec", "sasrec")
_LEAST_S, _MOST_S = 5.0, 40.0  # between a start and its kill
_MOST_BYTES = 20_000  # of a file, where the disk is full
_MOST_STARTS = 12


@dataclasses.dataclass
class Soak:
    """One soak: where its grids are, what it draws, and what it has counted."""

    folder: Path
    rng: random.Random
    counts: collections.Counter[str]

    def command(self, number: int, grid: str) -> list[str]:
        model = _MODELS[number % len(_MODELS)]
        return [
            *(sys.executable, "-m", "experiments.train", f"--model={model}"),
            *("--dataset=synthetic", f"--data_dir={self.folder / 'prepared'}"),
            *(f"--run_dir={self.run_dir(number, grid)}", f"--seed={number}"),
            *("--max_epochs=2", "--max_history=10", "--set=embedding_dim=4"),
        ]

    def run_dir(self, number: int, grid: str) -> Path:
        return self.folder / grid / str(number) / f"seed-{number}"

    def finish(self, number: int, grid: str) -> None:
        """Starts a run undisturbed.

        Raises:
            UserError: if it does not end well.
        """
        done = subprocess.run(
            self.command(number, grid), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UserError(f"Run {number} of {grid} failed: {done.stderr[-500:]}")

    def disturb(self, number: int) -> None:
        """Starts a run again and again, until it is finished however disturbed."""
        for start in range(_MOST_STARTS):
            kind = self.rng.choices(("kill", "full disk", "flipped bit"), (6, 1, 1))[0]
            if kind == "full disk":
                code, said = self._starve(number)
            elif kind == "flipped bit":
                code, said = self._flip(number)
            else:
                code, said = self._kill(number)
            self.counts[kind] += 1
            logging.info("Run %d, start %d: %s: %d", number, start, kind, code)
            if "Traceback" in said:
                raise UserError(f"Run {number}, {kind}: a traceback: {said[-500:]}")
            if code == 0:
                break
        self.finish(number, "disturbed")

    def _kill(self, number: int) -> tuple[int, str]:
        process = subprocess.Popen(
            self.command(number, "disturbed"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            _, said = process.communicate(timeout=self.rng.uniform(_LEAST_S, _MOST_S))
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
        return process.returncode, said

    def _starve(self, number: int) -> tuple[int, str]:
        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_BYTES, _MOST_BYTES))

        done = subprocess.run(
            self.command(number, "disturbed"),
            capture_output=True,
            text=True,
            preexec_fn=limit,
            check=False,
        )
        return done.returncode, done.stderr

    def _flip(self, number: int) -> tuple[int, str]:
        """Flips a bit of the data; the run has to refuse them, and they are mended."""
        paths = sorted(self.folder.glob("prepared/synthetic/*/[!c]*.npy"))
        path = self.rng.choice(paths)
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[self.rng.randrange(len(whole))] ^= 1 << self.rng.randrange(8)
        path.write_bytes(damaged)
        try:
            done = subprocess.run(
                self.command(number, "disturbed"),
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            path.write_bytes(whole)
        finished = (self.run_dir(number, "disturbed") / run_manifest.MANIFEST).exists()
        if done.returncode == 0 and not finished:
            raise UserError(f"Run {number} went on with a flipped bit in {path.name}.")
        if done.returncode != 0 and path.name not in done.stderr:
            raise UserError(f"Run {number} does not name {path.name}: {done.stderr}")
        return done.returncode, done.stderr


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        rng = random.Random(_SEED.value)
        soak = Soak(Path(folder), rng, collections.Counter())
        number = _soak(soak, time.monotonic() + 60 * _MINUTES.value)
    shown = ", ".join(f"{count} {kind}" for kind, count in soak.counts.items())
    sys.stdout.write(
        f"{number} runs, each as undisturbed. Starts that were disturbed: {shown}. "
        f"Seed {_SEED.value}.\n"
    )


def _soak(soak: Soak, end: float) -> int:
    """Makes runs of both grids until the time is over; how many."""
    prepare = [sys.executable, "-m", "data.prepare", "--dataset=synthetic"]
    prepare.append(f"--data_dir={soak.folder / 'prepared'}")
    subprocess.run(prepare, check=True, stdout=subprocess.DEVNULL)
    number = 0
    while number < _RUNS.value and (number == 0 or time.monotonic() < end):
        number += 1
        soak.disturb(number)
        soak.finish(number, "undisturbed")
        grids = ("undisturbed", "disturbed")
        one, other = (_result(soak.run_dir(number, grid)) for grid in grids)
        if one != other:
            raise UserError(f"Run {number} differs from the undisturbed one.")
    return number


def _result(run_dir: Path) -> tuple[Any, ...]:
    """Metrics, weights and looks of a run: all but its clocks."""
    passport = json.loads((run_dir / run_folder.PASSPORT).read_text())
    weights = manifest.file_hash(run_dir / run_folder.WEIGHTS)
    ranks = run_folder.read_ranks(run_dir).to_csv(index=False)
    looks = (run_dir.parent / "test_looks.jsonl").read_bytes().count(b"\n")
    return passport["metrics"], weights, ranks, looks


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. Nothing is kept.")
