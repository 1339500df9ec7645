"""RecBole's full sort beside `benchmarks.serving`; runs where RecBole is installed.

Usage: python recbole_full_sort.py FOLDER K ROUNDS

FOLDER holds items.npy [M, D] and queries.npy [B, D], vectors of ours. They become the
tables of RecBole's BPR, which scores by inner product, and `full_sort_topk` of its
case study takes the K best of all items for each query, 256 at a time. Writes, as
JSON, the queries a second of each round.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main(folder: str, k: str, rounds: str) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # RecBole prints.
    import numpy as np
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, init_seed
    from recbole.utils.case_study import full_sort_topk

    items = np.load(Path(folder) / "items.npy", allow_pickle=False)
    queries = np.load(Path(folder) / "queries.npy", allow_pickle=False)
    _write_log(Path(folder) / "log", len(queries), len(items))
    config = Config(
        model="BPR",
        dataset="log",
        config_dict={
            "data_path": folder,
            "use_gpu": False,
            "embedding_size": items.shape[1],
            "load_col": {"inter": ["user_id", "item_id"]},
            "eval_args": {
                "split": {"RS": [0.8, 0.1, 0.1]},  # Who has no test event is not known.
                "order": "RO",
                "group_by": "user",
                "mode": "full",
            },
        },
    )
    init_seed(config["seed"], True)
    dataset = create_dataset(config)
    train_data, _, test_data = data_preparation(config, dataset)
    model = get_model("BPR")(config, train_data.dataset).to("cpu")
    users = dataset.token2id("user_id", [f"u{n}" for n in range(len(queries))])
    rows = dataset.token2id("item_id", [f"i{n}" for n in range(len(items))])
    with torch.no_grad():
        model.user_embedding.weight[users] = torch.tensor(queries)
        model.item_embedding.weight[rows] = torch.tensor(items)
    speeds = []
    for number in range(int(rounds) + 1):
        started = time.perf_counter()
        for first in range(0, len(users), 256):
            full_sort_topk(users[first : first + 256], model, test_data, int(k))
        if number:  # The first one warms up.
            speeds.append(len(users) / (time.perf_counter() - started))
    answers.write(json.dumps(speeds) + "\n")


def _write_log(folder: Path, num_users: int, num_items: int) -> None:
    """Every item, and ten of each user's: RecBole knows ids by their events."""
    folder.mkdir()
    with (folder / "log.inter").open("w") as file:
        file.write("user_id:token\titem_id:token\n")
        for number in range(max(num_items, 10 * num_users)):
            file.write(f"u{number % num_users}\ti{number % num_items}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
