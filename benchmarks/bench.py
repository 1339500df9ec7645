"""Speeds of every model, beside what the machine could do at most.

Example: python -m benchmarks.bench --output=bench
         python -m benchmarks.bench --models=mgnm --baseline=bench.json

Models start untrained, for no speed depends on the weights. All are built first; then
rounds over all models are measured, so that a change of the machine's own speed meets
all alike. Figures are medians over the rounds.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from benchmarks import tables
from data.errors import UserError
from harness import command_line, defaults
from harness.config import PAPER, RECIPES

if TYPE_CHECKING:
    from data.prepared import PreparedData

_WORKLOADS = flags.DEFINE_list(
    "workloads", ["toys", "micro_video"], "Seeded data, of benchmarks/workloads.py."
)
_DATASET = flags.DEFINE_string(
    "dataset", None, "A data set that `data.prepare` wrote, in place of the workloads."
)
_SPLIT = flags.DEFINE_string("split", None, "Which of its splits.")
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "data/prepared", "Where `data.prepare` wrote."
)
_RECIPE = flags.DEFINE_enum(
    "recipe", PAPER, list(RECIPES), "How models are trained, see docs/recipe.md."
)
_MODELS = flags.DEFINE_list("models", None, "Which models, by comma. Default: all.")
_INSTANCES = flags.DEFINE_integer("instances", 4_096, "Most test instances a round.", 1)
_STEPS = flags.DEFINE_integer("steps", 64, "Most training steps a round.", 1)
_SECONDS = flags.DEFINE_float(
    "seconds", 8.0, "A slow model does less a round, to take about this long.", 0.1
)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Of each measurement.", 1)
_PREPARE_USERS = flags.DEFINE_integer(
    "prepare_users",
    6_081,
    "Size of the log whose preparation is timed: a tenth of Micro-video's; 0: none.",
    0,
)
_BASELINE = flags.DEFINE_string(
    "baseline", None, "JSON file of an earlier run, whose ratios are printed."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Writes OUTPUT.json and OUTPUT.md; none by default."
)

# Not models of the tables: MGNM as it would first be composed, on the batches that all
# models get, and on random ones, which is how it would first be fed.
PLAIN = {"mgnm_plain": False, "mgnm_plain_random": True}


def main() -> None:
    baseline = _read_baseline(_BASELINE.value)
    models = _chosen_models()
    with tempfile.TemporaryDirectory() as folder:
        result = _measure_all(models, Path(folder))
    text = tables.speeds(result)
    sys.stdout.write(text)
    if baseline:
        sys.stdout.write(tables.ratios(result, baseline))
    if _OUTPUT.value:
        Path(f"{_OUTPUT.value}.json").write_text(json.dumps(result, indent=2) + "\n")
        Path(f"{_OUTPUT.value}.md").write_text(text)


def _chosen_models() -> list[str]:
    known = [*defaults.MODEL_SETTINGS, *PLAIN]
    wanted = _MODELS.value or known
    unknown = sorted({*wanted} - {*known})
    if unknown:
        raise UserError(f"--models: no {unknown}; there are {known}.")
    return wanted


def _read_baseline(path: str | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        baseline = json.loads(Path(path).read_text())
        baseline["workloads"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"--baseline: {path} is not a file that --output wrote ({error})."
        ) from error
    return baseline


def _measure_all(models: list[str], folder: Path) -> dict[str, Any]:
    from benchmarks import workloads
    from data import prepared
    from harness import provenance

    result = {
        "recipe": _RECIPE.value,
        "commit": provenance.commit(),
        "machine": provenance.describe(),
        "versions": provenance.versions(),
        "workloads": {},
    }
    if _DATASET.value:
        data = prepared.load(Path(_DATA_DIR.value), _DATASET.value, _SPLIT.value)
        result["workloads"][data.name] = measure(data, data.name, models, _RECIPE.value)
        return result
    unknown = sorted({*_WORKLOADS.value} - {*workloads.WORKLOADS})
    if unknown:
        known = list(workloads.WORKLOADS)
        raise UserError(f"--workloads: no {unknown}; there are {known}.")
    if result["machine"]["gpu"]:
        from benchmarks import limits

        rates = limits.measure_device("/GPU:0")
        result["gpu"] = dataclasses.asdict(rates)
    if _PREPARE_USERS.value:
        result["prepare"] = _measure_prepare(folder)
    for name in _WORKLOADS.value:
        data = workloads.build(name, folder)
        settings = workloads.WORKLOADS[name].settings_of
        result["workloads"][name] = measure(data, settings, models, _RECIPE.value)
    return result


def _measure_prepare(folder: Path) -> dict[str, Any]:
    """Figures of `benchmarks.prepare`, in a process whose memory is its own."""
    output = folder / "prepare.json"
    command = [sys.executable, "-m", "benchmarks.prepare", f"--output={output}"]
    command += [f"--users={_PREPARE_USERS.value}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads(output.read_text())


def measure(
    data: PreparedData, settings: str, models: list[str], recipe: str = PAPER
) -> dict[str, Any]:
    """Figures of the models on one data set."""
    from benchmarks import limits, plain
    from benchmarks.trial import Trial

    trials = []
    for model in models:
        try:
            is_plain = model in PLAIN
            name = "mgnm" if is_plain else model
            config = defaults.get_config(name, settings, recipe=recipe)
            trial = Trial(
                data,
                model,
                config,
                kind=plain.PlainMGNM if is_plain else None,
                steps=_STEPS.value,
                instances=_INSTANCES.value,
                seconds=_SECONDS.value,
                random_batches=PLAIN.get(model, False),
            )
            trials.append(trial)
        except UserError as error:  # It needs times, say.
            sys.stderr.write(f"{error}\n")
    for number in range(_ROUNDS.value):
        for trial in trials:
            trial.round(number + 1)
        sys.stderr.write(f"round {number + 1} of {_ROUNDS.value} done\n")
    rates = limits.measure_rates(_size(settings, recipe))
    lengths = np.minimum(data.instances["train"][:, 1], trials[0].config.max_history)
    return {
        "users": data.num_users - 1,
        "items": data.num_items - 1,
        "mean_history": round(float(lengths.mean()), 1),
        "rates": {
            "gemm_gflops": round(rates.gemm / 1e9, 1),
            "large_gemm_gflops": round(rates.large_gemm / 1e9, 1),
            "copy_gb_per_s": round(rates.copy / 1e9, 1),
        },
        "models": {trial.name: trial.figures(rates) for trial in trials},
    }


def _size(settings: str, recipe: str) -> int:
    config = defaults.get_config("mgnm", settings, recipe=recipe)
    return config.arguments.get("embedding_dim", 16)


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. Nothing was written.")
