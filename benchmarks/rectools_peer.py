"""RecTools' side of `benchmarks.peers`; runs in an environment that has RecTools.

Usage: python rectools_peer.py LOG_FOLDER SETTINGS_JSON

Builds its SASRec, writes "ready", then answers each line of standard input,
"train BATCHES" or "rank USERS", with a line: what was done a second. A batch holds
whole sequences, each position of which is a positive: these are counted.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from peer_answers import answer


def main(folder: str, settings: str) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr
    import pandas as pd
    import torch
    from pytorch_lightning import Callback, Trainer
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    given = json.loads(settings)
    log = pd.read_csv(Path(folder) / "log" / "log.inter", sep="\t")
    log.columns = [Columns.User, Columns.Item, Columns.Datetime]
    log[Columns.Datetime] = pd.to_datetime(log[Columns.Datetime], unit="s")
    log[Columns.Weight] = 1.0
    dataset = Dataset.construct(log)
    users = log[Columns.User].unique()

    told = {}

    class Clock(Callback):
        """Times all batches but the first of a fit; a fit has a copy of its own."""

        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if batch_idx == 1:
                told.update(started=time.perf_counter(), positives=0)

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if batch_idx >= 1:
                told["positives"] += int((batch["y"] > 0).sum())
                told["seconds"] = time.perf_counter() - told["started"]

    def fitted(batches: int) -> SASRecModel:
        def make_trainer() -> Trainer:
            return Trainer(
                max_epochs=1,
                limit_train_batches=batches + 1,
                accelerator="cpu",
                callbacks=[Clock()],
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                logger=False,
            )

        made = SASRecModel(
            get_trainer_func=make_trainer, recommend_torch_device="cpu", **given
        )
        return made.fit(dataset)

    torch.manual_seed(given.pop("seed"))
    model = None

    def train(batches: int) -> float:
        nonlocal model
        model = fitted(batches)
        return told["positives"] / told["seconds"]

    def rank(count: int) -> float:
        started = time.perf_counter()
        some = users[:count]
        model.recommend(some, dataset, k=10, filter_viewed=True)
        return len(some) / (time.perf_counter() - started)

    answer(answers, {"train": train, "rank": rank})


if __name__ == "__main__":
    main(*sys.argv[1:])
