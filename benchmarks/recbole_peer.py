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

    def say(text: str) -> None:
        answers.write(text + "\n")
        answers.flush()

    say("ready")
    for line in sys.stdin:
        action, count = line.split()
        started, done = time.perf_counter(), 0
        if action == "train":
            trainer._train_epoch(FirstBatches(train_data, int(count)), 0)
            done = int(count) * given["train_batch_size"]
        else:
            model.eval()
            with torch.no_grad():
                for batch in FirstBatches(test_data, int(count)):
                    trainer._neg_sample_batch_eval(batch)
                    done += int(batch[2][-1]) + 1  # Users, one instance each.
        say(json.dumps(done / (time.perf_counter() - started)))


if __name__ == "__main__":
    main(*sys.argv[1:])
