"""Our GRU4Rec, SASRec and Caser beside RecBole's, or SASRec beside RecTools'.

Example: make bench-peers
         python -m benchmarks.peers --peer_python=.venv-peers/bin/python
         make bench-rectools

Both sides have the same data.

Embedding size, layers, window, batch and number of negatives are the same on both
sides; the runs alternate, so that a change of the machine's own speed meets both.
RecBole trains on its pairwise loss (BPR), ours on cross-entropy: both score a positive
and a negative. RecTools trains on the same cross-entropy as ours, a whole sequence at
a time: each of its positions is a positive, and a batch has sequences for about as many
positives. It ranks the whole catalogue, as ours does then. Figures are medians over the
rounds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from benchmarks import tables
from data.errors import UserError
from harness import command_line, defaults
from harness.config import with_settings

if TYPE_CHECKING:
    from benchmarks.trial import Trial
    from data.prepared import PreparedData

_LIBRARY = flags.DEFINE_enum(
    "library", "recbole", ["recbole", "rectools"], "Whose models stand beside ours."
)
_PEER_PYTHON = flags.DEFINE_string(
    "peer_python",
    ".venv-peers/bin/python",
    "Python of an environment with the library.",
)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Of each measurement.", 1)
_SIZE = flags.DEFINE_integer("embedding_dim", 64, "Of both sides.", 1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 2_048, "Positives a batch.", 1)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Writes OUTPUT.json and OUTPUT.md; none by default."
)

_HISTORY = 50  # RecBole's default.
_DROPOUT = 0.2


def _pairs() -> dict[str, dict[str, Any]]:
    """Settings of both sides by our name of the model."""
    size = _SIZE.value
    return {
        "gru4rec": {
            "history": _HISTORY,
            "ours": {"dropout": _DROPOUT},
            "theirs": {"model": "GRU4Rec", "hidden_size": size, "num_layers": 1},
        },
        "sasrec": {
            "history": _HISTORY,
            "ours": {"dropout": _DROPOUT, "num_blocks": 2, "num_heads": 1},
            "theirs": {
                "model": "SASRec",
                "n_layers": 2,
                "n_heads": 1,
                "hidden_size": size,
                "inner_size": size,
                "hidden_dropout_prob": _DROPOUT,
                "attn_dropout_prob": _DROPOUT,
            },
        },
        "caser": {
            "history": 5,
            "ours": {
                "dropout": _DROPOUT,
                "window": 5,
                "num_horizontal": 8,
                "num_vertical": 4,
            },
            "theirs": {"model": "Caser", "nh": 8, "nv": 4},
        },
    }


# What is asked in a round: positives or batches of theirs, and of ours.
_RECBOLE = {"train": "train 20", "rank": "rank 2", "warm_up": "rank 1"}
_RECTOOLS = {"train": "train 20", "rank": "rank 500", "warm_up": "rank 100"}
_NAMES = {"recbole": "RecBole", "rectools": "RecTools"}


def main() -> None:
    if not Path(_PEER_PYTHON.value).exists():
        raise UserError(
            f"--peer_python: there is no {_PEER_PYTHON.value}. "
            "`make bench-peers` and `make bench-rectools` set one up."
        )
    from benchmarks import workloads
    from harness import provenance

    with tempfile.TemporaryDirectory() as folder:
        # As many users and items as Amazon's Toys and Games, 5-core, has.
        data = workloads.build(
            "toys",
            Path(folder),
            num_users=19_412,
            num_items=11_924,
            active_users=19_412,
        )
        _write_log(data, Path(folder) / "peer" / "log")
        models = {
            name: _compare(data, Path(folder) / "peer", name, pair)
            for name, pair in _pairs().items()
            if name == "sasrec" or _LIBRARY.value == "recbole"
        }
    result = {
        "commit": provenance.commit(),
        "machine": provenance.describe(),
        "library": _LIBRARY.value,
        "embedding_dim": _SIZE.value,
        "batch_size": _BATCH_SIZE.value,
        "models": models,
    }
    text = tables.peers(models, _NAMES[_LIBRARY.value])
    sys.stdout.write(text)
    if _OUTPUT.value:
        Path(f"{_OUTPUT.value}.json").write_text(json.dumps(result, indent=2) + "\n")
        Path(f"{_OUTPUT.value}.md").write_text(text)


def _write_log(data: PreparedData, folder: Path) -> None:
    """The same events as RecBole's atomic file."""
    import numpy as np
    import pandas as pd

    folder.mkdir(parents=True)
    lengths = np.diff(data.store.offsets)
    columns = {
        "user_id:token": np.repeat(np.arange(len(lengths)), lengths),
        "item_id:token": data.store.items,
        "timestamp:float": data.store.times,
    }
    pd.DataFrame(columns).to_csv(folder / "log.inter", sep="\t", index=False)


def _compare(
    data: PreparedData, folder: Path, name: str, pair: dict[str, Any]
) -> dict[str, float]:
    from benchmarks.trial import Trial

    config = defaults.get_config(
        name,
        data.name,
        tuned=False,
        batch_size=_BATCH_SIZE.value,
        num_negatives=1,
        max_history=pair["history"],
    )
    config = with_settings(config, {"embedding_dim": _SIZE.value, **pair["ours"]})
    trial = Trial(data, name, config)
    if _LIBRARY.value == "rectools":
        # Mean training sequence of these data: the batch has about as many positives.
        positives = len(data.instances["train"]) / len(data.instances["test"])
        settings = _rectools_settings(pair, round(_BATCH_SIZE.value / positives))
        figures = _alternate(trial, folder, settings, _RECTOOLS, "full")
    else:
        settings = _recbole_settings(folder, pair)
        figures = _alternate(trial, folder, settings, _RECBOLE, "uni1000")
    sys.stderr.write(f"{name}: {figures}\n")
    return {key: round(statistics.median(speeds), 1) for key, speeds in figures.items()}


def _rectools_settings(pair: dict[str, Any], sequences: int) -> dict[str, Any]:
    return {
        "seed": 1,
        "n_blocks": pair["ours"]["num_blocks"],
        "n_heads": pair["ours"]["num_heads"],
        "n_factors": _SIZE.value,
        "dropout_rate": _DROPOUT,
        "session_max_len": pair["history"],
        "loss": "BCE",
        "n_negatives": 1,
        "batch_size": sequences,
    }


def _recbole_settings(folder: Path, pair: dict[str, Any]) -> dict[str, Any]:
    return {
        "embedding_size": _SIZE.value,
        "dropout_prob": _DROPOUT,
        "loss_type": "BPR",
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
        "train_batch_size": _BATCH_SIZE.value,
        # RecBole scores a history anew for every candidate: larger batches need
        # more memory than common machines have.
        "eval_batch_size": 16 * 1_001,
        "eval_args": {
            "split": {"LS": "valid_and_test"},
            "order": "TO",
            "group_by": "user",
            "mode": "uni1000",
        },
        "MAX_ITEM_LIST_LENGTH": pair["history"],
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "metrics": ["NDCG"],
        "valid_metric": "NDCG@10",
        "checkpoint_dir": str(folder / "saved"),
        **pair["theirs"],
    }


def _alternate(
    trial: Trial,
    folder: Path,
    settings: dict[str, Any],
    asked: dict[str, str],
    protocol: str,
) -> dict[str, list[float]]:
    """What both sides do a second, by turns."""
    figures: dict[str, list[float]] = {
        key: [] for key in ("our_train", "their_train", "our_rank", "their_rank")
    }
    with Peer(folder, settings) as peer:
        peer.ask("train 2")
        peer.ask(asked["warm_up"])
        trial.rank(64, protocol)
        for number in range(1, _ROUNDS.value + 1):
            figures["our_train"].append(trial.train(64, epoch=number))
            figures["their_train"].append(peer.ask(asked["train"]))
            figures["our_rank"].append(trial.rank(8_192, protocol))
            figures["their_rank"].append(peer.ask(asked["rank"]))
    return figures


class Peer:
    """The library in a process of its own, idle unless asked."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        script = Path(__file__).with_name(f"{_LIBRARY.value}_peer.py").resolve()
        python = Path(_PEER_PYTHON.value).absolute()
        self._process = subprocess.Popen(
            [str(python), str(script), str(folder.resolve()), json.dumps(settings)],
            cwd=folder,  # It writes logs where it is.
            env={**os.environ, "PYTHONPATH": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Peer:
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, request: str) -> float:
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"{_NAMES[_LIBRARY.value]} stopped with code {self._process.wait()}: "
                f"run benchmarks/{_LIBRARY.value}_peer.py by hand to see why."
            )
        return line


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. Nothing was written.")
