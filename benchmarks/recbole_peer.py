"""RecBole's side of `benchmarks.peers`; runs in an environment that has RecBole.

Usage: python recbole_peer.py LOG_FOLDER SETTINGS_JSON

Builds one of RecBole's models, writes "ready", then answers each line of standard
input, "train STEPS" or "rank BATCHES", with a line: what was done a second.
"""

from __future__ import annotations

import itertools
import json
import sys
import time

from peer_answers import answer


class FirstBatches:
    """The first batches of a loader, as RecBole's training loop wants one."""

    shuffle = False

    def __init__(self, loader, count):
        self._loader, self._count = loader, count

    def __iter__(self):
        return itertools.islice(iter(self._loader), self._count)

    def __len__(self):
        return self._count


def main(folder: str, settings: str) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # RecBole prints.
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer
    from recbole.utils import get_model, init_seed

    given = json.loads(settings)
    model_name = given.pop("model")
    config = Config(
        model=model_name,
        dataset="log",
        config_dict={"data_path": folder, "use_gpu": False, **given},
    )
    init_seed(config["seed"], True)
    dataset = create_dataset(config)
    train_data, _, test_data = data_preparation(config, dataset)
    model = get_model(model_name)(config, train_data.dataset).to("cpu")
    trainer = Trainer(config, model)
    trainer.tot_item_num = test_data.dataset.item_num

    def train(steps: int) -> float:
        started = time.perf_counter()
        trainer._train_epoch(FirstBatches(train_data, steps), 0)
        return steps * given["train_batch_size"] / (time.perf_counter() - started)

    def rank(batches: int) -> float:
        started, users = time.perf_counter(), 0
        model.eval()
        with torch.no_grad():
            for batch in FirstBatches(test_data, batches):
                trainer._neg_sample_batch_eval(batch)
                users += int(batch[2][-1]) + 1  # One instance each.
        return users / (time.perf_counter() - started)

    answer(answers, {"train": train, "rank": rank})


if __name__ == "__main__":
    main(*sys.argv[1:])
